"""The back office: a database that is new, old, newer or away; who may log in; what waits. Nothing is written."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine as sync_engine
from sqlalchemy import text

from agent.check import office
from agent.check.subject import Subject
from agent.office.seed import seed_examples
from agent.office.store import NewCompany, OfficeStore
from agent.tools.outbox.store import OutboxStore
from tests.check.conftest import SubjectMaker, look


def files(subject: Subject) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in subject.settings.data_dir.iterdir()}


async def test_a_database_that_is_not_there_yet_is_not_made(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    found = await look(office.database, subject)
    assert (found["database"].level, found["companies"].level) == ("ok", "warning")
    assert files(subject) == {}


async def test_a_database_with_companies_and_an_admin(a_subject: SubjectMaker) -> None:
    subject = a_subject(console=True)
    async with await OfficeStore.open(subject.settings.database) as store:
        found = await look(office.database, subject)
        assert (found["companies"].level, found["console-users"].level) == ("warning", "warning")
        await seed_examples(store)
        await store.users.add("ann", "a long enough password", "viewer", [])
        assert (await look(office.database, subject))["console-users"].level == "warning", "a viewer can add nobody"
        await store.users.add("bob", "a long enough password", "admin", [])
        before = files(subject)
        found = await look(office.database, subject)
        assert (found["companies"].level, found["console-users"].level) == ("ok", "ok")
        assert {name: at for name, at in files(subject).items() if not name.endswith(("-wal", "-shm"))} == {
            name: at for name, at in before.items() if not name.endswith(("-wal", "-shm"))
        }
        await store.add_company(
            NewCompany(name="Idle", trade_type="x", trade_label="x", callout_fee="", numbers=(), transfer_targets={})
        )
        found = await look(office.database, subject)
        assert found["company-numbers"].text.startswith("1 companies")
        assert found["transfer-targets"].level == "warning"


@pytest.mark.parametrize(
    ("revision", "level", "told"), [("0004", "ok", "up to date"), ("9999", "error", "newer version")]
)
async def test_a_schema_of_another_version(a_subject: SubjectMaker, revision: str, level: str, told: str) -> None:
    subject = a_subject()
    async with await OfficeStore.open(subject.settings.database):
        pass
    engine = sync_engine(subject.settings.database.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :one"), {"one": revision})
    engine.dispose()
    found = await look(office.database, subject)
    assert (found["database"].level, told in found["database"].text) == (level, True), found
    assert "companies" not in found, "what another version keeps is not looked at"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root may")
async def test_root_leaves_no_file_that_the_agent_cannot_open(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    async with await OfficeStore.open(subject.settings.database):
        pass
    for path in subject.settings.data_dir.iterdir():
        os.chown(path, 12345, 12345)
    assert (await look(office.database, subject))["database"].level == "ok"
    assert {path.stat().st_uid for path in subject.settings.data_dir.iterdir()} == {12345}


async def test_a_database_that_is_none(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    (subject.settings.data_dir / "office.sqlite3").write_bytes(
        b"no database at all, and long enough to be looked at" * 9
    )
    assert (await look(office.database, subject))["database"].level == "error"
    for url in ("mysql://user:hidden-password@db/office", "no url", "postgresql://user:hidden-password@127.0.0.1:9/x"):
        found = (await look(office.database, a_subject(database_url=url)))["database"]
        assert found.level == "error"
        assert "hidden-password" not in str(found)


async def test_bookings_that_wait_for_somebody(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    assert (await look(office.outbox, subject))["outbox"].level == "ok"
    store = OutboxStore(subject.settings.data_dir)
    store.keep("k1", {"customer_name": "Ann"}, did="1", call_uuid="", now=time.time())
    found = await look(office.outbox, subject)
    assert (found["outbox"].level, found["outbox"].text.split()[0]) == ("ok", "1")
    store.keep("k2", {"customer_name": "Bob"}, did="1", call_uuid="", now=time.time() - 3600)
    found = await look(office.outbox, subject)
    assert found["outbox-waiting"].text.startswith("2 bookings are not accepted yet, the oldest for 60 minutes")
    store.close()
    path = subject.settings.data_dir / "outbox.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE rows SET state = 'uncertain' WHERE key = 'k1'")
    database.close()
    found = await look(office.outbox, subject)
    assert (found["outbox"].level, "wait for a person" in found["outbox"].text) == ("warning", True)
    assert "Ann" not in str(found)
    path.write_bytes(b"no database")
    assert (await look(office.outbox, subject))["outbox"].level == "error"


async def test_retention(a_subject: SubjectMaker, tmp_path: Path) -> None:
    assert (await look(office.retention, a_subject()))["retention"].level == "ok"
    assert (await look(office.retention, a_subject(retention_days=0)))["retention"].level == "warning"
