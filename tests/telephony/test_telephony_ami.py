"""The AMI client against a manager that behaves, and against ones that do not."""

from __future__ import annotations

import asyncio
import logging

import pytest
from rig.manager import SECRET, fake_manager

from agent.telephony import Manager

CHANNEL = "PJSIP/trunk-00000001"


def manager(port: int, secret: str = SECRET) -> Manager:
    return Manager("127.0.0.1", port, "agent", secret, timeout_s=0.5)


async def test_a_caller_is_sent_to_the_transfer_s_context() -> None:
    async with fake_manager() as fake:
        asked = manager(fake.port)
        assert await asked.redirect(CHANNEL, "2001")
    assert asked.counters == {"redirected": 1}
    redirect = fake.actions[-1]
    assert (redirect["Channel"], redirect["Exten"], redirect["Priority"]) == (CHANNEL, "2001", "1")
    assert (redirect["Action"], redirect["Context"]) == ("Redirect", "voice-agent-transfer")
    assert [action["Action"] for action in fake.actions] == ["Challenge", "Login", "Redirect"]


async def test_the_secret_is_neither_sent_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with fake_manager() as fake:
        asked = manager(fake.port, "another secret")
        assert not await asked.redirect(CHANNEL, "2001")
    assert asked.counters == {"failed_login": 1}
    assert "another secret" not in str(fake.actions) + repr(asked) + caplog.text
    assert "2001" not in caplog.text


@pytest.mark.parametrize(
    ("channel", "extension"),
    [
        (CHANNEL + "\r\nAction: Originate\r\nApplication: System", "2001"),
        (CHANNEL, "2001\nContext: default"),
        (CHANNEL + "\x00", "2001"),
        (CHANNEL, ""),
    ],
)
async def test_a_value_cannot_become_another_line(channel: str, extension: str) -> None:
    async with fake_manager() as fake:
        asked = manager(fake.port)
        assert not await asked.redirect(channel, extension)
    assert asked.counters == {"failed_value": 1}
    assert fake.actions == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent", "timeout"),
        ("ssh", "protocol"),
        ("endless", "protocol"),
        ("long", "protocol"),
        ("gone", "closed"),
    ],
)
async def test_what_is_no_manager_is_left_in_time(fault: str, reason: str) -> None:
    async with fake_manager(fault) as fake, asyncio.timeout(3):
        asked = manager(fake.port)
        assert not await asked.redirect(CHANNEL, "2001")
    assert asked.counters == {f"failed_{reason}": 1}


async def test_a_channel_that_is_gone_is_refused() -> None:
    async with fake_manager("deaf") as fake:
        asked = manager(fake.port)
        assert not await asked.redirect(CHANNEL, "2001")
    assert asked.counters == {"failed_refused": 1}


async def test_nobody_there_is_said() -> None:
    async with fake_manager() as fake:
        port = fake.port
    asked = manager(port)
    assert not await asked.redirect(CHANNEL, "2001")
    assert asked.counters == {"failed_connect": 1}


async def test_so_many_at_once_and_no_more() -> None:
    async with fake_manager("silent") as fake:
        asked = manager(fake.port)
        answers = await asyncio.gather(*(asked.redirect(CHANNEL, "2001") for _ in range(40)))
    assert not any(answers)
    assert asked.counters == {"failed_busy": 8, "failed_timeout": 32}
