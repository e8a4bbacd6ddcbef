"""What of the office's database is told, once: bookings, calls, missed transfers; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from agent.call.record import CallRecord
from agent.office.models import Booking, Call, CallEvent, Company
from agent.office.notices import Notices
from agent.office.scope import Scope
from agent.office.store import NewBooking, NewCompany, OfficeStore
from agent.tools.outbox import Entry, Kind, NewNotice, Outbox, OutboxError, Pace, Target, Verdict
from tests.agent.hearing import until

DID = "+442079460123"
UUID = "6f9b2a52-8a35-4a8e-9c5b-0d7c8a3b1e11"


@dataclass
class Office:
    """A database with one company, and an outbox that hands everything to `told`."""

    store: OfficeStore
    outbox: Outbox
    told: dict[str, Mapping[str, Any]]
    company_id: int

    async def set(self, **values: str) -> None:
        async with self.store.sessions.begin() as session:
            await session.execute(update(Company).values(**values))

    async def book(self, key: str = "k", did: str = DID) -> str:
        new = NewBooking("Jo Bloggs", "M14 6BT", "12 Acacia Avenue", "a leak", did_number=did, caller_id="07700900123")
        return (await self.store.create_booking(new, idempotency_key=key))[0].id

    async def call(self, uuid: str = UUID, *, began: timedelta = timedelta(minutes=-2), verdict: str = "") -> None:
        started = (datetime.now(UTC) + began).isoformat(timespec="milliseconds")
        record = CallRecord(uuid, DID, "+447700900123", "Jo", started=started, seconds=60.0, outcome="no_booking")
        record.verdict = verdict
        assert await self.store.archive.keep(record)

    def notices(self, **options: Any) -> Notices:
        return Notices(self.store.sessions, self.store.archive, self.outbox, **options)

    async def unnoticed(self) -> int:
        async with self.store.sessions() as session:
            found = [
                (await session.scalars(select(table).where(table.noticed_at.is_(None)))).all()
                for table in (Booking, Call)
            ]
        return sum(map(len, found))


@asynccontextmanager
async def an_office(url: str, folder: Path) -> AsyncIterator[Office]:
    told: dict[str, Mapping[str, Any]] = {}

    async def take(entry: Entry) -> Verdict:
        assert entry.key not in told, "told twice"
        told[entry.key] = entry.body
        return Verdict("accepted")

    targets: dict[Kind, Target] = {kind: Target(kind, "", honours_keys=True, send=take) for kind in ("webhook", "mail")}
    async with (
        await OfficeStore.open(url) as store,
        Outbox(folder / "outbox", targets, pace=Pace(poll_s=0.05)) as outbox,
    ):
        company_id = await store.add_company(NewCompany("Pipes", "plumbing", "plumber", "£65", (DID,)))
        yield Office(store, outbox, told, company_id)


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(database, tmp_path) as made:
        yield made


async def test_a_booking_is_told_by_each_way_that_is_wanted(office: Office) -> None:
    await office.set(notify_email="o@example.org", webhook_url="https://hook.example")
    booking_id = await office.book()
    notices = office.notices(to_everybody=True, mail=True)
    assert not await notices.sweep()
    await until(lambda: len(office.told) == 3)
    assert set(office.told) == {f"booking:{booking_id}:{way}" for way in ("hook", "global", "mail")}
    hook, everybody = office.told[f"booking:{booking_id}:hook"], office.told[f"booking:{booking_id}:global"]
    assert hook["id"] == everybody["id"] == f"booking:{booking_id}"
    assert (hook["company_id"], everybody["company_id"]) == (office.company_id, None)
    assert hook["event"]["type"] == "booking.created"
    assert hook["event"]["data"]["customer_name"] == "Jo Bloggs"
    assert datetime.fromisoformat(hook["event"]["timestamp"]).tzinfo is not None
    mail = office.told[f"booking:{booking_id}:mail"]
    assert (mail["about"], mail["to"], mail["company_id"]) == ("booking", "company", office.company_id)
    assert await office.unnoticed() == 0
    await notices.sweep()
    await office.notices(to_everybody=True, mail=True).sweep()
    assert notices.counters == {"bookings": 1}


async def test_nobody_to_tell_costs_nothing_and_is_over(office: Office) -> None:
    await office.book()
    await office.book("other", did="+441632960000")  # a number of no company
    await office.call()
    notices = office.notices(mail=True)
    await notices.sweep()
    assert await office.unnoticed() == 0
    assert notices.counters == {"unheard": 3}
    await office.set(notify_email="o@example.org", webhook_url="https://hook.example")
    await notices.sweep()
    assert office.outbox.told_of == {}


async def test_a_call_is_told_with_its_record(office: Office) -> None:
    await office.set(webhook_url="https://hook.example", notify_email="o@example.org")
    await office.call()
    await office.notices(mail=True).sweep()
    await until(lambda: office.told)
    assert list(office.told) == [f"call:{UUID}:hook"], "no mail for each call"
    event = office.told[f"call:{UUID}:hook"]["event"]
    stored = await office.store.archive.get(UUID, Scope.all())
    assert stored is not None
    assert event["type"] == "call.ended"
    assert event["data"] == stored.record.as_dict()
    assert event["timestamp"] == (stored.started + timedelta(seconds=60)).isoformat(timespec="milliseconds")


async def test_what_is_old_is_news_to_nobody(office: Office) -> None:
    """Records that were brought in from files, say."""
    await office.set(webhook_url="https://hook.example")
    await office.call(began=timedelta(days=-4))
    await office.book()
    async with office.store.sessions.begin() as session:
        await session.execute(update(Booking).values(created_at=datetime.now(UTC) - timedelta(days=4)))
    notices = office.notices()
    await notices.sweep()
    assert notices.counters == {"old": 2}
    assert office.outbox.told_of == {}
    assert await office.unnoticed() == 0


async def test_many_are_told_batch_by_batch(office: Office) -> None:
    await office.set(webhook_url="https://hook.example")
    for number in range(60):
        await office.book(f"k{number}")
    for number in range(25):
        await office.call(f"{UUID[:-2]}{number:02}")
    async with office.notices(poll_s=60.0):
        await until(lambda: len(office.told) == 85, 20.0)
    assert await office.unnoticed() == 0


async def test_an_outbox_that_is_full_leaves_it_for_later(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.set(webhook_url="https://hook.example")
    put = office.outbox.put

    async def full(notices: list[NewNotice]) -> int:
        raise OutboxError("full")

    monkeypatch.setattr(office.outbox, "put", full)
    async with office.notices(poll_s=0.02) as notices:
        await office.book()
        await until(lambda: notices.counters["failed"] > 2)
        assert await office.unnoticed() == 1
        monkeypatch.setattr(office.outbox, "put", put)
        await until(lambda: office.told)
    assert await office.unnoticed() == 0


async def test_it_looks_when_it_is_woken(office: Office) -> None:
    await office.set(webhook_url="https://hook.example")
    async with office.notices(poll_s=60.0) as notices:
        await asyncio.sleep(0.1)
        await office.book()
        notices.wake()
        await until(lambda: office.told)


async def test_two_that_look_at_once_tell_once(office: Office, tmp_path: Path) -> None:
    """Each with an outbox of its own, as on two hosts."""
    await office.set(webhook_url="https://hook.example")
    told: list[str] = []

    async def take(entry: Entry) -> Verdict:
        told.append(entry.key)
        return Verdict("accepted")

    targets: dict[Kind, Target] = {"webhook": Target("webhook", "", honours_keys=True, send=take)}
    async with Outbox(tmp_path / "other", targets, pace=Pace(poll_s=0.05)) as other:
        mine = [office.notices(poll_s=0.01), Notices(office.store.sessions, office.store.archive, other, poll_s=0.01)]
        async with mine[0], mine[1]:
            for number in range(40):
                await office.book(f"k{number}")
                if number % 4 == 0:
                    await office.call(f"{UUID[:-2]}{number:02}")
            await until(lambda: len(told) + len(office.told) == 50, 20.0)
    assert not set(told) & set(office.told)


# ---- missed transfers -----------------------------------------------------------------------------------------------


async def events(office: Office) -> list[tuple[str, str]]:
    async with office.store.sessions() as session:
        return [(event.what, event.detail) for event in await session.scalars(select(CallEvent))]


async def test_a_missed_transfer_is_kept_with_its_call_and_told_once(office: Office) -> None:
    await office.set(webhook_url="https://hook.example", notify_email="o@example.org")
    await office.call(verdict="transfer 2001")
    async with office.notices(to_everybody=True, mail=True) as notices:
        notices.transfer_missed(UUID, "NOANSWER")
        await until(lambda: len(office.told) == 5)
        notices.transfer_missed(UUID, "NOANSWER")
        await asyncio.sleep(0.2)
        assert notices.counters == {"calls": 1, "missed": 1}
    assert {key for key in office.told if key.startswith("missed")} == {
        f"missed:{UUID}:{way}" for way in ("hook", "global", "mail")
    }
    event = office.told[f"missed:{UUID}:hook"]["event"]
    assert event["type"] == "transfer.missed"
    assert (event["data"]["target"], event["data"]["status"]) == ("2001", "NOANSWER")
    assert office.told[f"missed:{UUID}:mail"]["call"]["caller_id"] == "+447700900123"
    assert await events(office) == [("transfer_missed", "NOANSWER")]
    stored = await office.store.archive.get(UUID, Scope.all())
    assert stored is not None
    (mark,) = stored.record.marks
    assert (mark.what, mark.detail) == ("transfer_missed", "NOANSWER")
    assert mark.at_ms == 60_000


async def test_a_missed_transfer_waits_for_its_call(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.office.notices.MISSED_TRY_S", 0.05)
    await office.set(notify_email="o@example.org")
    async with office.notices(mail=True, poll_s=60.0) as notices:
        notices.transfer_missed(UUID, "BUSY")
        await asyncio.sleep(0.2)
        await office.call(verdict="transfer 2001")
        await until(lambda: f"missed:{UUID}:mail" in office.told)


async def test_what_was_no_transfer_is_none_that_was_missed(office: Office) -> None:
    """The dialplan's fallback may ring people, too."""
    await office.set(notify_email="o@example.org")
    await office.call(verdict="hangup")
    async with office.notices(mail=True) as notices:
        notices.transfer_missed(UUID, "BUSY")
        await asyncio.sleep(0.2)
    assert await events(office) == []
    assert office.told == {}
