"""What becomes of people's data: it goes after the retention period, and on request at once; figures stay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from agent.call.record import CallRecord, Mark, write_record
from agent.cli import app
from agent.office import housekeeping
from agent.office.archive import CallQuery
from agent.office.housekeeping import Housekeeping
from agent.office.models import Booking, BookingText, Call, Caller, CallEvent, CallText, CallTurn
from agent.office.scope import Scope
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import NewBooking, OfficeStore
from agent.ops.settings import Settings
from agent.tools.outbox.entry import NewNotice
from agent.tools.outbox.store import OutboxStore
from tests.office.archived_calls import a_turn
from tests.office.conftest import sqlite_url

LONDON = LONDON_PLUMBER.numbers[0]
NUMBER, OTHER = "+447700900123", "+447700900456"
NAME = "Wilhelmina Quillfeather"
# Without their first letters: an index writes down in what a word differs from the one before.
SECRETS = (NUMBER[3:], "0" + NUMBER[3:], "helmina", "llfeather", "ghtingale", "XQ9 9QX", "q99qx")
EVERYTHING = Scope.all()
SAID = f"{NAME}, Nightingale Lane"


def a_call(
    number: int, caller_id: str = NUMBER, *, days_ago: float = 1, said: str = SAID, name: str = ""
) -> CallRecord:
    started = datetime.now(UTC) - timedelta(days=days_ago, seconds=number)
    return CallRecord(
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        did=LONDON,
        caller_id=caller_id,
        caller_name=name,
        started=started.isoformat(),
        seconds=30.0,
        outcome="booked",
        unique_id="177.1",
        recording=f"00000000-0000-4000-8000-{number:012d}.wav",
        turns=[a_turn(f"It's {said}", "Thank you"), a_turn("bye", "bye")],
        marks=[Mark(5, "dtmf", "7")],
    )


def a_booking(call: CallRecord | None = None, caller_id: str = NUMBER, phone: str = "") -> NewBooking:
    return NewBooking(
        NAME, "XQ9 9QX", "1 Nightingale Lane", "a leak", did_number=LONDON, caller_id=caller_id, phone=phone,
        call_uuid=call.uuid if call else "",
    )  # fmt: skip


def lay_down(directory: Path, call: CallRecord) -> list[Path]:
    """The files of a call: document, report, recordings of any kind."""
    paths = [write_record(call, directory / "calls")]
    for where, ending in (("calls", "html"), ("calls", "png"), ("recordings", "wav"), ("recordings", "flac.part")):
        path = directory / where / f"{call.uuid}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<p>{call.caller_id} {NAME}")
        paths.append(path)
    started = datetime.fromisoformat(call.started).timestamp()
    for path in paths:
        os.utime(path, (started, started))
    return paths


def holding(directory: Path, secrets: Iterable[str] = SECRETS) -> dict[str, list[str]]:
    """Which files hold which of these."""
    found: dict[str, list[str]] = {}
    for path in directory.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in secrets:
            if secret.encode() in content:
                found.setdefault(str(path.relative_to(directory)), []).append(secret)
    return found


# -- after the retention period ----------------------------------------------------------------------------------------


async def test_what_is_old_goes_and_its_figures_stay(database: str, tmp_path: Path) -> None:
    old, new = a_call(1, days_ago=91), a_call(2, OTHER, days_ago=89)
    orphan = tmp_path / "recordings" / "00000000-0000-4000-8000-0000000000ff.wav"
    files = {1: lay_down(tmp_path, old), 2: lay_down(tmp_path, new)}
    orphan.write_bytes(b"a recording of an agent that crashed")
    os.utime(orphan, (1, 1))
    stranger = tmp_path / "calls" / "notes.txt"
    stranger.write_text("not of a call")
    os.utime(stranger, (1, 1))
    async with await OfficeStore.open(database) as store:
        await seed_examples(store)
        keeping = Housekeeping(
            store.archive, records=tmp_path / "calls", recordings=tmp_path / "recordings", retention_days=90
        )
        assert await keeping.look()
        assert keeping.counters == {"imported": 2, "broken": 0, "expired": 1}
        assert not any(path.exists() for path in files[1])
        assert all(path.exists() for path in files[2])
        assert not orphan.exists()
        assert stranger.exists()
        gone, kept = await store.archive.get(old.uuid, EVERYTHING), await store.archive.get(new.uuid, EVERYTHING)
        assert kept is not None
        assert kept.record.turns[0].caller == new.turns[0].caller
        assert gone is not None
        assert gone.erased_at is not None
        record = gone.record
        assert (record.caller_id, record.caller_name, record.unique_id, record.recording) == ("", "", "", "")
        assert (record.turns, record.marks) == ([], [])
        assert (record.outcome, record.seconds) == ("booked", 30.0)
        assert [row.erased for row in (await store.archive.find(CallQuery(), EVERYTHING)).rows] == [False, True]
        assert len((await store.archive.find(CallQuery(text="nightingale"), EVERYTHING)).rows) == 1
        today = datetime.now(UTC).date()
        total = (await store.figures.between(today - timedelta(days=95), today, EVERYTHING)).total
        assert (total.calls, total.turns, total.booked) == (2, 4, 2)
        # It does not come back: not from a document that a backup brought, nor does that stay.
        brought = write_record(old, tmp_path / "calls")
        assert await keeping.look()
        assert not brought.exists()
        again = await store.archive.get(old.uuid, EVERYTHING)
        assert again is not None
        assert again.record.turns == []
        assert (await store.figures.between(today - timedelta(days=95), today, EVERYTHING)).total.calls == 2
        async with store.transaction() as session:
            for table in (CallTurn, CallEvent, CallText):
                uuids = set(await session.scalars(select(table.call_uuid)))
                assert uuids == {new.uuid}
            assert await session.scalar(select(Call.noticed_at).where(Call.uuid == old.uuid)) is not None
            assert await session.scalar(select(Call.noticed_at).where(Call.uuid == new.uuid)) is None


async def test_a_retention_of_0_keeps_for_ever(tmp_path: Path) -> None:
    files = lay_down(tmp_path, a_call(1, days_ago=9000))
    async with await OfficeStore.open(sqlite_url(tmp_path)) as store:
        keeping = Housekeeping(
            store.archive, records=tmp_path / "calls", recordings=tmp_path / "recordings", retention_days=0
        )
        assert await keeping.look()
        assert keeping.counters["imported"] == 1
    assert all(path.exists() for path in files)


async def test_old_callers_and_bookings_lose_what_tells_of_people(database: str, tmp_path: Path) -> None:
    ages = {"done": 20, "new": 20, "confirmed": 40, "cancelled": 5}
    async with await OfficeStore.open(database) as store:
        await seed_examples(store)
        made = {state: (await store.create_booking(a_booking()))[0] for state in ages}
        now = datetime.now(UTC)
        async with store.transaction() as session:
            for state, days in ages.items():
                values = {"state": state, "created_at": now - timedelta(days=days), "note": f"rang {NAME}"}
                await session.execute(update(Booking).where(Booking.id == made[state].id).values(values))
        await store.did_context(LONDON, NUMBER, now=now - timedelta(days=11))
        await store.did_context(LONDON, OTHER, now=now - timedelta(days=9))
        await store.settled()
        await store.archive.expire(now - timedelta(days=10), tmp_path, tmp_path)
        async with store.transaction() as session:
            assert list(await session.scalars(select(Caller.number))) == [OTHER]
            found_by = set(await session.scalars(select(BookingText.booking_id)))
            assert found_by == {made["new"].id, made["cancelled"].id}
        after = {state: await store.find_booking(booking.id) for state, booking in made.items()}
    # One that is not done with keeps its name for 30 days at least: somebody is to go there.
    names = {state: booking.customer_name for state, booking in after.items() if booking is not None}
    assert names == {"done": "", "new": NAME, "confirmed": "", "cancelled": NAME}
    erased = after["done"]
    assert erased is not None
    assert (erased.phone, erased.caller_id, erased.postcode, erased.address, erased.note) == ("", "", "", "", "")
    assert erased.state == "done"


# -- on request --------------------------------------------------------------------------------------------------------


async def make_a_life(directory: Path) -> dict[str, list[Path]]:
    """What one caller and another leave behind, in every place."""
    first, withheld, theirs, offline = a_call(1, name=NAME), a_call(2, ""), a_call(3, OTHER, said="Bob"), a_call(4)
    files = {call.uuid: lay_down(directory, call) for call in (first, withheld, theirs, offline)}
    for path in files[theirs.uuid][1:]:
        path.write_text("of Bob")
    async with await OfficeStore.open(sqlite_url(directory)) as store:
        await seed_examples(store)
        for call in (first, withheld, theirs):
            await store.archive.keep(call)
        for number in range(50, 150):  # so that pages fill and split
            await store.archive.keep(a_call(number, OTHER, said="Bob"))
        await store.did_context(LONDON, NUMBER)
        await store.did_context(LONDON, OTHER)
        await store.settled()
        await store.create_booking(a_booking(first), idempotency_key="one")
        await store.create_booking(a_booking(withheld, "", "07700 900 123"), idempotency_key="two")
        await store.create_booking(
            replace(a_booking(theirs, OTHER), customer_name="Bob", postcode="B1 1AA", address="-")
        )
    with closing(OutboxStore(directory)) as outbox:
        now = time.time()
        for key, call, caller_id in (("a" * 32, first, NUMBER), ("b" * 32, theirs, OTHER)):
            outbox.keep(key, {"customer_name": NAME if call is first else "Bob", "caller_id": caller_id}, did=LONDON,
                        call_uuid=call.uuid, now=now)  # fmt: skip
        outbox.drop("b" * 32, "rang back", now=now)
        notices = [
            NewNotice("call:x", "webhook", {"customer_name": NAME}, call_uuid=withheld.uuid),
            NewNotice("booking:y", "mail", {"phone": "07700 900123", "customer_name": NAME}),
        ]
        outbox.put(notices, now=now)
    metadata = directory / "metadata"
    metadata.mkdir()
    for call_number, caller in ((8, NUMBER), (9, OTHER)):
        path = metadata / f"00000000-0000-4000-8000-{call_number:012d}.json"
        path.write_text(f'{{"caller_id": "{caller}"}}')
        os.utime(path, (1, 1))
    return files


def run_forget(directory: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch, given: str = "") -> tuple[int, str]:
    monkeypatch.setenv("DATA_DIR", str(directory))
    done = CliRunner().invoke(app, ["forget", *arguments], input=given)
    return done.exit_code, done.output


def test_after_it_not_a_byte_of_the_caller_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = asyncio.run(make_a_life(tmp_path))
    assert len(holding(tmp_path)) > 10
    keeper = sqlite3.connect(tmp_path / "office.sqlite3")  # an agent that runs meanwhile
    keeper.execute("SELECT count(*) FROM calls").fetchone()
    status, said = run_forget(tmp_path, "07700 900123", "--also-waiting", monkeypatch=monkeypatch)
    assert status == 0, said
    assert holding(tmp_path) == {}
    keeper.close()
    assert "calls: 2 erased" in said
    assert "bookings: 2" in said
    assert "outbox: 3 rows deleted" in said
    assert not any(secret in said for secret in SECRETS)
    # The other caller is as before.
    others = "00000000-0000-4000-8000-000000000003"
    assert all(path.exists() for path in files[others])
    assert not any(path.exists() for uuid, paths in files.items() if uuid != others for path in paths)
    assert (tmp_path / "metadata" / "00000000-0000-4000-8000-000000000009.json").exists()

    async def look() -> None:
        async with await OfficeStore.open(sqlite_url(tmp_path)) as store:
            stored = await store.archive.get(others, EVERYTHING)
            assert stored is not None
            assert stored.record.caller_id == OTHER
            assert len((await store.archive.find(CallQuery(text="bob", limit=200), EVERYTHING)).rows) == 101
            assert [booking.customer_name for booking in await store.list_bookings()].count("Bob") == 1
            today = datetime.now(UTC).date()
            total = (await store.figures.between(today - timedelta(days=3), today, EVERYTHING)).total
            assert total.calls == 103
            # Nor does a document that a backup brings come back.
            await store.archive.import_missing(tmp_path / "calls")
            assert (await store.archive.find(CallQuery(text="quillfeather"), EVERYTHING)).rows == ()

    asyncio.run(look())
    status, said = run_forget(tmp_path, "-", monkeypatch=monkeypatch, given=f"{NUMBER}\n")
    assert (status, "calls: 0 erased, with 0 files" in said) == (0, True)


def test_a_dry_run_says_the_same_and_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(make_a_life(tmp_path))
    before = holding(tmp_path)
    status, dry = run_forget(tmp_path, NUMBER, "--dry-run", "--also-waiting", monkeypatch=monkeypatch)
    assert status == 0
    assert holding(tmp_path).keys() >= before.keys() - {"office.sqlite3-wal", "outbox.sqlite3-wal"}
    _, said = run_forget(tmp_path, NUMBER, "--also-waiting", monkeypatch=monkeypatch)
    for line in said.splitlines()[:4]:
        assert line in dry.replace("would be ", "")


def test_what_waits_is_left_unless_it_is_given_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(make_a_life(tmp_path))
    status, said = run_forget(tmp_path, NUMBER, monkeypatch=monkeypatch)
    assert status == 1
    assert "outbox: 0 rows deleted, 3 left" in said
    assert "--also-waiting" in said
    assert holding(tmp_path).keys() == {"outbox.sqlite3"}
    fresh = tmp_path / "metadata" / "00000000-0000-4000-8000-000000000010.json"
    fresh.write_text(f'{{"caller_id": "{NUMBER}"}}')
    status, said = run_forget(tmp_path, NUMBER, "--also-waiting", monkeypatch=monkeypatch)
    assert status == 1
    assert "just beginning" in said
    assert fresh.exists()


@pytest.mark.parametrize("number", ["", "anonymous", "+", "12", LONDON, "020 7946 0123"])
def test_a_number_that_would_forget_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    asyncio.run(make_a_life(tmp_path))
    before = holding(tmp_path)
    status, _ = run_forget(tmp_path, number, monkeypatch=monkeypatch)
    assert status == 2
    assert holding(tmp_path) == before


def test_a_directory_that_is_none_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = run_forget(tmp_path / "typo", NUMBER, monkeypatch=monkeypatch)
    assert status == 2
    assert "DATA_DIR" in said
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("there_at_first", [True, False])
async def test_after_a_call_is_erased_by_hand_its_bytes_are_overwritten_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_at_first: bool
) -> None:
    monkeypatch.setattr(housekeeping, "OVERWRITE_SOON_S", 0.01)
    mine = a_call(1, name=NAME)
    async with await OfficeStore.open(sqlite_url(tmp_path)) as store:
        await seed_examples(store)
        for call in (mine, *(a_call(number, OTHER, said="Bob") for number in range(50, 150))):
            await store.archive.keep(call)
        lay_down(tmp_path, mine)
        directories = (tmp_path / "calls", tmp_path / "recordings")
        keeping = Housekeeping(store.archive, records=directories[0], recordings=directories[1], retention_days=0)
        overwrite, tries = store.archive.overwrite, 0

        async def overwrite_if_there() -> None:
            nonlocal tries
            tries += 1
            if tries == 1 and not there_at_first:
                raise OSError("no space left")
            await overwrite()

        monkeypatch.setattr(store.archive, "overwrite", overwrite_if_there)
        task = asyncio.create_task(keeping.run())
        assert await store.archive.erase(mine.uuid, EVERYTHING, directories)
        assert holding(tmp_path), "it is in free pages and in the log"
        async with asyncio.timeout(30):
            while holding(tmp_path):  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert tries == (1 if there_at_first else 2), "and not again"
    assert keeping.counters["troubles"] == (not there_at_first)


async def test_forgetting_on_either_database(database: str) -> None:
    async with await OfficeStore.open(database) as store:
        await seed_examples(store)
        mine, withheld, theirs = a_call(1), a_call(2, ""), a_call(3, OTHER)
        for call in (mine, withheld, theirs):
            await store.archive.keep(call)
        await store.create_booking(a_booking(withheld, "", NUMBER))
        await store.did_context(LONDON, NUMBER)
        await store.settled()
        looked = await store.archive.forget("07700 900123", dry_run=True)
        assert (looked.calls, looked.callers, looked.bookings) == (2, 1, 1)
        assert (await store.archive.forget(NUMBER)) == looked
        await store.archive.overwrite()
        assert (await store.archive.forget(NUMBER)).calls == 0
        left = (await store.archive.find(CallQuery(text="nightingale"), EVERYTHING)).rows
        assert [row.uuid for row in left] == [theirs.uuid]
        (booking,) = await store.list_bookings()
        assert (booking.customer_name, booking.phone, booking.state) == ("", "", "new")
        with pytest.raises(ValueError, match="own"):
            await store.archive.forget(LONDON)


def test_ninety_days_unless_set_otherwise() -> None:
    assert Settings.model_fields["retention_days"].default == 90
