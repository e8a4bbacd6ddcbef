"""Recordings in S3: they move when their call is over, are heard from there, and go when their call is erased."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agent.call.record import CallRecord, write_record
from agent.office import recordings as recordings_module
from agent.office import uploads as uploads_module
from agent.office.forget import forget_caller
from agent.office.recordings import Recordings
from agent.office.running import BackOffice
from agent.office.scope import Scope
from agent.office.uploads import Uploads
from agent.ops.bucket import Bucket, BucketError
from agent.ops.settings import Settings, load_settings
from tests.office.archived_calls import a_call
from tests.office.s3_storage import make_bucket, s3_settings, storage

SOUND = b"RIFF" + bytes(50_000)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with storage() as where:
        yield where


@pytest.fixture
def settings_for(url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings with an empty bucket."""
    make_bucket(url)
    return lambda **changes: load_settings(**s3_settings(url) | {"data_dir": tmp_path} | changes)


def stored(settings: Settings) -> list[str]:
    bucket = Bucket(settings)
    return sorted(each.name for some in bucket.names() for each in some)


def lay_down(settings: Settings, number: int, days_ago: int = 0, **what: Any) -> CallRecord:
    """A call that is over, with its document and its recording."""
    record = a_call(number, started=(datetime.now(UTC) - timedelta(days=days_ago)).isoformat(), **what)
    path = settings.recordings / f"{record.uuid}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(SOUND)
    record = replace(record, recording=str(path))
    write_record(record, settings.records)
    return record


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - threads and a storage do the work
            await asyncio.sleep(0.02)


async def test_a_recording_moves_when_its_call_is_over_and_is_heard_from_there(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for()
    running = settings.recordings / f"{UUID(int=77)}.wav"
    running.parent.mkdir(parents=True)
    running.write_bytes(b"a call that goes on")
    async with BackOffice(settings) as office:
        record = lay_down(settings, 1)
        office.call_over(record)
        path = settings.recordings / f"{record.uuid}.wav"
        await until(lambda: not path.exists())
        assert stored(settings) == [path.name]
        assert running.exists()  # its document is not there yet
        assert office.uploads is not None
        assert office.uploads.counters == {"uploaded": 1, "uploaded_bytes": len(SOUND)}
        assert office.recordings.may_have(record.recording)
        fetched = await office.recordings.path_of(record.recording)
        assert fetched is not None
        assert fetched.read_bytes() == SOUND
        assert fetched.stat().st_mode & 0o077 == 0
        assert await office.recordings.path_of(record.recording) == fetched
        assert await office.recordings.path_of(f"{UUID(int=9)}.wav") is None
        assert await office.recordings.path_of("../../etc/passwd") is None


async def test_what_was_left_by_another_process_moves_too(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    records = [lay_down(settings, number) for number in range(3)]
    async with BackOffice(settings):
        await until(lambda: len(stored(settings)) == len(records))
    assert not list(settings.recordings.iterdir())


async def test_a_storage_that_is_away_costs_no_recording(
    settings_for: Callable[..., Settings], url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "AGAIN_S", (0.05,))
    settings = settings_for()
    record = lay_down(settings, 1)
    away = settings_for(recordings_s3_bucket="not-made-yet")
    uploads = Uploads(Bucket(away), settings.recordings, settings.records)
    task = asyncio.create_task(uploads.run())
    try:
        await until(lambda: uploads.counters["failed"] >= 2)
        assert uploads.waiting == 1
        assert (settings.recordings / f"{record.uuid}.wav").exists()
        lines = [line for line in caplog.messages if "recordings stay" in line]
        assert len(lines) == 1  # once, not each time
        assert "NoSuchBucket" in lines[0]
        assert "secret key" not in caplog.text
        make_bucket(url, "not-made-yet")
        await until(lambda: uploads.counters["uploaded"] == 1)
        assert uploads.waiting == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stored(away) == [f"{record.uuid}.wav"]


async def test_a_caller_who_is_forgotten_while_the_recording_is_on_its_way_is_forgotten_there_too(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for()
    record = lay_down(settings, 1)
    document = settings.records / f"{record.uuid}.json"
    put = Bucket.put

    def slow_put(self: Bucket, path: Path) -> None:
        put(self, path)
        document.unlink()  # as `forget` does, which finds nothing in the bucket yet

    monkeypatch.setattr(Bucket, "put", slow_put)
    assert await Uploads(Bucket(settings), settings.recordings, settings.records).look()
    assert stored(settings) == []
    assert not list(settings.recordings.iterdir())


async def test_a_size_that_differs_leaves_the_file_where_it_is(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for()
    record = lay_down(settings, 1)
    bucket = Bucket(settings)
    monkeypatch.setattr(bucket._client, "head_object", lambda **_: {"ContentLength": 7})
    assert not await Uploads(bucket, settings.recordings, settings.records).look()
    assert (settings.recordings / f"{record.uuid}.wav").exists()


async def test_erased_calls_and_old_ones_leave_the_bucket(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    old, new = lay_down(settings, 1, days_ago=100), lay_down(settings, 2)
    await Uploads(Bucket(settings), settings.recordings, settings.records).look()
    async with BackOffice(settings) as office:  # 90 days are kept
        await until(lambda: office.housekeeping.counters["swept"] == 1)
        assert stored(settings) == [f"{new.uuid}.wav"]
        assert await office.store.archive.erase(new.uuid, Scope.all(), office.recordings.folders)
        assert await office.recordings.expire(office.store.archive, datetime.now(UTC) - timedelta(days=90)) == 1
    assert stored(settings) == []
    assert old.uuid != new.uuid


async def test_forget_takes_recordings_out_of_the_bucket(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    theirs, other = lay_down(settings, 1, caller_id="+447700900111"), lay_down(settings, 2, caller_id="+447700900222")
    async with BackOffice(settings) as office:
        await until(lambda: len(stored(settings)) == 2 and office.housekeeping.counters["imported"] == 2)
        heard = await office.recordings.path_of(theirs.recording)
    assert heard is not None
    said: list[str] = []
    assert await forget_caller(settings, "+447700900111", dry_run=True, also_waiting=False, say=said.append)
    assert "with 3 files" in said[0]  # the document, the copy that was listened to, and what the bucket has
    assert len(stored(settings)) == 2
    assert await forget_caller(settings, "+447700900111", dry_run=False, also_waiting=False, say=said.append)
    assert stored(settings) == [f"{other.uuid}.wav"]
    assert not heard.exists()


async def test_copies_that_nobody_listens_to_make_room(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings_module, "FETCHED_BYTES", 2 * len(SOUND))
    settings = settings_for()
    records = [lay_down(settings, number) for number in range(4)]
    await Uploads(Bucket(settings), settings.recordings, settings.records).look()
    recordings = Recordings(settings)
    for record in records:
        assert await recordings.path_of(record.recording) is not None
    assert len(list(recordings.fetched.iterdir())) == 2
    assert (recordings.fetched / f"{records[-1].uuid}.wav").exists()


async def test_a_wrong_bucket_is_named_without_a_key(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(BucketError) as told:
        Bucket(settings_for(recordings_s3_bucket="nowhere")).check()
    assert "404" in str(told.value) or "NoSuchBucket" in str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(BucketError, match="EndpointConnectionError"):
        Bucket(settings_for(recordings_s3_endpoint="http://127.0.0.1:9")).check()
