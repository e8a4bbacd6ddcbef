"""The made-up past: the same by its seed, whole, and spread over its days."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from agent.office.archive import CallQuery
from agent.office.scope import Scope
from agent.office.store import OfficeStore
from agent.sandbox.history import COMPANIES, OUTCOMES, Answering, fill, made_calls

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
WHERE = [Answering(company.name, company.numbers[0], company.callout_fee) for company in COMPANIES]


def test_the_same_seed_makes_the_same_calls() -> None:
    first, again, other = (list(made_calls(WHERE, 60, 9, seed, NOW)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert len({record.started for record in first}) == 60
    assert [record.started for record in first] == sorted(record.started for record in first)
    for record in first:
        assert NOW - timedelta(days=9) <= datetime.fromisoformat(record.started) < NOW
        ends = [turn.end_ms or 0 for turn in record.turns]
        assert ends == sorted(ends)
        assert all(word.start_ms < word.end_ms for turn in record.turns for word in turn.words)
    assert sum(turn.interrupted for record in first for turn in record.turns) == sum(
        mark.what == "barge_in" for record in first for mark in record.marks
    )


async def test_a_database_is_filled_with_all_that_belongs_to_calls(database: str) -> None:
    async with await OfficeStore.open(database) as store:
        await fill(store, calls=700, days=30, seed=3, now=NOW)
        everything = Scope.all()
        total = (await store.figures.between(NOW.date() - timedelta(days=30), NOW.date(), everything)).total
        assert total.calls == 700
        assert total.outcomes.keys() == OUTCOMES.keys()
        assert total.median_ms is not None
        assert 400 < total.median_ms < 900
        booked = (await store.archive.find(CallQuery(outcome="booked", limit=200), everything)).rows
        made = {booking.id: booking for booking in await store.list_bookings(limit=1000)}
        assert len(made) == total.outcomes["booked"]
        assert all(made[row.booking_id].call_uuid == row.uuid for row in booked)
        assert len(Counter(row.company_name for row in booked)) > 4
        stored = await store.archive.get(booked[0].uuid, everything)
        assert stored is not None
        assert stored.record.turns[-1].words
