"""A call whose agent is killed in the middle of it is known of afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from agent.call.record import CallRecord, read_record, write_record
from agent.office.call_query import CallQuery
from agent.office.forget import forget_caller
from agent.office.scope import Scope
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import OfficeStore
from agent.ops.begun import BEGUN, MARK, BegunCall, adopt_begun
from agent.ops.settings import load_settings
from tests.agent.conftest import CALLER, LONDON, RigMaker

DIES = """
import os, signal, sys
from pathlib import Path
from agent.call.record import CallRecord
from agent.office.scope import Scope
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import OfficeStore
from agent.ops.begun import BegunCall
note = BegunCall(CallRecord(sys.argv[1], did=sys.argv[2], caller_id=sys.argv[3]), Path(sys.argv[4]))
note.write()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_call(records: Path) -> str:
    """A call of `CALLER` that a process had when it was killed."""
    uuid = str(uuid4())
    done = subprocess.run([sys.executable, "-c", DIES, uuid, LONDON, CALLER, str(records)], check=False)
    assert done.returncode == -signal.SIGKILL
    return uuid


def test_a_call_that_was_cut_off_becomes_a_record_with_its_recording(tmp_path: Path) -> None:
    records, recordings = tmp_path / "calls", tmp_path / "recordings"
    uuid = killed_call(records)
    note = records / f"{uuid}{BEGUN}"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    recordings.mkdir()
    sound = recordings / f"{uuid}.wav"
    sound.write_bytes(b"as far as it got")
    os.utime(sound, (time.time() + 60, time.time() + 60))
    assert len(adopt_begun(records, recordings)) == 1
    record = read_record(records / f"{uuid}.json")
    assert (record.did, record.caller_id, record.outcome, record.ended_by) == (LONDON, CALLER, "failed", "stopped")
    assert record.recording == str(sound)
    assert 50 < record.seconds < 70
    assert [mark.what for mark in record.marks] == [MARK]
    assert not note.exists()
    assert len(adopt_begun(records, recordings)) == 0


def test_a_call_that_another_agent_has_is_left_alone(tmp_path: Path) -> None:
    record = CallRecord(str(uuid4()))
    begun = BegunCall(record, tmp_path)
    begun.write()
    assert len(adopt_begun(tmp_path, tmp_path)) == 0
    write_record(record, tmp_path)
    begun.over()
    assert [path.name for path in tmp_path.iterdir()] == [f"{record.uuid}.json"]


def test_a_note_stays_where_no_record_could_be_written(tmp_path: Path) -> None:
    begun = BegunCall(CallRecord(str(uuid4())), tmp_path)
    begun.write()
    begun.over()
    assert len(adopt_begun(tmp_path, tmp_path)) == 1


def test_a_record_that_was_written_is_not_written_anew(tmp_path: Path) -> None:
    uuid = killed_call(tmp_path)
    write_record(CallRecord(uuid, outcome="booked"), tmp_path)
    assert len(adopt_begun(tmp_path, tmp_path)) == 0
    assert read_record(tmp_path / f"{uuid}.json").outcome == "booked"
    assert not (tmp_path / f"{uuid}{BEGUN}").exists()


def test_what_is_no_note_is_named_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"{uuid4()}{BEGUN}").write_text("half of")
    assert len(adopt_begun(tmp_path, tmp_path)) == 0
    assert "is left" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_caller_is_forgotten_whose_call_was_cut_off(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    uuid = killed_call(settings.records)
    settings.recordings.mkdir(parents=True)
    sound = settings.recordings / f"{uuid}.wav"
    sound.write_bytes(b"as far as it got")
    assert await forget_caller(settings, CALLER, dry_run=False, also_waiting=False, say=lambda _: None)
    assert not sound.exists()
    assert not list(settings.records.iterdir())


async def test_a_call_has_a_note_while_it_runs_and_an_agent_adopts_what_it_finds(
    a_rig: RigMaker, tmp_path: Path
) -> None:
    records = tmp_path / "calls"
    uuid = killed_call(records)
    async with a_rig() as rig:
        assert [path.name for path in records.iterdir()] == [f"{uuid}.json"]
        plan = rig.plan()
        ringing = asyncio.create_task(rig.dial("say: Goodbye", plan))
        await rig.until((records / f"{plan.call}{BEGUN}").exists)
        await ringing
        await rig.record_of(plan.call)
        await rig.until(lambda: not list(records.glob(f"*{BEGUN}")))
        assert {path.stem for path in records.iterdir()} == {uuid, str(plan.call)}
        outcomes: set[str] = set()
        async with asyncio.timeout(5):
            while len(outcomes) < 2:
                outcomes = {row.outcome for row in (await rig.store.archive.find(CallQuery(), Scope.all())).rows}
                await asyncio.sleep(0.05)
        assert outcomes == {"failed", "no_booking"}


async def test_a_call_that_was_cut_off_is_of_the_company_whose_number_was_dialled(tmp_path: Path) -> None:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        await seed_examples(store)
        cut_off = CallRecord(str(uuid4()), did=LONDON, outcome="failed")
        await store.archive.keep(cut_off)
        found = await store.archive.get(cut_off.uuid, Scope.all())
    assert found is not None
    assert found.record.company == LONDON_PLUMBER.name
