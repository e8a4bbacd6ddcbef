"""Numbers a day and company: how many calls, what came of them, how long callers waited, what it cost.

They are counted as calls are kept and stay when a call is erased: they tell of no person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncEngine

from agent.office.scope import Scope


@dataclass(frozen=True, slots=True)
class DayNumbers:
    """What was counted in one day, or in several together."""

    calls: int
    outcomes: Mapping[str, int]
    """Calls by `CallRecord.outcome`."""
    seconds: float
    turns: int
    barge_ins: int
    errors: Mapping[str, int]
    """By "stt", "llm", "tts", "context", "booking"."""
    costs: Mapping[str, float]
    """By currency."""
    latencies: Mapping[int, int]
    """A histogram of the turns that were measured: bucket to number of turns."""

    @property
    def answered(self) -> int:
        """Calls but those that were refused (a limit) or failed."""
        return self.calls - self.outcomes.get("refused", 0) - self.outcomes.get("failed", 0)

    @property
    def booked(self) -> int:
        """Calls that ended with a booking, be it accepted or kept to be sent."""
        return self.outcomes.get("booked", 0) + self.outcomes.get("booking_kept", 0)

    @property
    def transferred(self) -> int:
        """Calls that were put through to somebody."""
        return self.outcomes.get("transferred", 0)

    @property
    def failed(self) -> int:
        """Calls that broke off."""
        return self.outcomes.get("failed", 0)

    @property
    def currency(self) -> str:
        """The one in which most was spent; empty for none."""
        return max(self.costs, key=lambda currency: self.costs[currency], default="")

    @property
    def cost(self) -> float:
        """What was spent in `currency`."""
        return self.costs.get(self.currency, 0.0)

    @property
    def median_ms(self) -> int | None:
        """Half of the turns were answered within this, give or take 5 %; None where none was measured."""
        return self.percentile_ms(50)

    @property
    def p95_ms(self) -> int | None:
        """95 % of the turns were answered within this, give or take 5 %; None where none was measured."""
        return self.percentile_ms(95)

    def percentile_ms(self, percent: float) -> int | None:
        """So many % of the turns were answered within this, give or take 5 %; None where none was measured."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Numbers:
    """A span of days."""

    total: DayNumbers
    days: Mapping[date, DayNumbers]
    """Each day of the span, in order, those without a call included."""


class Figures:
    """The counted numbers. `CallArchive.keep` counts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def between(self, first_day: date, last_day: date, scope: Scope) -> Numbers:
        """Return what was counted from `first_day` to `last_day`, both included, at most `MOST_DAYS`.

        Days are those of each company's own time zone. Raises `ValueError` when there are too many of them.
        """
        raise NotImplementedError
