"""systemd's watchdog, on a socket of the test's own: fed while the media thread answers, and not when it hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agent.ops import watchdog


class Manager:
    """What systemd is to the process: where it is told."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def told(self) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                lines += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield manager
    manager.socket.close()


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def never() -> bool:
    await asyncio.sleep(3600)
    return True


async def broken() -> bool:
    raise RuntimeError("no engine")


async def test_it_is_fed_three_times_a_period(manager: Manager) -> None:
    async with watchdog.fed(yes):
        await asyncio.sleep(1.0)
    told = manager.told()
    assert set(told) == {"WATCHDOG=1"}
    assert 4 <= len(told) <= 11, "every 100 ms"
    await asyncio.sleep(0.3)
    assert manager.told() == [], "it is over"


@pytest.mark.parametrize("healthy", [no, never, broken])
async def test_it_is_not_fed_by_what_does_not_answer(
    manager: Manager, healthy: Callable[[], Awaitable[bool]], caplog: pytest.LogCaptureFixture
) -> None:
    async with watchdog.fed(healthy):
        await asyncio.sleep(0.5)
    assert manager.told() == []
    (said,) = [record for record in caplog.records if "the watchdog is not fed" in record.getMessage()]
    assert said.levelno == logging.ERROR
    assert vars(said)["MESSAGE_ID"] == "aa25b31662a84296838034ff4e8c1b87"


async def test_it_is_fed_again_once_there_is_an_answer(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([False, False])

    async def healthy() -> bool:
        return next(answers, True)

    async with watchdog.fed(healthy):
        await asyncio.sleep(0.6)
    assert "WATCHDOG=1" in manager.told()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize("variables", [{"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_PID": "1"}])
async def test_nobody_is_asked_without_a_watchdog_of_ours(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []

    async def healthy() -> bool:
        asked.append(True)
        return True

    async with watchdog.fed(healthy):
        await asyncio.sleep(0.2)
    assert (asked, manager.told()) == ([], [])


def test_the_period_is_that_of_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog.period_s() == 30.0
