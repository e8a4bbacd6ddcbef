"""The back office's database: migrations, companies, repeat callers, bookings made once."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from agent.call.company import CompanyContext, parse_context
from agent.office.database import (
    BUSY_SECONDS,
    DatabaseError,
    create_engine,
    database_url,
    is_in_models,
    migration_config,
    upgrade_to_head,
)
from agent.office.models import Base, Caller, Company
from agent.office.seed import LONDON_PLUMBER, MANCHESTER_ELECTRICIAN, seed_examples
from agent.office.store import IdempotencyConflict, NewBooking, NewCompany, OfficeStore
from agent.office.visitors import Visitors
from tests.office.conftest import sqlite_url
from tests.office.postgres_server import PostgresServer

BOOKING = NewBooking(
    customer_name="Jo Bloggs",
    postcode="M14 6BT",
    address="12 Acacia Avenue",
    problem_description="a leaking tap",
    did_number="020 7946 0123",
    caller_id="07700 900123",
    call_uuid="c0ffee",
)


@pytest.fixture
def url(database: str) -> str:
    return database


async def test_the_migrations_make_the_schema_of_the_models(bare_database: str) -> None:
    await upgrade_to_head(bare_database)
    await upgrade_to_head(bare_database)
    engine = create_engine(bare_database)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_in_models})
        return list(compare_metadata(context, Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_two_processes_may_migrate_at_once(bare_database: str) -> None:
    await asyncio.gather(*(upgrade_to_head(bare_database) for _ in range(4)))


async def test_the_migrations_lead_up_and_down_and_up_again(bare_database: str) -> None:
    def tables(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    def migrate(connection: Connection, revision: str) -> None:
        go = command.downgrade if revision == "base" else command.upgrade
        go(migration_config(connection), revision)

    engine = create_engine(bare_database)
    async with engine.begin() as connection:
        before = await connection.run_sync(tables)
        for revision in ("head", "base", "head"):
            await connection.run_sync(migrate, revision)
            after = await connection.run_sync(tables)
            assert ("calls" in after) == (revision == "head")
            if revision == "base":
                assert after - before <= {"alembic_version"}
    await engine.dispose()


async def test_the_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with await OfficeStore.open(sqlite_url(tmp_path)) as store:
        await seed_examples(store)
        for path in list(tmp_path.iterdir()):  # noqa: ASYNC240
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_the_schema_compiles_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in Base.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")


def test_a_url_without_a_driver_gets_an_asyncio_one() -> None:
    assert database_url("sqlite:///x.db").drivername == "sqlite+aiosqlite"


@pytest.mark.parametrize("url", ["nonsense", "mysql+nonesuch://host/db"])
def test_an_unusable_url_is_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(DatabaseError, match="DATABASE_URL"):
        database_url(url)


async def test_a_database_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(
        DatabaseError, match=r"//agent:\*\*\*@127\.0\.0\.1:1/office cannot be used: .*DATABASE_URL"
    ) as told:
        await OfficeStore.open("postgresql://agent:hush@127.0.0.1:1/office")
    assert "hush" not in str(told.value)


async def test_a_database_that_the_server_does_not_have_is_named(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    postgres_server.drop_database(url)
    with pytest.raises(DatabaseError, match="does not exist"):
        await OfficeStore.open(url)


async def test_a_database_of_a_newer_version_is_named(url: str) -> None:
    async with await OfficeStore.open(url) as store, store._engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="is of a newer version"):
        await OfficeStore.open(url)


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "office.sqlite3").write_text("no database " * 1000)
    with pytest.raises(DatabaseError, match=r"office\.sqlite3 cannot be used: file is not a database"):
        await OfficeStore.open(sqlite_url(tmp_path))


@pytest.mark.parametrize("did", ["+442079460123", "02079460123", "020 7946 0123", "442079460123", "00442079460123"])
async def test_a_company_is_found_by_every_form_of_its_number(store: OfficeStore, did: str) -> None:
    context = await store.did_context(did, "")
    assert context["company_name"] == LONDON_PLUMBER.name
    assert context["trade_label"] == "plumber"
    assert context["callout_fee"] == "£65"
    assert context["transfer_targets"] == {"office": "2001"}


async def test_the_agent_is_told_what_a_company_adds(store: OfficeStore) -> None:
    hours = {"mon": [["09:00", "17:30"]]}
    added = replace(
        LONDON_PLUMBER, instructions="No boilers.\nNo gas.", opening_hours=hours, recording_notice="We record calls."
    )
    company_id = await store.add_company(added)
    context = await store.did_context(LONDON_PLUMBER.numbers[0], "")
    assert (context["company_id"], context["opening_hours"]) == (company_id, hours)
    assert (context["instructions"], context["recording_notice"]) == ("No boilers.\nNo gas.", "We record calls.")
    taken = parse_context(context, CompanyContext())
    assert (taken.bad_fields, taken.company_id) == ((), company_id)
    nobody = await store.did_context("+442079460999", "")
    assert nobody.keys() == context.keys()
    assert (nobody["company_id"], nobody["opening_hours"], nobody["instructions"]) == (None, {}, "")


async def test_an_unknown_number_gets_the_defaults(store: OfficeStore) -> None:
    context = await store.did_context("+442079460999", "+447700900123")
    assert (context["company_name"], context["trade_type"]) == ("Home Services", "general")
    assert context["caller_id"] == "+447700900123"


async def test_an_extension_may_be_a_companys_number(store: OfficeStore) -> None:
    await store.add_company(NewCompany("Inside", "general", "handyman", "£1", numbers=("1001",)))
    assert (await store.did_context("1001", ""))["company_name"] == "Inside"


async def test_a_caller_is_a_repeat_caller_from_the_second_call_on(store: OfficeStore) -> None:
    start = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    did, caller = "+442079460123", "07700 900123"
    first = await store.did_context(did, caller, now=start)
    await store.settled()
    asked_again = await store.did_context(did, caller, now=start + timedelta(seconds=3))
    second = await store.did_context(did, "+447700900123", now=start + timedelta(days=1))
    elsewhere = await store.did_context("+441614960456", caller, now=start + timedelta(days=2))
    assert [c["repeat_caller"] for c in (first, asked_again, second, elsewhere)] == [False, False, True, False]
    assert first["caller_id"] == "+447700900123"


@pytest.mark.parametrize("withheld", ["", "anonymous", "Unknown", " RESTRICTED "])
async def test_a_withheld_number_is_nobody(store: OfficeStore, withheld: str) -> None:
    start = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    for day in range(2):
        context = await store.did_context("+442079460123", withheld, now=start + timedelta(days=day))
        assert context["caller_id"] == ""
        assert context["repeat_caller"] is False


async def test_a_booking_is_kept_and_found(store: OfficeStore) -> None:
    before = datetime.now(UTC)
    booking, is_new = await store.create_booking(BOOKING)
    assert is_new
    found = await store.find_booking(booking.id.lower())
    assert found is not None
    assert found.as_dict() == booking.as_dict()
    assert found.caller_id == "+447700900123"
    assert before - timedelta(seconds=1) <= found.created_at <= datetime.now(UTC)
    assert found.created_at.utcoffset() == timedelta(0)
    assert found.company_id is not None
    assert await store.find_booking("BK-NONESUCH") is None


async def test_without_a_key_each_request_is_a_booking(store: OfficeStore) -> None:
    ids = {(await store.create_booking(BOOKING))[0].id for _ in range(2)}
    assert len(ids) == 2
    assert {b.id for b in await store.list_bookings(call_uuid="c0ffee")} == ids
    assert await store.list_bookings(call_uuid="other") == []
    assert len(await store.list_bookings(limit=1)) == 1


async def test_a_key_books_once_however_often_and_from_wherever(url: str, store: OfficeStore) -> None:
    async with await OfficeStore.open(url) as other:
        made = await asyncio.gather(*(s.create_booking(BOOKING, idempotency_key="k") for s in (store, other) * 5))
    assert len({booking.id for booking, _ in made}) == 1
    assert sum(is_new for _, is_new in made) == 1
    assert len(await store.list_bookings()) == 1


async def test_what_was_answered_survives_a_power_cut(tmp_path: Path) -> None:
    async with await OfficeStore.open(sqlite_url(tmp_path)) as store, store._engine.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2


@dataclass(frozen=True)
class NewerBooking(NewBooking):
    van: str = ""


def test_a_request_of_before_an_upgrade_is_still_the_same() -> None:
    """A field that is new and empty makes no other request of it."""
    newer = NewerBooking(**asdict(BOOKING))
    assert newer.fingerprint() == BOOKING.fingerprint()
    assert replace(newer, van="blue").fingerprint() != BOOKING.fingerprint()


async def test_a_key_with_other_content_is_a_conflict(store: OfficeStore) -> None:
    await store.create_booking(BOOKING, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        await store.create_booking(replace(BOOKING, postcode="M1 1AA"), idempotency_key="k")
    assert len(await store.list_bookings()) == 1


async def test_seeding_again_changes_nothing(store: OfficeStore) -> None:
    before = [(c.id, c.name, numbers) for c, numbers in await store.list_companies()]
    await seed_examples(store)
    assert [(c.id, c.name, numbers) for c, numbers in await store.list_companies()] == before
    assert [numbers for _, _, numbers in before] == [MANCHESTER_ELECTRICIAN.numbers, LONDON_PLUMBER.numbers]


async def test_a_number_moves_only_when_its_owner_lets_go(store: OfficeStore) -> None:
    rival = NewCompany("Rival", "plumbing", "plumber", "£1", numbers=LONDON_PLUMBER.numbers)
    with pytest.raises(ValueError, match="another company"):
        await store.add_company(rival)
    await store.add_company(replace(LONDON_PLUMBER, numbers=()))
    await store.add_company(rival)
    assert (await store.did_context(LONDON_PLUMBER.numbers[0], ""))["company_name"] == "Rival"


async def test_whose_call_it_is_waits_for_no_writer(store: OfficeStore) -> None:
    """A phone rings: whatever is being written, and however long that takes, the answer comes first."""
    did, caller = "+442079460123", "07700 900123"
    async with store.transaction() as session:
        await session.execute(update(Company).values(area="Kent"))
        async with asyncio.timeout(2):
            answers = await asyncio.gather(*(store.did_context(did, caller) for _ in range(30)))
    assert {answer["area"] for answer in answers} == {"London"}
    await store.settled()
    later = datetime.now(UTC) + timedelta(days=1)
    assert (await store.did_context(did, caller, now=later))["repeat_caller"] is True


async def test_writers_wait_in_line_and_none_gives_up(database: str) -> None:
    """A writer that takes its time, twice as long as SQLite itself lets the others wait, costs them only that time."""
    async with await OfficeStore.open(database) as store:
        await seed_examples(store)

        async def book(number: int) -> None:
            await store.create_booking(replace(BOOKING, customer_name=f"Jo {number}"), idempotency_key=str(number))

        async with store.transaction() as session:
            await session.execute(update(Company).values(area="Kent"))
            waiting = [asyncio.create_task(book(number)) for number in range(20)]
            await asyncio.sleep(BUSY_SECONDS + 1)
        await asyncio.gather(*waiting)
        assert len(await store.list_bookings()) == 20


async def test_callers_of_a_company_that_is_deleted_meanwhile_keep_nobody_else_out(store: OfficeStore) -> None:
    companies = await store.list_companies()
    visitors = Visitors(store._engine)
    moment = datetime.now(UTC)
    gone, there = 10_000, companies[0][0].id
    visitors.seen(gone, "+447700900001", moment)
    visitors.seen(there, "+447700900002", moment)
    await visitors.settled()
    async with store.transaction() as session:
        assert (await session.scalars(select(Caller.number))).all() == ["+447700900002"]
