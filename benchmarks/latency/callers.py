"""Callers who say the turns of the corpus, and note when the answer's first sound reaches them.

The true end of a turn is the moment at which the frame that ends with its last sample is sent: an AudioSocket frame is
sent when its last sample has been spoken. The answer is the first frame from the agent that is louder than a quiet
line, at the moment it is read from the socket.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.sandbox.caller.listen import LOUD_RMS, rms
from agent.sandbox.caller.speak import Mouth
from agent.sandbox.caller.wire import FRAME_SECONDS, AudioSocketCaller
from agent.speech_engines.tones import ToneVoice
from benchmarks.latency.corpus import Turn

QUIET_S = 0.6
"""The agent has finished when it has been silent for so long; then the caller thinks for `THINK_S`."""
THINK_S = 0.3
GREETING_S = 10.0
PATIENCE_S = 6.0
"""A turn that is not answered within this time counts as not answered; the caller goes on to the next."""
OVERLAP_S = 0.15
"""Sound of the agent within this time of a turn's beginning is no answer, but the rest of what it was saying."""
LATE_MS = 20.0
"""A measurement in which the callers' own clock was later than this at any frame is void."""


@dataclass(slots=True)
class Heard:
    """What came of one turn. Times are ms since the UUID."""

    call: str
    number: int
    kind: str
    text: str
    began_ms: float
    ended_ms: float
    """The true end of the caller's speech."""
    answered_ms: float | None
    """When the first sound of the answer came; before `ended_ms` when the agent answered too early."""
    early: bool
    late_ms: float
    """How late the caller's own frames were, at most, from the turn's beginning to its answer."""
    overlap: bool = False
    """The agent was still speaking, after a gap as long as `QUIET_S`: a stall of this host."""

    @property
    def valid(self) -> bool:
        """Whether the measurement is not one of this host's load."""
        return self.late_ms <= LATE_MS and not self.overlap

    @property
    def latency_ms(self) -> float | None:
        """How long the caller waited; None where the answer came too early, or not."""
        return None if self.early or self.answered_ms is None else self.answered_ms - self.ended_ms


class Caller:
    """One call."""

    def __init__(self, turns: Sequence[Turn], voice: ToneVoice) -> None:
        self._turns = turns
        self._voice = voice
        self._mouth = Mouth()
        self._loud: list[float] = []  # when loud frames of the agent came, s since the UUID
        self._late_ms = 0.0
        self.uuid = uuid.uuid4()
        self._wire = AudioSocketCaller(self.uuid, self._next_frame, self._on_audio)

    async def run(self, port: int) -> list[Heard]:
        """Say all of the turns. Raises `ConnectionError` when there is no call, or it breaks."""
        wire = self._wire
        await wire.connect("127.0.0.1", port)
        wire.start()
        try:
            if not await self._until(lambda: bool(self._loud), GREETING_S):
                raise ConnectionError("the agent does not greet")
            return [await self._say(number, turn) for number, turn in enumerate(self._turns)]
        finally:
            await wire.close()

    async def _say(self, number: int, turn: Turn) -> Heard:
        await self._until(lambda: self._wire.now - self._loud[-1] > QUIET_S, 30.0)
        await asyncio.sleep(THINK_S)
        self._late_ms = 0.0
        before = len(self._loud)
        self._mouth.say(turn.sound(self._voice).astype("<i2").tobytes())
        await self._until(lambda: not self._mouth.speaking, 60.0)
        assert self._mouth.began_s is not None
        ended_s = self._mouth.ended_s - FRAME_SECONDS  # the last frame is sent when its last sample has been spoken
        await self._until(lambda: len(self._loud) > before and self._loud[-1] > ended_s, PATIENCE_S)
        heard = self._loud[before:]
        overlap = bool(heard) and heard[0] < self._mouth.began_s + OVERLAP_S
        return Heard(
            str(self.uuid), number, turn.kind, turn.text,
            round((self._mouth.began_s - FRAME_SECONDS) * 1000, 1), round(ended_s * 1000, 1),
            round(heard[0] * 1000, 1) if heard else None, bool(heard) and heard[0] < ended_s, round(self._late_ms, 1),
            overlap,
        )  # fmt: skip

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to be so in time. Raises `ConnectionError` when the call is over."""
        limit = self._wire.now + seconds
        while not condition():
            if self._wire.ended.done():
                raise ConnectionError(f"the call ended: {self._wire.ended.result()}")
            if self._wire.now > limit:
                return False
            await asyncio.sleep(0.01)
        return True

    def _next_frame(self, tick: int) -> bytes:
        self._late_ms = max(self._late_ms, (self._wire.now - tick * FRAME_SECONDS) * 1000)
        return self._mouth.next_frame(tick)

    def _on_audio(self, at: float, samples: bytes, _rate: int) -> None:
        if rms(samples) > LOUD_RMS:
            self._loud.append(at)


async def call_all(port: int, calls: Sequence[Sequence[Turn]], at_once: int) -> tuple[list[Heard], list[str]]:
    """Make every call, so many at a time, begun 300 ms apart; what was heard, and why calls failed."""
    voice = ToneVoice()
    heard: list[Heard] = []
    failed: list[str] = []
    left = list(calls)

    async def one_after_the_other(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while left:
            caller = Caller(left.pop(0), voice)
            try:
                heard.extend(await caller.run(port))
            except ConnectionError as error:
                failed.append(f"{caller.uuid}: {error}")

    async with asyncio.TaskGroup() as group:
        for number in range(at_once):
            group.create_task(one_after_the_other(0.3 * number))
    return heard, failed
