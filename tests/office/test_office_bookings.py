"""Bookings as people work with them: found, moved on, taken elsewhere; and those that wait in the outbox."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic import command
from sqlalchemy import Connection, event, insert

from agent.office.bookings import MAX_NOTE_CHARS, BookingQuery, Bookings
from agent.office.company_form import CompanyForm
from agent.office.database import create_engine, migration_config
from agent.office.kept import ADVICE, KeptBookings
from agent.office.models import Booking
from agent.office.scope import Scope
from agent.office.store import OfficeStore
from agent.tools.outbox import OutboxStore, Target
from agent.tools.outbox.entry import Verdict
from tests.office.made_bookings import NOON, booking, keep

EVERYTHING = Scope.all()


@pytest.fixture
async def store(database: str) -> AsyncIterator[OfficeStore]:
    async with await OfficeStore.open(database) as store:
        yield store


async def ids(bookings: Bookings, scope: Scope = EVERYTHING, **query: object) -> list[str]:
    page = await bookings.find(BookingQuery(**query), scope)  # type: ignore[arg-type]
    return [row.id for row in page.rows]


async def test_pages_leave_nothing_out_and_show_nothing_twice(store: OfficeStore) -> None:
    # Four were made in each moment: the place in the list is the moment and the ID.
    await keep(store, *(booking(n, created_at=NOON + timedelta(minutes=n // 4)) for n in range(23)))
    found: list[str] = []
    before, pages = "", 0
    while pages == 0 or before:
        page = await store.bookings.find(BookingQuery(limit=5, before=before), EVERYTHING)
        found += [row.id for row in page.rows]
        if pages == 1:
            await keep(store, booking(99))  # a new one on top moves nobody to another page
        before, pages = page.next, pages + 1
    assert found == [f"BK-{n:08}" for n in range(22, -1, -1)]
    assert pages == 5
    page = await store.bookings.find(BookingQuery(limit=24), EVERYTHING)
    assert page.next == "", "a page that is just full is the last one"


@pytest.mark.parametrize("cursor", ["x", "~", "2026-06-01T12:00:00~BK-1", "2026-06-01T12:00:00+00:00"])
async def test_a_cursor_that_is_none(store: OfficeStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="place in the list"):
        await store.bookings.find(BookingQuery(before=cursor), EVERYTHING)


async def test_filters(store: OfficeStore) -> None:
    acme = await store.companies.add(CompanyForm(name="Acme"))
    other = await store.companies.add(CompanyForm(name="Other"))
    await keep(
        store,
        booking(1, acme, state="done", phone="+447700900456"),
        booking(2, other, customer_name="Zoë 100%", note="ring the bell_twice"),
        booking(3, acme, postcode="SW1A 2AA"),
        booking(4),
    )
    find = store.bookings
    assert await ids(find, state="done") == ["BK-00000001"]
    assert await ids(find, company_id=acme) == ["BK-00000003", "BK-00000001"]
    assert await ids(find, text="sw1a") == ["BK-00000003"]
    assert await ids(find, text="07700900456 acacia") == ["BK-00000001"]
    assert await ids(find, text="bk-00000004") == ["BK-00000004"]
    since, until = NOON + timedelta(minutes=2), NOON + timedelta(minutes=4)
    assert await ids(find, since=since, until=until) == ["BK-00000003", "BK-00000002"]
    assert await find.counts(BookingQuery(state="done", company_id=acme), EVERYTHING) == {
        "new": 1,
        "confirmed": 0,
        "done": 1,
        "cancelled": 0,
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("zoe", [2]),
        ("ZOË", [2]),
        ("100%", [2]),
        ("bell", [2]),
        ("bell_tw", [2]),
        ("ell", []),
        ("sw1a2aa", [3]),
        ("sw1a 2", [3]),
        ("+44 7700 900456", [1]),
        ("07700 900456", [1]),
        ("07700 9004", [1]),
        ("020 7946 0018", [4]),
        ("+442079460018", [4]),
        ("leak", [4, 3, 2, 1]),
        ("leaking acacia custo", [4, 3, 1]),
        ("leaking nothing", []),
        ("acacia' OR \"1", [1]),
        ("_bnew", []),
        ("_c1", []),
        ("?", []),
    ],
)
async def test_words_that_bookings_are_found_by(store: OfficeStore, text: str, found: list[int]) -> None:
    await keep(
        store,
        booking(1, phone="+447700900456", note="or else"),
        booking(2, customer_name="Zoë 100%", note="ring the bell_twice"),
        booking(3, postcode="SW1A 2AA"),
        booking(4, phone="020 7946 0018"),  # as somebody gave it, and nobody read it
    )
    assert await ids(store.bookings, text=text) == [f"BK-{number:08}" for number in found]


async def test_words_together_with_all_else(store: OfficeStore) -> None:
    mine = await store.companies.add(CompanyForm(name="Mine"))
    theirs = await store.companies.add(CompanyForm(name="Theirs"))
    later = NOON + timedelta(minutes=30)
    await keep(
        store,
        *(booking(n, mine if n % 2 else theirs, state="done" if n % 3 else "new", created_at=NOON) for n in range(8)),
        *(booking(n, mine, created_at=later + timedelta(minutes=n // 3)) for n in range(8, 20)),
    )
    find, scope = store.bookings, Scope.of([mine])
    assert sorted(await ids(find, scope, text="tap", until=later)) == [f"BK-{n:08}" for n in (1, 3, 5, 7)]
    assert await ids(find, scope, text="tap", company_id=theirs) == []
    assert await ids(find, Scope.of([]), text="tap") == []
    assert sorted(await ids(find, text="tap", state="new", until=later)) == [f"BK-{n:08}" for n in (0, 3, 6)]
    found: list[str] = []
    before, pages = "", 0
    while pages == 0 or before:
        page = await find.find(BookingQuery(text="tap", limit=5, before=before, since=later), scope)
        found += [row.id for row in page.rows]
        before, pages = page.next, pages + 1
    assert sorted(found) == [f"BK-{n:08}" for n in range(8, 20)]
    assert pages == 3
    text = "".join([part async for part in find.csv(BookingQuery(text="tap"), scope)])
    assert text.count("BK-") == 16
    # A company that is gone leaves its bookings to those who see everything.
    await store.companies.delete(mine, EVERYTHING)
    assert await ids(find, scope, text="tap") == []
    assert len(await ids(find, text="tap")) == 20


async def test_a_change_is_found_and_what_was_there_before_is_not(store: OfficeStore) -> None:
    await keep(store, booking(1, note="gate code hollyhock"), booking(2))
    find = store.bookings
    await find.change("BK-00000001", EVERYTHING, who="anna", note="ask for wisteria")
    await find.change("BK-00000002", EVERYTHING, who="anna", state="confirmed")
    assert await ids(find, text="wisteria") == ["BK-00000001"]
    assert await ids(find, text="hollyhock") == []
    assert await ids(find, text="tap", state="confirmed") == ["BK-00000002"]
    assert await ids(find, text="tap", state="new") == ["BK-00000001"]


async def test_bookings_of_before_are_found(bare_database: str) -> None:
    engine = create_engine(bare_database)

    def to(revision: str) -> Callable[[Connection], None]:
        return lambda connection: command.upgrade(migration_config(connection), revision)

    columns = Booking.__table__.columns.keys()
    async with engine.begin() as connection:
        await connection.run_sync(to("0008"))
        rows = [
            {name: value for name, value in vars(booking(n, created_at=NOON)).items() if name in columns}
            | {"company_name": "", "phone": "", "call_uuid": "", "state": "new", "note": ""}
            for n in range(2003)
        ]
        await connection.execute(insert(Booking), rows)
        erased = insert(Booking).values(rows[0] | {"id": "BK-ERASED", "customer_name": ""})
        await connection.execute(erased)
        await connection.run_sync(to("head"))
    await engine.dispose()
    async with await OfficeStore.open(bare_database) as store:
        assert await ids(store.bookings, text="2001 acacia") == ["BK-00002001"]
        assert len(await ids(store.bookings, text="leaking", limit=500)) == 500
        assert await ids(store.bookings, text="erased") == []
        assert await store.bookings.change("BK-ERASED", EVERYTHING, who="anna", note="rang again") is not None
        assert await ids(store.bookings, text="rang") == ["BK-ERASED"]


async def test_what_is_out_of_scope_is_not_there(store: OfficeStore) -> None:
    mine = await store.companies.add(CompanyForm(name="Mine"))
    theirs = await store.companies.add(CompanyForm(name="Theirs"))
    await keep(store, booking(1, mine), booking(2, theirs), booking(3))
    scope = Scope.of([mine])
    assert await ids(store.bookings, scope) == ["BK-00000001"]
    assert await ids(store.bookings, scope, company_id=theirs) == []
    assert (await store.bookings.counts(BookingQuery(), scope))["new"] == 1
    for hidden in ("BK-00000002", "BK-00000003"):
        assert await store.bookings.get(hidden, scope) is None
        assert await store.bookings.change(hidden, scope, who="eve", state="done") is None
        assert await store.bookings.changes(hidden, scope) == []
    text = "".join([part async for part in store.bookings.csv(BookingQuery(), scope)])
    assert "BK-00000001" in text
    assert "BK-00000002" not in text
    assert [row.state for row in (await store.bookings.find(BookingQuery(), EVERYTHING)).rows] == ["new"] * 3


async def test_a_change_is_kept_with_who_made_it(store: OfficeStore) -> None:
    await keep(store, booking(1))
    change = store.bookings.change
    assert (await change("bk-00000001", EVERYTHING, who="anna", state="confirmed")) is not None
    await change("BK-00000001", EVERYTHING, who="bert", note=" ring first \r\n")
    await change("BK-00000001", EVERYTHING, who="carl", state="confirmed", note="ring first")  # as it was
    await change("BK-00000001", EVERYTHING, who="dora", state="done", note="")
    stored = await store.bookings.get("BK-00000001", EVERYTHING)
    assert stored is not None
    assert (stored.state, stored.note) == ("done", "")
    changes = await store.bookings.changes("BK-00000001", EVERYTHING)
    assert [(each.who, each.what) for each in changes] == [
        ("dora", "confirmed → done, note removed"),
        ("bert", "note written"),
        ("anna", "new → confirmed"),
    ]


@pytest.mark.parametrize("wrong", [{"state": "paid"}, {"note": "a" * (MAX_NOTE_CHARS + 1)}, {"note": "a\x00"}])
async def test_a_change_that_cannot_be(store: OfficeStore, wrong: dict[str, str]) -> None:
    await keep(store, booking(1))
    with pytest.raises(ValueError, match=r"state must be|characters"):
        await store.bookings.change("BK-00000001", EVERYTHING, who="anna", **wrong)


async def test_csv_is_read_back_and_no_cell_is_a_formula(store: OfficeStore) -> None:
    evil = ["=1+1", "+SUM(A1)", "-2", "@x", "\tx", "\rx", '=HYPERLINK("http://example.org")']
    await keep(
        store,
        *(booking(n, customer_name=text, address='a "b", c\nd') for n, text in enumerate(evil)),
        booking(20, customer_name="O'Neil", phone="+447700900123"),
    )
    zone = ZoneInfo("Europe/London")
    text = "".join([part async for part in store.bookings.csv(BookingQuery(text="acacia"), EVERYTHING, zone=zone)])
    assert text.count("\r\n") >= 1
    rows = list(
        csv.DictReader(
            io.StringIO(
                "".join([p async for p in store.bookings.csv(BookingQuery(), EVERYTHING, zone=zone)]), newline=""
            )
        )
    )
    assert [row["customer_name"] for row in rows] == ["O'Neil", *(f"'{text}" for text in reversed(evil))]
    assert rows[0]["phone"] == "+447700900123", "a number is no formula"
    assert rows[0]["created_at"] == "2026-06-01T13:20:00+01:00"
    assert rows[1]["address"] == 'a "b", c\nd'
    assert all(not cell.startswith(("=", "@", "\t", "\r", "-")) for row in rows for cell in row.values())


async def test_csv_is_made_a_page_at_a_time(store: OfficeStore) -> None:
    await keep(store, *(booking(n) for n in range(1203)))
    queries: list[str] = []
    engine = store.bookings._reading.kw["bind"].sync_engine
    event.listen(engine, "before_cursor_execute", lambda *args: queries.append(args[2]))
    parts = [part async for part in store.bookings.csv(BookingQuery(), EVERYTHING)]
    lines = "".join(parts).splitlines()
    assert len(lines) == 1204
    assert len(set(lines)) == 1204
    assert sum(query.startswith("SELECT") for query in queries) == 3
    assert len(parts) == 4


# ---- what the outbox keeps -------------------------------------------------------------------------------------------

OFFICE = Target("office", "http://127.0.0.1:1/create_booking", honours_keys=False)
BODY = {"customer_name": "Jo", "postcode": "M14 6BT", "address": "1 Road", "problem_description": "a leak"}


def outbox_with(directory: Path, verdicts: dict[str, tuple[str, Verdict | None]]) -> None:
    """Rows by key: their DID, and what came of the attempt, None for none."""
    outbox = OutboxStore(directory)
    for number, (key, (did, verdict)) in enumerate(verdicts.items()):
        outbox.keep(key, BODY, did=did, call_uuid=f"call-{key}", now=NOON.timestamp() + number)
        if verdict is not None:
            (entry,) = outbox.claim({"booking": OFFICE}, fresh=1, again=0, now=NOON.timestamp() + number)
            outbox.settle(entry, verdict, OFFICE, due_at=NOON.timestamp() + 1e6, now=NOON.timestamp())
    outbox.close()


async def test_what_nobody_has_accepted_is_shown_with_what_to_do(store: OfficeStore, tmp_path: Path) -> None:
    acme = await store.companies.add(CompanyForm(name="Acme", numbers=("+442079460123",)))
    outbox_with(
        tmp_path,
        {
            "accepted": ("020 7946 0123", Verdict("accepted", "accepted", 200, "BK-1")),
            "refused": ("020 7946 0123", Verdict("refused", "status 400", 400, "no such postcode")),
            "uncertain": ("+442079460123", Verdict("lost", "no answer in time")),
            "held": ("442079460123", Verdict("later", "status 401", 401, held=True)),
            "nobodys": ("1001", None),
        },
    )
    kept = KeptBookings(tmp_path, store.companies)
    shown = {entry.key: entry for entry in await kept.open(EVERYTHING)}
    assert {key: entry.state for key, entry in shown.items()} == {
        "refused": "refused",
        "uncertain": "uncertain",
        "held": "held",
        "nobodys": "waiting",
    }
    assert shown["refused"].answer == "no such postcode"
    assert shown["refused"].advice == ADVICE["refused"]
    assert shown["refused"].body == BODY
    assert (shown["held"].company_id, shown["held"].company_name) == (acme, "Acme")
    assert [entry.key for entry in await kept.open(Scope.of([acme]))] == ["refused", "uncertain", "held"]
    assert await kept.open(Scope.of([acme + 1])) == []


async def test_it_is_sent_again_or_set_aside_by_who_may_see_it(store: OfficeStore, tmp_path: Path) -> None:
    acme = await store.companies.add(CompanyForm(name="Acme", numbers=("+442079460123",)))
    refused = Verdict("refused", "status 400", 400, "no")
    outbox_with(
        tmp_path, {"one": ("020 7946 0123", refused), "two": ("020 7946 0123", refused), "not": ("1001", refused)}
    )
    kept = KeptBookings(tmp_path, store.companies)
    mine = Scope.of([acme])
    assert not await kept.retry("not", mine)
    assert not await kept.drop("not", mine, "because")
    assert not await kept.retry("nonsense", EVERYTHING)
    assert await kept.retry("one", mine)
    assert await kept.drop("two", mine, "booked by hand")
    assert {entry.key: entry.state for entry in await kept.open(EVERYTHING)} == {"one": "waiting", "not": "refused"}


async def test_without_an_outbox_nothing_waits_and_no_file_is_made(store: OfficeStore, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    kept = KeptBookings(nowhere, store.companies)
    assert await kept.open(EVERYTHING) == []
    assert not await kept.retry("one", EVERYTHING)
    assert not nowhere.exists()
