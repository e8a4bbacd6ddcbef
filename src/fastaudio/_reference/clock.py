"""The schedule of ticks: each deadline comes from the one before, so lateness never adds up."""

TICK_NS = 20_000_000
STALL_NS = 4 * TICK_NS
"""Late by so much, the caller's RTP timestamps jump (Asterisk, main/rtp: MAX_TIMESTAMP_SKEW 640 = 80 ms)."""


class Clock:
    """Deadlines on the grid ``base_ns + k * 20 ms``, on any clock that counts nanoseconds."""

    def __init__(self, base_ns: int, now_ns: int) -> None:
        """The first deadline is the first one strictly after `now_ns`."""
        self.due_ns = base_ns + ((now_ns - base_ns) // TICK_NS + 1) * TICK_NS

    def take(self, now_ns: int) -> tuple[int, bool, int]:
        """What is due: (periods, stalled, late in ns). Moves the deadline past `now_ns` when something is.

        `periods` is 0 before the deadline, 1 in time, more when periods are owed; `stalled` from 80 ms late on.
        """
        late_ns = now_ns - self.due_ns
        if late_ns < 0:
            return 0, False, late_ns
        periods = 1 + late_ns // TICK_NS
        self.due_ns += periods * TICK_NS
        return periods, late_ns >= STALL_NS, late_ns
