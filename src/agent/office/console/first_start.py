"""The first start: whoever can read the data directory, or saw the link, sets the first name and password, once."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from agent.ops.private import make_private_directory, write_private

FILE = "console-setup"


class SetUpToken:
    """A token in a file of mode 0600 in the data directory, so that all processes on it know the same one."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE

    def get(self) -> str:
        """The token; made if there is none. Raises `OSError`."""
        make_private_directory(self._path.parent)
        token = secrets.token_urlsafe(32)
        # Written whole before it is there by its name: another process never reads half of it.
        draft = self._path.with_name(f"{FILE}.{secrets.token_hex(8)}")
        write_private(draft, token)
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return self._read() or self._anew()
        finally:
            draft.unlink()
        return token

    def is_right(self, given: str) -> bool:
        """Whether this is the token; the time it takes does not tell how much of it is right."""
        kept = self._read()
        return bool(kept) and hmac.compare_digest(kept.encode(), given.encode())

    def use_up(self) -> bool:
        """Make it worthless. Exactly one who asks gets True, whichever process it asks in."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def give_back(self, token: str) -> None:
        """Make it worth something again: what it was used for did not come about."""
        write_private(self._path, token)

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _anew(self) -> str:
        self.use_up()
        return self.get()
