"""Whose CPU time the event loop's thread uses: that of each call, by the context in which a callback runs.

Everything that a call starts inherits its context, so a callback or a step of a task is booked on the call. What serves
many calls (the media core's events, the vendors' shared sockets, the loop itself) is booked on nobody. The two clock
readings a callback are part of the figures, which are so much too high.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

import fastaudio
from agent.call.chronicle import Chronicle
from agent.call.record import CallRecord, TurnRecord
from agent.providers.cartesia import CartesiaTts
from agent.reception import Reception

_clock = time.thread_time_ns


class Account:
    """The CPU time of one call, and of its exchanges."""

    def __init__(self) -> None:
        self.used_ns = 0
        self.exchange_from_ns: int | None = None
        self.answer_from_ns: int | None = None
        self.answer_ns: int | None = None


class Accounts:
    """Books of all calls. One a process: it changes how asyncio runs callbacks."""

    def __init__(self) -> None:
        self._nobody = Account()
        self._account: ContextVar[Account] = ContextVar("account")
        self._calls: dict[str, Account] = {}
        self._running = self._nobody
        self._since_ns = 0
        self._exchanges_ms: list[float] = []
        self._answers_ms: list[float] = []
        self._marked = (0, 0, 0)
        self._book_callbacks()
        self._know_calls()
        self._time_answers()
        self._share_sockets()

    def mark(self) -> None:
        """Count from now on."""
        self._exchanges_ms.clear()
        self._answers_ms.clear()
        self._marked = self._sums()

    def tell(self) -> dict[str, Any]:
        """Own CPU time since the mark, ms: of each exchange, and of each answer up to its first frame."""
        calls, nobody, thread = (now - then for now, then in zip(self._sums(), self._marked, strict=True))
        return {
            "exchange_ms": list(self._exchanges_ms),
            "answer_ms": list(self._answers_ms),
            "calls_ms": round(calls / 1e6, 3),
            "shared_ms": round(nobody / 1e6, 3),
            "loop_ms": round((thread - calls - nobody) / 1e6, 3),
        }

    def turn_is_over(self, record: CallRecord, turn: TurnRecord) -> None:
        """For `Agent(on_turn=...)`."""
        account = self._calls.get(record.uuid)
        if account is None:
            return
        now = self._used(account)
        if turn.caller and account.exchange_from_ns is not None:
            self._exchanges_ms.append((now - account.exchange_from_ns) / 1e6)
            if account.answer_ns is not None:
                self._answers_ms.append(account.answer_ns / 1e6)
        account.exchange_from_ns = now
        account.answer_from_ns = account.answer_ns = None

    def call_is_over(self, record: CallRecord) -> None:
        """For `Agent(on_record=...)`: its time stays in the sums."""
        account = self._calls.pop(record.uuid, None)
        if account is not None:
            self._nobody.used_ns += account.used_ns

    def _sums(self) -> tuple[int, int, int]:
        return sum(account.used_ns for account in self._calls.values()), self._nobody.used_ns, _clock()

    def _used(self, account: Account) -> int:
        """Up to this moment of a callback that runs."""
        return account.used_ns + (_clock() - self._since_ns if account is self._running else 0)

    def _book_callbacks(self) -> None:
        run: Callable[[asyncio.Handle], None] = vars(asyncio.Handle)["_run"]

        def booked(handle: Any) -> None:
            account = self._running = handle._context.get(self._account, self._nobody)
            begun = self._since_ns = _clock()
            run(handle)
            account.used_ns += _clock() - begun

        _replace(asyncio.Handle, "_run", booked)

    def _know_calls(self) -> None:
        serve = Reception._serve

        async def known(reception: Reception, call: fastaudio.Call) -> None:
            account = self._calls[str(call.uuid)] = Account()
            self._account.set(account)
            await serve(reception, call)

        _replace(Reception, "_serve", known)

    def _share_sockets(self) -> None:
        """A socket of Cartesia's is no call's, though one is the first to need it."""
        socket = CartesiaTts._socket

        async def apart(tts: CartesiaTts) -> Any:
            if tts._ready() is not None:
                return await socket(tts)
            return await asyncio.create_task(socket(tts), context=Context())

        _replace(CartesiaTts, "_socket", apart)

    def _time_answers(self) -> None:
        thought, first_frame = Chronicle.thought, Chronicle.first_frame

        def thought_and_noted(chronicle: Chronicle, *arguments: Any, **more: Any) -> None:
            account = self._account.get(self._nobody)
            account.answer_from_ns = self._used(account)
            thought(chronicle, *arguments, **more)

        def first_frame_and_noted(chronicle: Chronicle, *arguments: Any, **more: Any) -> None:
            account = self._account.get(self._nobody)
            if account.answer_from_ns is not None:
                account.answer_ns = self._used(account) - account.answer_from_ns
            first_frame(chronicle, *arguments, **more)

        _replace(Chronicle, "thought", thought_and_noted)
        _replace(Chronicle, "first_frame", first_frame_and_noted)


def _replace(owner: type, name: str, instead: Callable[..., Any]) -> None:
    """Put a function in the place of a method, which must be there."""
    if name not in vars(owner):
        raise AttributeError(f"{owner.__name__} has no {name} any more: the accounts do not fit this agent")
    setattr(owner, name, instead)
