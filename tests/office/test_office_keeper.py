"""Calls that end come into the database beside those that run, and one that is away costs a line in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from agent.call.record import CallRecord
from agent.office import keeper as module
from agent.office.keeper import CallKeeper


class Archive:
    def __init__(self) -> None:
        self.kept: list[str] = []
        self.away = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def keep(self, record: CallRecord) -> bool:
        await self.may_go_on.wait()
        if self.away:
            raise ConnectionError("a password stands here")
        new = record.uuid not in self.kept
        self.kept.append(record.uuid)
        return new


async def hang(archive: Archive, keeper: CallKeeper) -> None:
    """The database hangs with the call `a` in its hands."""
    archive.may_go_on.clear()
    keeper.put(CallRecord("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_records_are_kept_in_their_order() -> None:
    archive, told = Archive(), []
    async with CallKeeper(archive.keep, lambda: told.append(1)) as keeper:
        for uuid in "abca":
            keeper.put(CallRecord(uuid))
    assert archive.kept == ["a", "b", "c", "a"]
    assert keeper.counters == {"kept": 3, "known": 1, "left": 0}
    assert len(told) == 4


async def test_a_database_that_is_away_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive()
    archive.away = True
    with caplog.at_level(logging.INFO):
        async with CallKeeper(archive.keep) as keeper:
            for uuid in "abc":
                keeper.put(CallRecord(uuid))
            while keeper.counters["failed"] < 3:  # noqa: ASYNC110 - nobody tells when that is
                await asyncio.sleep(0)
            archive.away = False
            keeper.put(CallRecord("d"))
    assert keeper.counters == {"failed": 3, "kept": 1, "left": 0}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "password" not in caplog.text


async def test_too_many_are_left_to_their_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    archive = Archive()
    async with CallKeeper(archive.keep) as keeper:
        await hang(archive, keeper)
        for uuid in "bcd":
            keeper.put(CallRecord(uuid))
        archive.may_go_on.set()
    assert archive.kept == ["a", "b", "c"]
    assert keeper.counters["left"] == 1


async def test_a_database_that_hangs_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    archive = Archive()
    async with CallKeeper(archive.keep) as keeper:
        await hang(archive, keeper)
        keeper.put(CallRecord("b"))
    assert archive.kept == []
    assert keeper.counters["left"] == 1


async def test_a_database_that_hangs_gives_the_next_call_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_S", 0.02)
    archive = Archive()
    archive.may_go_on.clear()
    async with CallKeeper(archive.keep) as keeper:
        keeper.put(CallRecord("a"))
        async with asyncio.timeout(5):
            while not keeper.counters["failed"]:  # noqa: ASYNC110 - nobody tells when that is
                await asyncio.sleep(0.01)
        archive.may_go_on.set()
        keeper.put(CallRecord("b"))
    assert archive.kept == ["b"]
    assert keeper.counters == {"failed": 1, "kept": 1, "left": 0}
