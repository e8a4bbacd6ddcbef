"""Latencies of the emulated vendors: fixed, or drawn from three published percentiles."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Milliseconds = Annotated[float, Field(ge=0.0, le=600_000.0)]


class Percentiles(BaseModel):
    """Half of the draws are at most `p50` ms, nine in ten at most `p90`, 99 in 100 at most `p99`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50: Milliseconds
    p90: Milliseconds
    p99: Milliseconds

    @model_validator(mode="after")
    def _rising(self) -> Percentiles:
        if not self.p50 <= self.p90 <= self.p99:
            raise ValueError("p50, p90 and p99 must rise")
        return self


Latency = Milliseconds | Percentiles
"""Fixed milliseconds, or a distribution."""


class Dice:
    """Draws latencies; the same seed gives the same run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def seconds(self, latency: Latency) -> float:
        """One draw, in seconds: log-linear between the percentiles, from 0.7 x p50 to 1.2 x p99."""
        if not isinstance(latency, Percentiles):
            return latency / 1000.0
        points = (
            (0.0, latency.p50 * 0.7),
            (0.5, latency.p50),
            (0.9, latency.p90),
            (0.99, latency.p99),
            (1.0, latency.p99 * 1.2),
        )
        chance = self._random.random()
        for (low, short), (high, long) in pairwise(points):
            if chance <= high:
                share = (chance - low) / (high - low)
                return math.exp((1 - share) * math.log1p(short) + share * math.log1p(long)) / 1000.0 - 0.001
        raise AssertionError("a chance is at most 1")
