"""Passwords: hashed by argon2id, beside the event loop, and not by everybody at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

T = TypeVar("T")
COST: Final[dict[str, Any]] = {"time_cost": 3, "memory_cost": 64 * 1024, "parallelism": 1}
"""RFC 9106's second choice, 64 MiB and three passes, in one lane: a tenth of a second of one core. Calls want the
others."""
WAITING = 8
"""So many may wait for their turn; the next one is told to try again."""
SHORTEST, LONGEST = 10, 256
"""Characters of a password."""


class Busy(RuntimeError):
    """Too many passwords are being checked just now."""


class PasswordError(ValueError):
    """What cannot be a password; the text says why."""


def check_password(password: str, name: str = "") -> None:
    """Raise `PasswordError` unless `password` may be one for the user `name`."""
    if len(password) < SHORTEST:
        raise PasswordError(f"A password has at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise PasswordError(f"A password has at most {LONGEST} characters.")
    if len(set(password)) < 4:
        raise PasswordError("This password is too easy to guess: it has hardly any different characters.")
    if name and name.lower() in password.lower() and len(password) < len(name) + 6:
        raise PasswordError("This password is too easy to guess: it is little more than the name.")


class Passwords:
    """One for each process; its thread is made when it is first needed, and lives with the process."""

    def __init__(self, cost: dict[str, Any] | None = None) -> None:
        self._hasher = PasswordHasher(**(cost or COST))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._under_way = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Return the hash to keep. Raises `Busy`."""
        return await self._in_turn(self._hasher.hash, password)

    async def is_right(self, kept: str | None, password: str) -> bool:
        """Whether `password` is the one of the hash `kept`; with None, False after as much work. Raises `Busy`."""
        return await self._in_turn(self._verify, kept, password)

    def is_outdated(self, kept: str) -> bool:
        """Whether a hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str | None, password: str) -> bool:
        self._nobody = self._nobody or self._hasher.hash("nobody has this password")
        try:
            return self._hasher.verify(kept or self._nobody, password) and kept is not None
        except (Argon2Error, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[..., T], *arguments: object) -> T:
        if self._under_way > WAITING:
            raise Busy("too many are logging in at this moment")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._under_way -= 1
