"""Recordings: several at once on one thread, a disk that takes nothing, and one that is slow."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastaudio
from agent.ops import recording
from agent.ops.recording import Recorded, read_tracks, record

FRAME = b"\x10\x01\x40"


def sound(number: int, blocks: int) -> bytes:
    """Blocks of 20 ms, each of a value of its own."""
    return b"".join((100 * number + block).to_bytes(2, "little") * 160 for block in range(blocks))


@asynccontextmanager
async def calls(count: int) -> AsyncIterator[list[tuple[fastaudio.Call, asyncio.StreamWriter]]]:
    """Calls, and each one's caller."""
    async with fastaudio.Engine(port=0) as engine:
        both = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
            writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
            both.append((await anext(aiter(engine)), writer))
            asyncio.get_running_loop().create_task(reader.read(-1))
        yield both
        for _, writer in both:
            writer.close()
        await asyncio.gather(*(call.wait_ended() for call, _ in both))


async def speak(writer: asyncio.StreamWriter, pcm: bytes) -> None:
    for start in range(0, len(pcm), 320):
        writer.write(FRAME + pcm[start : start + 320])
        await asyncio.sleep(0.02)


def writing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "recordings"]


async def test_one_thread_writes_all_recordings_and_ends_with_the_last(tmp_path: Path) -> None:
    async with calls(3) as running:
        tasks = [asyncio.create_task(record(call, tmp_path / f"{at}.wav")) for at, (call, _) in enumerate(running)]
        await asyncio.gather(*(speak(writer, sound(1 + at, 40)) for at, (_, writer) in enumerate(running)))
        assert len(writing_threads()) == 1
        running[0][1].close()
        assert await tasks[0] == Recorded()  # while the others go on
        assert not tasks[1].done()
        for _, writer in running[1:]:
            writer.close()
        assert await asyncio.gather(*tasks[1:]) == [Recorded(), Recorded()]
        for thread in writing_threads():
            thread.join(1.0)
        assert not writing_threads()
    for at in range(3):
        tracks = read_tracks(tmp_path / f"{at}.wav")
        heard = [block for block in range(40) if sound(1 + at, 40)[320 * block : 320 * (block + 1)] in tracks.caller]
        assert len(heard) >= 35  # the host may have stood still
        assert len(tracks.agent) == len(tracks.caller)


async def test_a_disk_that_takes_nothing_is_told_once_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "full.wav").symlink_to("/dev/full")
    async with calls(2) as running:
        with caplog.at_level(logging.ERROR):
            tasks = [
                asyncio.create_task(record(call, tmp_path / name))
                for (call, _), name in zip(running, ("full.wav", "good.wav"), strict=True)
            ]
            await asyncio.gather(*(speak(writer, sound(1, 60)) for _, writer in running))
            for _, writer in running:
                writer.close()
            full, good = await asyncio.gather(*tasks)
        assert (full.failed, good.failed) == ("No space left on device", "")
        assert [entry.getMessage().partition(": ")[2] for entry in caplog.records] == ["No space left on device"]
    assert len(read_tracks(tmp_path / "good.wav").caller) >= 320 * 50


async def test_a_slow_disk_loses_its_own_copy_counted_and_the_time_line_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = recording.interleave

    def sleepy(left: bytes, right: bytes) -> bytes:
        time.sleep(3.2 if len(left) > 320 * 5 else 0)
        monkeypatch.setattr(recording, "interleave", slow)
        return slow(left, right)

    monkeypatch.setattr(recording, "interleave", sleepy)
    async with calls(1) as [(call, writer)]:
        task = asyncio.create_task(record(call, tmp_path / "slow.wav"))
        await speak(writer, sound(1, 200))
        writer.close()
        lost_ms = (await task).lost_ms
        captured = call.core.captured()
    assert lost_ms >= 500
    assert len(read_tracks(tmp_path / "slow.wav").caller) == 320 * captured
