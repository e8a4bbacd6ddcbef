"""Who hears the caller: the STT of one call, taken as soon as it is connected, fed while the caller is to be heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import fastaudio
from agent.call.services import Preparation
from agent.call.uplink import Uplink
from agent.providers.base import ProviderError, SpeechToText, SttEvent, SttLost

log = logging.getLogger(__name__)


class Ear:
    """Before the STT is there, what it is asked is remembered: it hears all that was said meanwhile."""

    def __init__(
        self,
        call: fastaudio.Call,
        preparation: Preparation,
        *,
        now_ms: Callable[[], int],
        on_connected: Callable[[bool], None],
        on_event: Callable[[SttEvent], None],
        on_audio: Callable[[bytes], None],
    ) -> None:
        """`on_connected` is told whether the STT ends turns itself, `on_audio` is given what the STT is given."""
        self._call = call
        self._preparation = preparation
        self._now_ms = now_ms
        self._on_connected = on_connected
        self._on_event = on_event
        self._on_audio = on_audio
        self._stt: SpeechToText | None = None
        self._uplink: Uplink | None = None
        self._listening_since: int | None = None

    @property
    def counters(self) -> dict[str, int]:
        """What became of the stream, for the record."""
        return dict(self._stt.counters) if self._stt is not None else {}

    async def hear(self) -> None:
        """Give on what the STT hears, until cancelled or it is lost."""
        try:
            self._stt = await self._preparation.stt()
        except ProviderError as error:
            error.forget_where()
            log.error("call %s: %s", self._call.uuid, error)
            self._on_event(SttLost(str(error)))
            return
        self._on_connected(self._stt.ends_turns)
        self._uplink = Uplink(self._call, self._stt, self._on_audio)
        if self._listening_since is not None:
            self._uplink.open(self._now_ms() - self._listening_since)
        try:
            await self._both(self._uplink, self._stt)
        except asyncio.CancelledError as cancelled:
            # This task keeps the error, its traceback the frame of the group below, and the group this task: a circle
            # that would keep the whole call until the next collection.
            raise cancelled.with_traceback(None) from None

    async def _both(self, uplink: Uplink, stt: SpeechToText) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(uplink.run(), name="uplink")
            async for event in stt.events():
                self._on_event(event)

    def listen(self, preroll_ms: int) -> None:
        """Let it hear the caller from now on, and what they said so shortly before."""
        if self._uplink is not None:
            self._uplink.open(preroll_ms)
        elif self._listening_since is None:
            self._listening_since = self._now_ms() - preroll_ms

    def stop(self) -> None:
        """It hears nothing: the agent speaks."""
        self._listening_since = None
        if self._uplink is not None:
            self._uplink.close()

    def finalize(self) -> None:
        """Ask it for what it has."""
        if self._stt is not None:
            self._stt.finalize()

    def hurry(self, quick: bool) -> None:
        """Send in smaller pieces, where the STT itself judges by the silence whether the turn is over."""
        if self._uplink is not None and self._stt is not None and self._stt.ends_turns:
            self._uplink.hurry(quick)
