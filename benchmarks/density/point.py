"""One server with so many calls: what it cost, and what its callers heard."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.servers.start import Server, serving
from fastaudio import load

TRIES = 3
"""A point at which the callers were late themselves is taken again, at most so often."""
SATURATED_PERCENT = 95.0
OTHERS_PERCENT = 20.0
"""A point at which others than the server (programs, the host) had more than this of its core is not valid either."""
CALLS_A_SECOND = 500


@dataclass(frozen=True)
class Point:
    """One server with so many calls; `heard` is None when it did not carry them, and `why` says how that showed."""

    server: str
    calls: int
    cpu_percent: float = 0.0
    others_percent: float = 0.0
    rss_kb_a_call: float = 0.0
    heard: load.Report | None = None
    why: str = ""

    @property
    def cpu_percent_a_call(self) -> float:
        """Of one core."""
        return self.cpu_percent / self.calls

    @property
    def valid(self) -> bool:
        """The callers were in time and the server had its core to itself, so that the figures are the server's."""
        return self.heard is not None and self.heard.valid and self.others_percent <= OTHERS_PERCENT

    @property
    def saturated(self) -> bool:
        """More calls than these are not worth trying."""
        return self.heard is None or not self.heard.carried or self.cpu_percent >= SATURATED_PERCENT

    def as_json(self) -> dict[str, Any]:
        """All of it, plain."""
        derived = {"cpu_percent_a_call": self.cpu_percent_a_call, "valid": self.valid, "saturated": self.saturated}
        return asdict(self) | derived


class _Meter:
    """Reads the server's CPU clock and memory while it is measured."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.resident_before = server.resident_bytes()
        self.resident = 0
        self.first: tuple[int, int, int] | None = None
        self.last = (0, 0, 0)

    def __call__(self, progress: load.Progress) -> None:
        if progress.phase != "measuring":
            return
        self.last = (time.monotonic_ns(), self.server.cpu_ns(), self.server.core_idle_ns())
        if self.first is None:
            self.first = self.last
        self.resident = self.server.resident_bytes()

    def percents(self) -> tuple[float, float]:
        """Of its core: what the server used, and what others did."""
        if self.first is None or self.last[0] == self.first[0]:
            return 0.0, 0.0
        took, used, idle = (last - first for last, first in zip(self.last, self.first, strict=True))
        return 100 * used / took, max(0.0, 100 * (took - used - idle) / took)


def measure(name: str, calls: int, warmup_s: float, seconds: float, core: int) -> Point:
    """One point, taken once, by callers in this process. Raises `Unavailable`."""
    with serving(name, core) as server:
        meter = _Meter(server)
        try:
            heard = load.run(
                "127.0.0.1",
                server.port,
                calls=calls,
                seconds=seconds,
                warmup=warmup_s,
                calls_a_second=CALLS_A_SECOND,
                on_progress=meter,
            )
        except load.LoadError as error:
            return Point(name, calls, why=str(error))
    used, others = meter.percents()
    return Point(
        server=name,
        calls=calls,
        cpu_percent=round(used, 3),
        others_percent=round(others, 1),
        rss_kb_a_call=round((meter.resident - meter.resident_before) / 1024 / calls, 1),
        heard=heard,
    )


def measure_fairly(name: str, calls: int, warmup_s: float, seconds: float, core: int) -> Point:
    """One point, from a valid try if there is one, else from that in which the callers were the least late."""
    tries: list[Point] = []
    while len(tries) < TRIES and not any(point.valid or point.heard is None for point in tries):
        tries.append(measure(name, calls, warmup_s, seconds, core))
    return min(tries, key=lambda point: (not point.valid, point.heard.lag_p99_ms if point.heard else 0.0))
