"""The load generator in C, as fastaudio.load uses it."""

from typing import Final, Self, TypedDict, final

PHASES: Final[tuple[str, ...]]
TROUBLES: Final[tuple[str, ...]]

class _Figures(TypedDict):
    """As src/fastaudio/c/load.h names them."""

    measured_ns: int
    ended: dict[str, int]
    silent: int
    sent: int
    messages: int
    long_gaps: int
    merged: int
    untimed: int
    gap_p50_ns: int
    gap_p99_ns: int
    gap_p999_ns: int
    gap_max_ns: int
    rated: int
    ppm_median: float
    ppm_worst: float
    slip_median_ns: int
    slip_worst_ns: int
    lag_p50_ns: int
    lag_p99_ns: int
    lag_max_ns: int
    cpu_ns: int
    turns: int
    answers: int
    unanswered: int
    overlaps: int
    answer_p50_ns: int
    answer_p99_ns: int
    answer_max_ns: int

@final
class Generator:
    """One run of the load generator."""

    def __new__(
        cls,
        address: str,
        port: int,
        *,
        uuid_prefix: bytes,
        calls: int,
        calls_a_second: int,
        rate: int,
        packet_ms: int,
        talk_percent: int,
        turn_ms: int,
        warmup_ns: int,
        measure_ns: int,
    ) -> Self:
        """Allocate. Raises ValueError when an option is out of range, MemoryError."""

    def run(self) -> bool:
        """Run to the end, without the GIL. False: it came to no measurement, and `trouble` says why."""

    def stop(self) -> None:
        """Let `run` return soon. From any thread."""

    def progress(self) -> tuple[str, int, int]:
        """Phase, calls on the line, messages of audio received within the measurement. From any thread."""

    def trouble(self) -> tuple[str, int, int, str]:
        """What went wrong, the call's number from 0, errno, why the call ended. After `run`."""

    def report(self) -> _Figures:
        """Figures of the measurement. After a `run` that returned True."""
