"""Calls that are over, in the database: kept once and whole, found by their words, counted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import func, select, update

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes, Word
from agent.office import call_search
from agent.office.archive import CallArchive, CallQuery
from agent.office.models import Call, CallEvent, CallText, CallTurn
from agent.office.scope import Scope
from agent.office.store import NewBooking, OfficeStore
from tests.office.archived_calls import EVERYTHING, LONDON, MANCHESTER, STARTED, a_call, a_turn, uuids


async def found(archive: CallArchive, words: str, scope: Scope = EVERYTHING, **fields: Any) -> list[int]:
    return uuids(await archive.find(CallQuery(text=words, **fields), scope))


# -- kept --------------------------------------------------------------------------------------------------------------


async def test_a_call_comes_back_as_it_was_kept(archive: CallArchive) -> None:
    turn = TurnRecord(
        caller="hello",
        start_ms=20,
        agent="good morning",
        heard="good",
        interrupted=True,
        end_ms=900,
        times=TurnTimes(1, 2, 3, 4, 5, 6, 7, 8),
        tools=[{"name": "end_call", "ok": True, "ms": 3, "arguments": {"why": "é"}}],
        words=[Word("caller", "hello", 20, 400), Word("agent", "good", 500, 900)],
        drafts=2,
        wasted=1,
    )
    record = CallRecord(
        uuid="00000000-0000-4000-8000-00000000abcd",
        did=LONDON,
        caller_id="+447700900123",
        caller_name="Jo",
        unique_id="1.2",
        linked_id="1.1",
        source="fastagi",
        company="Thames",
        started="2026-03-01T09:00:00.123+00:00",
        seconds=12.5,
        ended_by="caller",
        outcome="booked",
        verdict="hangup",
        booking_id="BK-1",
        turns=[turn, replace(turn, caller="again")],
        marks=[Mark(5, "barge_in"), Mark(5, "dtmf", "7"), Mark(1, "hold")],
        early_answers={"begun": 3, "used": 2, "thrown_away": 1},
        media={"frames_in": 5},
        vendors={"stt": {"connected": 1}},
        vendor_errors={"llm": 2},
        usage={"stt": {"nova-3": {"seconds": 12.5}}},
        unpriced=["nova-3"],
        costs={"stt": 0.25, "llm": 0.5},
        currency="GBP",
        repeat_caller=True,
        recording="/var/lib/voice-agent/recordings/x.wav",
    )
    empty = CallRecord(uuid="x")
    missing = [name for name in vars(type(record))["__slots__"] if getattr(record, name) == getattr(empty, name)]
    assert missing == ["version"], "this test must fill every field"
    assert await archive.keep(record)
    stored = await archive.get(record.uuid, EVERYTHING)
    assert stored is not None
    assert stored.record == replace(record, recording="x.wav")
    assert stored.erased_at is None
    (row,) = (await archive.find(CallQuery(), EVERYTHING)).rows
    assert (row.company_name, row.turn_count, row.barge_ins, row.latency_ms) == ("Thames", 2, 1, 7)
    assert (row.cost, row.currency, row.recording) == (0.75, "GBP", "x.wav")


async def test_a_call_is_kept_once_however_often_and_from_wherever(database: str, store: OfficeStore) -> None:
    async with await OfficeStore.open(database) as other:
        made = await asyncio.gather(*(s.archive.keep(a_call()) for s in (store, other) * 5))
    assert made.count(True) == 1
    async with store.transaction() as session:
        for table in (CallTurn, CallText):
            assert await session.scalar(select(func.count()).select_from(table)) == 1
    numbers = await store.figures.between(STARTED.date(), STARTED.date(), EVERYTHING)
    assert (numbers.total.calls, numbers.total.turns) == (1, 1)


async def test_nothing_of_a_call_is_kept_unless_all_of_it_is(store: OfficeStore, monkeypatch: Any) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr("agent.office.archive.add_counts", fail)
    with pytest.raises(RuntimeError):
        await store.archive.keep(a_call(marks=[Mark(1, "hold")]))
    assert await store.archive.get(a_call().uuid, EVERYTHING) is None
    async with store.transaction() as session:
        for table in (CallTurn, CallEvent, CallText):
            assert await session.scalar(select(func.count()).select_from(table)) == 0
    monkeypatch.undo()
    assert await store.archive.keep(a_call())


async def test_numbers_are_normalised_and_the_dialled_one_tells_the_company(archive: CallArchive) -> None:
    await archive.keep(a_call(1, did="020 7946 0123", caller_id="07700 900123"))
    await archive.keep(a_call(2, did="020 7946 0999", caller_id="anonymous"))
    known, unknown = (await archive.find(CallQuery(), EVERYTHING)).rows[::-1]
    assert (known.did, known.caller_id) == (LONDON, "+447700900123")
    assert known.company_id is not None
    assert (unknown.company_id, unknown.caller_id) == (None, "")


async def test_what_a_document_may_hold_is_cut_or_refused_and_never_half_kept(archive: CallArchive) -> None:
    await archive.keep(a_call(1, caller_name="x" * 1000, verdict="y" * 1000, turns=[a_turn("a nul \0 in it")]))
    stored = await archive.get(a_call(1).uuid, EVERYTHING)
    assert stored is not None
    assert stored.record.turns[0].caller == "a nul  in it"
    for broken in ({"uuid": ""}, {"uuid": "x" * 37}, {"outcome": 5}, {"started": "yesterday"}, {"seconds": "long"}):
        with pytest.raises((ValueError, TypeError)):
            await archive.keep(a_call(2, **broken))
    assert uuids(await archive.find(CallQuery(), EVERYTHING)) == [1]


async def test_nobody_sees_a_call_of_another_company(store: OfficeStore, archive: CallArchive) -> None:
    await archive.keep(a_call(1))
    await archive.keep(a_call(2, did=MANCHESTER))
    await archive.keep(a_call(3, did="+442079460999"))
    one, two = (row.company_id for row in (await archive.find(CallQuery(), EVERYTHING)).rows[:0:-1])
    assert one is not None
    assert two is not None
    for words in ("", "kitchen"):
        assert await found(archive, words, EVERYTHING) == [3, 2, 1]
        assert await found(archive, words, Scope.of([one])) == [1]
        assert await found(archive, words, Scope.of([one, two])) == [2, 1]
        assert await found(archive, words, Scope.of([])) == []
        assert await found(archive, words, EVERYTHING, company_id=two) == [2]
        assert await found(archive, words, Scope.of([one]), company_id=two) == []
    assert await archive.get(a_call(1).uuid, Scope.of([two])) is None
    assert await archive.get(a_call(3).uuid, Scope.of([one, two])) is None
    assert await archive.get(a_call(1).uuid, Scope.of([one])) is not None
    # Nor one that was a company's, and is nobody's since the company is gone.
    async with store.transaction() as session:
        await session.execute(update(Call).where(Call.uuid == a_call(1).uuid).values(company_id=None))
    for words in ("", "kitchen"):
        assert await found(archive, words, Scope.of([one])) == []


# -- found -------------------------------------------------------------------------------------------------------------

SAID = a_turn("My kitchen tap's leaking, naïve café Straße №5 Ωμέγα", 'He said "hello"; it\'s fine')
BOOKED = a_turn("It's M14 6BT.", "Booked.")
BOOKED.tools = [
    {"name": "create_booking", "arguments": {"customer_name": "Zoë Quill", "postcode": "M14 6BT"}, "ok": True, "ms": 9}
]


FITTING = (
    "kitchen",
    "KITCHEN leaking",
    "leaking kitchen",
    "kit",
    "leaking kit",
    "taps",
    "tap's",
    "tap’s",
    "cafe",
    "café",
    "strasse",
    "ωμεγα",
    "ωμ",
    "zoe quill",
    "Wilhelmina",
    "m14 6bt",
    "M146BT",
    "m14 6",
    "BK-7F3K2Q9M",
    "7f3k2q9m",
    "bk7f3",
    "+447700900123",
    "07700 900123",
    "07700 900",
    "447700",
    "00447700900123",
    "(07700) 900-123",
    "020 7946 0123",
    '"hello"',
    "kitchen' -- ",
    "hello;",
)
UNFIT = (
    'kitchen" OR "garden',
    "words: kitchen",
    "kitchen garden",
    "itchen",
    "kit leaking",
    "kitchen NOT leaking",
    "kitchen OR garden",
    "NEAR(kitchen tap)",
    "k*n",
    "k",
    "07701",
    "_c1",
    "_onobooking",
    "kitchen & garden",
    "kitchen | garden",
    "!garden",
    "M146BX",
)


async def test_a_call_is_found_by_its_words(archive: CallArchive) -> None:
    await archive.keep(a_call(1, caller_name="Wilhelmina", booking_id="BK-7F3K2Q9M", turns=[SAID, BOOKED]))
    await archive.keep(a_call(2, did=MANCHESTER, caller_id="", turns=[a_turn("something else", "garden words, then")]))
    assert [words for words in FITTING if await found(archive, words) != [1]] == []


async def test_what_is_not_said_is_not_found_and_no_operator_is_heeded(archive: CallArchive) -> None:
    await archive.keep(a_call(1, turns=[SAID, BOOKED]))
    assert [words for words in UNFIT if await found(archive, words)] == []


async def test_a_query_without_a_word_narrows_nothing(archive: CallArchive) -> None:
    await archive.keep(a_call(1))
    for words in ("", "   ", '"', "'", "\\", "*", "%", "()", "!!", "&|:*", "-"):
        assert await found(archive, words) == [1], words


async def test_the_booking_of_a_call_is_found_in_the_back_office(store: OfficeStore) -> None:
    booking, _ = await store.create_booking(NewBooking("Ada Lovelace", "SW1A 1AA", "1 The Mall", "a leak"))
    await store.archive.keep(a_call(1, booking_id=booking.id))
    assert await found(store.archive, "lovelace") == [1]
    assert await found(store.archive, "sw1a1aa") == [1]


async def test_a_snippet_shows_where_the_words_are(archive: CallArchive) -> None:
    long = "and so on " * 40 + "then the <b>boiler</b> broke & the Boilers went " + "on and on " * 40
    await archive.keep(a_call(1, turns=[a_turn("the boiler"), a_turn("no", long)]))
    (row,) = (await archive.find(CallQuery(text="broke boil"), EVERYTHING)).rows
    assert row.snippet is not None
    assert row.snippet.who == "agent"
    shown = [row.snippet.text[begin:end] for begin, end in row.snippet.marks]
    assert shown == ["boiler", "broke", "Boilers"]
    assert "<b>boiler</b> broke & the" in row.snippet.text
    assert row.snippet.text.startswith("…")
    assert row.snippet.text.endswith("…")
    assert len(row.snippet.text) <= 142
    (row,) = (await archive.find(CallQuery(text="07700900123"), EVERYTHING)).rows
    assert row.snippet is None


@pytest.mark.parametrize("words", ["", "kitchen"])
async def test_pages_show_every_call_once_newest_first(archive: CallArchive, words: str) -> None:
    for number in range(1, 24):
        # Several begin in one moment.
        await archive.keep(a_call(number, started=(STARTED + timedelta(seconds=number // 4)).isoformat()))
    seen: list[int] = []
    query = CallQuery(text=words, limit=5)
    while True:
        page = await archive.find(query, EVERYTHING)
        seen += uuids(page)
        if not page.next:
            break
        assert len(page.rows) == 5
        await archive.keep(a_call(100 + len(seen)))  # a call that ends meanwhile moves nobody
        query = replace(query, before=page.next)
    assert sorted(seen) == list(range(1, 24))
    assert [number // 4 for number in seen] == sorted((number // 4 for number in seen), reverse=True)


@pytest.mark.parametrize("newest", [1, 3, 5, 400])
async def test_a_page_is_the_same_however_many_of_the_newest_are_looked_through_first(
    store: OfficeStore, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    monkeypatch.setattr(call_search, "NEWEST", newest)
    for number in range(1, 25):
        said = "My kitchen tap is leaking" if number % 3 else "The fuse box keeps tripping"
        did = MANCHESTER if number % 4 == 0 else LONDON
        await store.archive.keep(a_call(number, did=did, turns=[a_turn(said, "We can be with you")]))
    manchester = next(company.id for company, numbers in await store.list_companies() if MANCHESTER in numbers)
    leaking = [number for number in range(24, 0, -1) if number % 3]
    for scope, fits in (
        (EVERYTHING, leaking),
        (Scope.of([manchester]), [number for number in leaking if number % 4 == 0]),
        (Scope.of([manchester + 1000]), []),
    ):
        found: list[int] = []
        page = await store.archive.find(CallQuery(text="leak", limit=2), scope)
        found += uuids(page)
        while page.next:
            page = await store.archive.find(CallQuery(text="leak", limit=2, before=page.next), scope)
            found += uuids(page)
        assert found == fits


async def test_a_cursor_that_is_none_is_refused(archive: CallArchive) -> None:
    for words, cursor in product(("", "kitchen"), ("x", "-1", "1;2", "²", "9" * 40, "'")):
        with pytest.raises(ValueError, match="cursor"):
            await archive.find(CallQuery(text=words, before=cursor), EVERYTHING)


@pytest.mark.parametrize("words", ["", "kitchen"])
async def test_each_filter_narrows(archive: CallArchive, words: str) -> None:
    tap = "my kitchen tap"
    await archive.keep(a_call(1, recording="a.wav", turns=[a_turn(tap, latency_ms=300)]))
    await archive.keep(a_call(2, outcome="transferred", marks=[Mark(1, "barge_in")]))
    await archive.keep(a_call(3, caller_id="+447700900456", turns=[a_turn(tap, latency_ms=2500)]))
    await archive.keep(a_call(4, caller_id="", did=MANCHESTER, turns=[a_turn(tap, latency_ms=None)]))

    async def fits(**fields: Any) -> list[int]:
        return await found(archive, words, **fields)

    assert await fits() == [4, 3, 2, 1]
    assert await fits(since=STARTED + timedelta(minutes=2)) == [4, 3, 2]
    assert await fits(until=STARTED + timedelta(minutes=2)) == [1]
    assert await fits(outcome="transferred") == [2]
    assert await fits(outcome="' OR 1=1") == []
    assert await fits(number="07700 900456") == [3]
    assert await fits(number="0161 496 0456") == [4]
    assert await fits(number="withheld") == [4]
    assert await fits(interrupted=True) == [2]
    assert await fits(interrupted=False) == [4, 3, 1]
    assert await fits(slower_than_ms=1000) == [3]
    assert await fits(with_recording=True) == [1]
    assert await fits(with_recording=False, limit=1) == [4]
    assert await fits(limit=0) == [4]
