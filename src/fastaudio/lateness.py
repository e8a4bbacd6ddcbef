"""How late the media thread was: the operator's instrument for exact time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from fastaudio._core import HISTOGRAM_BOUNDS_US as BOUNDS_US


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late ticks of calls were, each from its deadline to the moment its turn came.

    `counts` has the number of ticks in each bucket, `BOUNDS_US` the buckets' upper bounds in microseconds; a bound is
    at most 12.5 %, or 1 us, above any value in its bucket. `max_us` is the greatest lateness, 0.0 without ticks.
    """

    counts: tuple[int, ...]
    max_us: float

    @property
    def ticks(self) -> int:
        """How many ticks of calls are counted."""
        return sum(self.counts)

    def quantile_us(self, share: float) -> float:
        """The lateness that `share` of the ticks (0.0..1.0) did not exceed, microseconds; 0.0 without ticks.

        It is never understated, and at most 12.5 % too high. Raises ValueError when `share` is out of range.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is 0..1, not {share}")
        rank = max(1, math.ceil(share * self.ticks))
        for bound, upto in zip(BOUNDS_US, accumulate(self.counts), strict=True):
            if upto >= rank:
                return min(float(bound), self.max_us)
        return 0.0

    def since(self, earlier: Lateness) -> Lateness:
        """What came since `earlier` was read. Its `max_us` is exact for a new record, else at most 12.5 % too high."""
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        highest = max((bound for bound, count in zip(BOUNDS_US, counts, strict=True) if count), default=0)
        return Lateness(counts, min(float(highest), self.max_us))
