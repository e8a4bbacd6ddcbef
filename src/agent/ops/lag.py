"""How late this process is: its event loop and its media thread, over the last seconds.

A host that stood still once is late once: that is no load. What counts is what a share of all samples exceeds, and a
gate that has shut opens again only when it is well below, so that calls are not let in and turned away by turns.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable

from fastaudio.lateness import Lateness

STEP_S = 0.1
"""Between two looks at the event loop."""
WINDOW_S = 5
ENOUGH_LOOKS = 20
ENOUGH_TICKS = 200
"""Fewer samples than these tell nothing: 2 s of the event loop, 4 s of one call."""


class Gate:
    """Shut when a value is above its limit, open again at half of it. A limit of 0 never shuts."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.shut = False

    def judge(self, value: float) -> bool:
        """Take a new value; whether the gate is shut now."""
        self.shut = self.limit > 0 and value > (self.limit / 2 if self.shut else self.limit)
        return self.shut


class LagMonitor:
    """Looks at the event loop ten times a second and judges once a second. `run` is a task of its owner."""

    def __init__(
        self,
        lateness: Callable[[], Lateness],
        *,
        max_loop_lag_ms: float = 100,
        max_media_lateness_ms: float = 60,
        on_look: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`lateness` is the media engine's, since it was made; `on_look` is told how late each look was, s."""
        self._on_look = on_look
        self._lateness = lateness
        self._looks: deque[float] = deque(maxlen=round(WINDOW_S / STEP_S))
        self._media: deque[Lateness] = deque(maxlen=WINDOW_S + 1)
        self.loop_gate = Gate(max_loop_lag_ms)
        self.media_gate = Gate(max_media_lateness_ms)
        self.loop_lag_ms = 0.0
        """P95 of the last 5 s."""
        self.media_lateness_ms = 0.0
        """P99 of the last 5 s; 0 while hardly anything was sent."""

    @property
    def too_late(self) -> bool:
        """Whether one more call would make it worse for all."""
        return self.loop_gate.shut or self.media_gate.shut

    def heed(self, max_loop_lag_ms: float, max_media_lateness_ms: float) -> None:
        """Go by these limits from now on."""
        self.loop_gate.limit = max_loop_lag_ms
        self.media_gate.limit = max_media_lateness_ms

    def looked(self, late_ms: float) -> None:
        """The event loop came so late to a look."""
        self._looks.append(late_ms)
        self._on_look(late_ms / 1000)

    def judge(self) -> None:
        """Once a second: what the last 5 s were like."""
        if len(self._looks) >= ENOUGH_LOOKS:
            self.loop_lag_ms = _quantile(self._looks, 0.95)
            self.loop_gate.judge(self.loop_lag_ms)
        self._media.append(self._lateness())
        recent = self._media[-1].since(self._media[0])
        self.media_lateness_ms = recent.quantile_us(0.99) / 1000 if recent.ticks >= ENOUGH_TICKS else 0.0
        self.media_gate.judge(self.media_lateness_ms)

    async def run(self, each_second: Callable[[], None] = lambda: None) -> None:
        """Look and judge until cancelled; `each_second` is called after each judgement."""
        due = time.monotonic()
        looks = 0
        while True:
            due += STEP_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late_s = time.monotonic() - due
            self.looked(late_s * 1000)
            if late_s > STEP_S:
                due += late_s  # one stall is one look, however long it took
            looks += 1
            if looks % round(1 / STEP_S) == 0:
                self.judge()
                each_second()


def _quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
