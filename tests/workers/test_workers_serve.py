"""`voice-agent serve` with two workers: what signals do to them and their calls, and when the supervisor dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.agent.test_lifecycle import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.ops.settings import Settings
    from agent.sandbox import Sandbox


@pytest.fixture
def an_agent(tmp_path: Path, vendors: Sandbox, agent_settings: Callable[..., Settings]) -> Callable[..., Process]:
    def make(folder: str = "one", **settings: str) -> Process:
        (tmp_path / folder).mkdir()
        return Process(tmp_path / folder, vendors, **{"WORKERS": "2", "SILENCE_SECONDS": "60", **settings})

    return make


def workers_of(agent: Process) -> list[int]:
    """The processes of the workers, by the log, newest last."""
    return [int(pid) for pid in re.findall(r"worker \d+ takes up to \d+ calls \(process (\d+)\)", agent.log)]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(
    condition: Callable[[], object], seconds: float = 20.0, what: Callable[[], object] = lambda: ""
) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what()
        await asyncio.sleep(0.02)


async def test_ctrl_c_reaches_all_processes_and_ends_calls_with_a_goodbye(an_agent: Callable[..., Process]) -> None:
    call = uuid4()
    async with an_agent() as agent, agent.a_call(call) as one, agent.a_call() as other:
        assert "at most 100 calls in 2 workers" in agent.log
        await asyncio.sleep(1.0)
        workers = workers_of(agent)
        assert len(workers) == 2
        for pid in (*workers, *workers):
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        agent.signal(signal.SIGINT)
        await agent.until("STOPPING=1")
        assert await agent.start(uuid4()) == "FULL"
        async with asyncio.timeout(20):
            assert await one.ended == "agent"
            assert await other.ended == "agent"
        assert min(one.now, other.now) > 2.0 + 4.0, "the goodbye was heard"
        assert (await agent.dialplan.next(call))["VOICE_AGENT_NEXT"] == "hangup"
        assert await agent.ended() == 0
        assert not [pid for pid in workers if runs(pid)]
        assert agent.told.count("READY=1") == 1, "systemd hears of the main process alone"
        assert "Traceback" not in agent.log


async def test_a_second_signal_ends_them_at_once(an_agent: Callable[..., Process]) -> None:
    async with an_agent(STOP_GRACE_SECONDS="60") as agent, agent.a_call() as wire:
        agent.signal(signal.SIGTERM)
        await agent.until("STOPPING=1")
        agent.signal(signal.SIGTERM)
        assert await agent.ended(10) == 0
        assert re.fullmatch("agent|failure: .* reset by peer", await wire.ended)
        assert not [pid for pid in workers_of(agent) if runs(pid)]
        assert "Traceback" not in agent.log


async def test_new_settings_reach_all_workers_and_wrong_ones_none(an_agent: Callable[..., Process]) -> None:
    async with an_agent() as agent:
        agent.write(CONVERSATION="dentist", WORKERS="3")
        agent.signal(signal.SIGHUP)
        await agent.until("READY=1")
        assert len(re.findall(r"\[worker [12]\] .*: reloaded", agent.log)) == 2
        assert "WORKERS has changed and holds from the next start on" in agent.log
        agent.write(CONVERSATION="nowhere")
        agent.signal(signal.SIGHUP)
        await agent.until("READY=1")
        assert "not reloaded" in agent.log
        assert len(re.findall(r"\[worker [12]\] .*: reloaded", agent.log)) == 2
        assert await agent.start(uuid4()) == "OK"


async def test_the_command_replaces_the_workers(an_agent: Callable[..., Process], tmp_path: Path) -> None:
    async with an_agent() as agent, agent.a_call() as wire:
        old = workers_of(agent)
        roll = [sys.executable, "-m", "agent", "roll", "--data-dir", str(tmp_path / "one")]
        done = await asyncio.to_thread(subprocess.run, roll, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        await until(lambda: len([pid for pid in old if runs(pid)]) == 1 or len(workers_of(agent)) >= 3)
        await asyncio.sleep(1.0)
        assert not wire.ended.done()
        await wire.close()
        await until(lambda: "all workers are replaced" in agent.log, 40, lambda: agent.log)
        assert not [pid for pid in old if runs(pid)]
        async with agent.a_call() as another:
            await asyncio.sleep(0.5)
            assert not another.ended.done()
    done = await asyncio.to_thread(subprocess.run, roll, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no agent with several workers runs" in done.stderr


async def test_calls_go_on_without_the_supervisor_and_the_next_one_has_the_address(
    an_agent: Callable[..., Process],
) -> None:
    async with an_agent(STOP_GRACE_SECONDS="2") as agent, agent.a_call() as wire:
        await asyncio.sleep(0.5)
        workers = workers_of(agent)
        port = agent.audio_port
        agent.signal(signal.SIGKILL)
        await until(lambda: agent.log.count("the supervisor is gone") == 2)
        await asyncio.sleep(0.5)
        assert not wire.ended.done(), "the call goes on"
        async with an_agent("next", LISTEN_PORT=str(port)) as successor:
            assert successor.audio_port == port
            async with successor.a_call() as another:
                async with asyncio.timeout(20):
                    assert await wire.ended == "agent", "a goodbye, when the grace time is over"
                await until(lambda: not [pid for pid in workers if runs(pid)])
                assert not another.ended.done()
