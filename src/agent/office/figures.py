"""Numbers a day and company: how many calls, what came of them, how long callers waited, what it cost.

They are counted as calls are kept and stay when a call is erased: they tell of no person.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from itertools import accumulate

import orjson
from sqlalchemy import Insert, Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent.call.record import CallRecord
from agent.office.database import insert_into, reading
from agent.office.models import DailyFigure
from agent.office.scope import Scope
from agent.office.steps import in_steps

MOST_DAYS = 400
NO_COMPANY = 0

STEPS = 8
"""Buckets of the histogram in an octave: each is 9 % wide, so that what is read out of one is at most 5 % off."""
LEAST_MS = 10
"""The lower end of bucket 0, which also has what was quicker."""
LAST_BUCKET = 112
"""From 164 s on."""


def bucket_of(latency_ms: int) -> int:
    """The bucket of the histogram that a latency belongs to."""
    if latency_ms <= LEAST_MS:
        return 0
    return min(LAST_BUCKET, int(STEPS * math.log2(latency_ms / LEAST_MS)))


def counts_of(record: CallRecord) -> dict[str, float]:
    """What a call adds to the numbers of its day."""
    counts: defaultdict[str, float] = defaultdict(float)
    counts["calls"] = 1
    counts[_name("outcome", record.outcome)] = 1
    counts["seconds"] = record.seconds
    counts["turns"] = len(record.turns)
    counts["barge_ins"] = sum(mark.what == "barge_in" for mark in record.marks)
    for vendor, errors in record.vendor_errors.items():
        counts[_name("error", vendor)] += errors
    if record.currency:
        counts[_name("cost", record.currency)] = record.cost
    for latency_ms in record.latencies_ms:
        counts[f"latency:{bucket_of(latency_ms)}"] += 1
    return {name: float(value) for name, value in counts.items() if value}


def _name(kind: str, what: str) -> str:
    return f"{kind}:{what}"[:48]


async def add_counts(
    connection: AsyncConnection, counted: Iterable[tuple[date, int | None, Mapping[str, float]]]
) -> None:
    """Add to the numbers of days and companies, in the connection's transaction.

    Rows are always locked in one order, so that two that add at once wait for each other and never in a ring.
    """
    sums: defaultdict[tuple[date, int, str], float] = defaultdict(float)
    for day, company_id, counts in counted:
        for name, value in counts.items():
            sums[day, company_id or NO_COMPANY, name] += value
    rows = [
        {"day": day, "company_id": company_id, "name": name, "value": sums[day, company_id, name]}
        for day, company_id, name in sorted(sums)
    ]
    if rows:
        await connection.execute(_adding(connection.dialect.name), rows)


@cache
def _adding(dialect: str) -> Insert:
    insert = insert_into(dialect, DailyFigure)
    return insert.on_conflict_do_update(
        index_elements=["day", "company_id", "name"], set_={"value": DailyFigure.value + insert.excluded.value}
    )


@dataclass(frozen=True, slots=True)
class DayNumbers:
    """What was counted in one day, or in several together."""

    calls: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Calls by `CallRecord.outcome`."""
    seconds: float = 0.0
    turns: int = 0
    barge_ins: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    """By "stt", "llm", "tts", "context", "booking"."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """By currency."""
    latencies: Mapping[int, int] = field(default_factory=dict)
    """A histogram of the turns that were measured: bucket (`bucket_of`) to number of turns."""

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
        wanted = sum(self.latencies.values()) * percent / 100
        if not wanted:
            return None
        below = accumulate(turns for _, turns in sorted(self.latencies.items()))
        bucket = next(bucket for bucket, so_far in zip(sorted(self.latencies), below, strict=True) if so_far >= wanted)
        return round(LEAST_MS * 2 ** ((bucket + 0.5) / STEPS))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A span of days."""

    total: DayNumbers
    days: Mapping[date, DayNumbers]
    """Each day of the span, in order, those without a call included."""


class Figures:
    """The counted numbers. `CallArchive.keep` counts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._reading = reading(engine)

    async def between(self, first_day: date, last_day: date, scope: Scope) -> Numbers:
        """Return what was counted from `first_day` to `last_day`, both included, at most `MOST_DAYS`.

        Days are those of each company's own time zone. Raises `ValueError` when there are too many of them.
        """
        days = _days(first_day, last_day)
        sums = (
            select(DailyFigure.day, DailyFigure.name, func.sum(DailyFigure.value).label("value"))
            .where(DailyFigure.day.in_(days), scope.where(DailyFigure.company_id))
            .group_by(DailyFigure.day, DailyFigure.name)
            .subquery()
        )
        by_day: dict[date, dict[str, float]] = {day: {} for day in days}
        async with self._reading.connect() as connection:
            # A day is one row: most of the time would go into making rows of its numbers, two scores of them a day.
            as_json = func.json_group_object if connection.dialect.name == "sqlite" else func.json_object_agg
            packed = select(sums.c.day, cast(as_json(sums.c.name, sums.c.value), Text)).group_by(sums.c.day)
            for day, counts in await connection.execute(packed):
                by_day[day] = orjson.loads(counts)
        each = dict(zip(by_day, await in_steps(map(_numbers, by_day.values())), strict=True))
        return Numbers(_numbers(_added(by_day.values())), each)

    async def total(self, first_day: date, last_day: date, scope: Scope) -> DayNumbers:
        """Return what was counted from `first_day` to `last_day` together. Raises `ValueError` as `between` does."""
        sums = (
            select(DailyFigure.name, func.sum(DailyFigure.value))
            .where(DailyFigure.day.in_(_days(first_day, last_day)), scope.where(DailyFigure.company_id))
            .group_by(DailyFigure.name)
        )
        async with self._reading.connect() as connection:
            return _numbers({name: value for name, value in await connection.execute(sums)})


def _days(first: date, last: date) -> list[date]:
    """Every day by itself: both databases then go straight to the company, the index's second part."""
    days = [first + timedelta(days=after) for after in range((last - first).days + 1)]
    if len(days) > MOST_DAYS:
        raise ValueError(f"{len(days)} days are too many: at most {MOST_DAYS}")
    return days


def _added(counted: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for counts in counted:
        for name, value in counts.items():
            total[name] += value
    return total


def _numbers(counts: Mapping[str, float]) -> DayNumbers:
    kinds: dict[str, dict[str, float]] = {"outcome": {}, "error": {}, "cost": {}, "latency": {}}
    for name, value in sorted(counts.items()):
        kind, _, what = name.partition(":")
        if kind in kinds:
            kinds[kind][what] = value
    return DayNumbers(
        calls=round(counts.get("calls", 0)),
        outcomes={name: round(value) for name, value in kinds["outcome"].items()},
        seconds=counts.get("seconds", 0.0),
        turns=round(counts.get("turns", 0)),
        barge_ins=round(counts.get("barge_ins", 0)),
        errors={name: round(value) for name, value in kinds["error"].items()},
        costs=kinds["cost"],
        latencies={int(bucket): round(turns) for bucket, turns in kinds["latency"].items()},
    )
