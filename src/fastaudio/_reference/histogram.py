"""How often which lateness came: buckets an eighth of an octave wide, counts that only grow."""

BUCKETS = 240
"""Eight below 8 us, then eight for each power of two up to 2^32 us."""
SPLIT = 8


def _bounds() -> tuple[int, ...]:
    """Upper bounds in us, not in the bucket any more: each is at most 12.5 % above any value in its bucket."""
    bounds = list(range(1, SPLIT + 1))
    while len(bounds) < BUCKETS:
        start = bounds[-1]
        bounds += [start + start * part // SPLIT for part in range(1, SPLIT + 1)]
    return tuple(bounds)


HISTOGRAM_BOUNDS_US = _bounds()


class Histogram:
    """Counts by bucket, and the greatest value ever. What came in between is the difference of two reads."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._max_ns = 0

    def add(self, ns: int) -> None:
        """One value; below 0 counts as 0."""
        us = max(0, ns) // 1000
        bucket = next((n for n, bound in enumerate(HISTOGRAM_BOUNDS_US) if us < bound), BUCKETS - 1)
        self._counts[bucket] += 1
        self._max_ns = max(self._max_ns, ns)

    def read(self) -> tuple[tuple[int, ...], int]:
        """Counts by bucket, and the greatest value in ns."""
        return tuple(self._counts), self._max_ns
