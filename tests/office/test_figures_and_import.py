"""What days bring is counted as calls are kept; documents that are missing in the database are brought in."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from agent.call.record import Mark, write_record
from agent.office.archive import CallArchive, CallQuery
from agent.office.housekeeping import Housekeeping
from agent.office.scope import Scope
from agent.office.seed import MANCHESTER_ELECTRICIAN
from agent.office.store import OfficeStore
from tests.office.archived_calls import EVERYTHING, LONDON, MANCHESTER, STARTED, a_call, a_turn, uuids

# -- counted -----------------------------------------------------------------------------------------------------------


async def test_a_day_is_counted_by_company_in_its_own_zone(store: OfficeStore) -> None:
    await store.add_company(replace(MANCHESTER_ELECTRICIAN, timezone="Asia/Tokyo"))
    late = "2026-07-01T22:30:00+00:00"  # 23:30 in London, the next morning in Tokyo
    slow = [a_turn("a", latency_ms=latency) for latency in (100, 800, 820, 3000)]
    await store.archive.keep(
        a_call(
            1, started=late, outcome="booked", turns=slow, costs={"stt": 0.5}, currency="GBP", vendor_errors={"llm": 2}
        )
    )
    await store.archive.keep(a_call(2, started=late, outcome="failed", seconds=3.5, vendor_errors={"llm": 1, "stt": 1}))
    await store.archive.keep(a_call(3, started=late, did=MANCHESTER, outcome="transferred", turns=[]))
    await store.archive.keep(a_call(4, started=late, did="", outcome="refused", marks=[Mark(1, "barge_in")] * 3))
    first, second = date(2026, 7, 1), date(2026, 7, 2)
    numbers = await store.figures.between(first, second, EVERYTHING)
    assert list(numbers.days) == [first, second]
    assert [day.calls for day in numbers.days.values()] == [3, 1]
    total = numbers.total
    assert (total.calls, total.answered, total.booked, total.transferred, total.failed) == (4, 2, 1, 1, 1)
    assert (total.turns, total.barge_ins) == (6, 3)
    assert total.seconds == pytest.approx(61.5 * 3 + 3.5)
    assert total.errors == {"llm": 3, "stt": 1}
    assert (total.currency, total.cost) == ("GBP", 0.5)
    rows = (await store.archive.find(CallQuery(), EVERYTHING)).rows
    london = Scope.of([row.company_id for row in rows if row.did == LONDON and row.company_id is not None])
    numbers = await store.figures.between(first, second, london)
    assert [day.calls for day in numbers.days.values()] == [2, 0]
    assert numbers.days[first].median_ms == pytest.approx(800, rel=0.05)
    assert numbers.days[first].p95_ms == pytest.approx(3000, rel=0.05)
    assert numbers.days[second].median_ms is None
    assert (await store.figures.between(first, second, Scope.of([]))).total.calls == 0
    for scope in (EVERYTHING, london, Scope.of([])):
        assert (
            await store.figures.total(first, second, scope) == (await store.figures.between(first, second, scope)).total
        )
    assert (await store.figures.total(second, second, EVERYTHING)).calls == 1
    with pytest.raises(ValueError, match="days"):
        await store.figures.between(first, first + timedelta(days=401), EVERYTHING)
    with pytest.raises(ValueError, match="days"):
        await store.figures.total(first, first + timedelta(days=401), EVERYTHING)


async def test_calls_kept_at_once_are_all_counted(database: str, store: OfficeStore) -> None:
    async with await OfficeStore.open(database) as other:
        await asyncio.gather(
            *(
                (store, other)[number % 2].archive.keep(a_call(number, vendor_errors={"stt": 1}))
                for number in range(1, 41)
            )
        )
    total = (await store.figures.between(STARTED.date(), STARTED.date(), EVERYTHING)).total
    assert (total.calls, total.turns, total.errors) == (40, 40, {"stt": 40})
    assert sum(total.latencies.values()) == 40


# -- brought in --------------------------------------------------------------------------------------------------------


async def test_documents_that_are_missing_are_brought_in_the_newest_first(archive: CallArchive, tmp_path: Path) -> None:
    records = tmp_path / "calls"
    assert (await archive.import_missing(records)).kept == 0
    for number in range(1, 6):
        os.utime(write_record(a_call(number), records), (number, number))
    await archive.keep(a_call(5))
    for name, content in (
        ("00000000-0000-4000-8000-00000000000a.json", b"{"),
        ("00000000-0000-4000-8000-00000000000b.json", b"[1]"),
        ("00000000-0000-4000-8000-00000000000c.json", (records / f"{a_call(1).uuid}.json").read_bytes()),
        (
            "00000000-0000-4000-8000-00000000000d.json",
            b'{"uuid": "00000000-0000-4000-8000-00000000000d", "turns": [1]}',
        ),
        ("notes.json", b"{}"),
        ("00000000-0000-4000-8000-00000000000e.json.part", b"{}"),
    ):
        (records / name).write_bytes(content)
        os.utime(records / name, (0, 0))
    imported = await archive.import_missing(records, at_most=3)
    assert (imported.kept, imported.left) == (3, 5)
    assert uuids(await archive.find(CallQuery(), EVERYTHING)) == [5, 4, 3, 2]
    imported = await archive.import_missing(records)
    assert imported.kept == 1
    assert sorted(name[35] for name in imported.broken) == ["a", "b", "c", "d"]
    assert (await archive.import_missing(records)).kept == 0
    assert (await archive.find(CallQuery(text="kitchen", limit=9), EVERYTHING)).rows[0].uuid == a_call(5).uuid


async def test_a_database_that_is_away_is_no_fault_of_the_documents(tmp_path: Path, caplog: Any) -> None:
    records = tmp_path / "calls"
    write_record(a_call(1, caller_name="Secret Name"), records)
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        async with store.transaction() as session:
            await session.execute(text("DROP TABLE turns"))
        with pytest.raises(OperationalError) as caught:
            await store.archive.import_missing(records)
        assert "kitchen" not in str(caught.value)
        keeping = Housekeeping(store.archive, records=records, recordings=tmp_path, retention_days=0)
        assert not await keeping.look()
        assert keeping.counters == {"troubles": 1}
    assert "OperationalError" in caplog.text
    assert "Secret" not in caplog.text


async def test_a_broken_document_is_named_once(archive: CallArchive, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / f"{a_call(1).uuid}.json").write_bytes(b"no record")
    keeping = Housekeeping(archive, records=tmp_path, recordings=tmp_path, retention_days=0)
    assert await keeping.look()
    assert await keeping.look()
    assert keeping.counters["broken"] == 1
    assert caplog.text.count(a_call(1).uuid) == 1
