"""What the console's pages work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from agent.call.running import RunningCalls
    from agent.office.store import OfficeStore
    from agent.ops.settings import Settings
    from agent.tools.outbox import Outbox


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """Where the console stands alone, without an agent, there are no live calls, no outbox and no voice."""

    store: OfficeStore
    settings: Settings
    live: RunningCalls | None = None
    outbox: Outbox | None = None
    say: Callable[[str, str, str], Awaitable[bytes]] | None = None
    """`say(text, voice_id, language)` speaks a text: a WAV file. Raises `agent.call.rehearsal.RehearsalError`, whose
    words are for whoever asked. `Rehearsal(tts, sample_rate).say` is one."""


PARTS = web.AppKey("parts", ConsoleParts)


def parts_of(request: web.Request) -> ConsoleParts:
    """The parts of the application that answers `request`."""
    return request.app[PARTS]
