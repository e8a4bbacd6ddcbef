"""`/live` of a real agent: what it tells of calls, and what it does not; `voice-agent top --once` reads it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from agent.ops import live_page
from tests.agent.conftest import CALLER, LONDON
from tests.agent.test_live import begin

if TYPE_CHECKING:
    from tests.agent.conftest import Rig


async def page_of(rig: Rig) -> tuple[dict[str, Any], str]:
    """The page, and its text."""
    url = f"http://127.0.0.1:{rig.agent.http_port}/live"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        return await answer.json(), await answer.text()


async def test_a_call_is_told_without_its_words_and_numbers(rig: Rig) -> None:
    rig.voice.char_ms = 40
    running = begin(rig, "say: My tap leaks badly\nwait: 20s")
    call = await running.live()
    await rig.until(lambda: call.doing == "speaking" and any(call.levels()), 15)
    page, text = await page_of(rig)
    (told,) = page["calls"]
    assert told == {
        "uuid": call.uuid, "worker": 0, "company": call.company, "caller": "…123", "line": "…123",
        "started": round(call.started.timestamp() * 1000), "doing": "speaking", "steps": list(call.steps),
        "step": call.step_number, "turns": call.turns, "latency_ms": call.latency_ms, "listeners": 0,
        "levels": told["levels"],
    }  # fmt: skip
    assert max(told["levels"]) > 100
    assert page["max_calls"] == 20
    assert page["status"] == "ok"
    (worker,) = page["workers"]
    assert (worker["state"], worker["calls"]) == ("serving", 1)
    assert page["vendors"]["tts cartesia"]["state"] == "closed"
    assert page["outbox"]["waiting"] == 0
    for secret in (CALLER, CALLER[3:], LONDON, LONDON[3:], "tap", "leak", "plumber", call.agent[:12]):
        assert secret not in text, secret
    await call.end("test")
    await running.over()
    await asyncio.sleep(live_page.FRESH_S)
    assert (await page_of(rig))[0]["calls"] == []


async def test_many_who_look_cost_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "FRESH_S", 60.0)
    (first, _), *others = [await page_of(rig) for _ in range(5)]
    assert all(page == first for page, _ in others)


async def test_top_prints_what_a_running_agent_does(rig: Rig) -> None:
    running = begin(rig, "wait: 20s")
    call = await running.live()
    url = f"http://127.0.0.1:{rig.agent.http_port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "top", url, "--once"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    lines = out.decode().splitlines()
    (line,) = [line for line in lines if line.startswith(call.uuid)]
    assert "Thames Plumbing" in line
    assert "…123" in line
    assert "calls 1 of 20" in lines[1]
    await call.end("test")
    await running.over()


async def test_top_says_that_no_agent_answers_and_does_not_wait_where_nobody_looks() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "top", "127.0.0.1:9"),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await process.communicate()
    assert process.returncode == 1
    assert b"nobody answers at http://127.0.0.1:9: Connection refused" in error
