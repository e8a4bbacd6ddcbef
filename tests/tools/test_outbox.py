"""The outbox of a running agent, and `voice-agent outbox` beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from agent.cli import app
from agent.ops.metrics import Page
from agent.ops.outbox import make_outbox, of_outbox, outbox_health
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.tools.outbox import Outbox, OutboxError, Pace, Target
from agent.tools.outbox.entry import Kind

HURRY = Pace(first_pause_s=0.02, longest_pause_s=0.05, held_pause_s=0.2, poll_s=0.05, tell_after_s=0.0)
BODY = {"customer_name": "Jo Bloggs", "address": "12 Acacia Avenue"}
KEY = "0123456789abcdef"


class Api:
    """Answers by a list of statuses, the last one for ever; `/hook` takes alerts."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.keys: list[str] = []
        self.alerts: list[dict[str, Any]] = []
        self.hook_fails = 1
        self.gate = asyncio.Event()
        self.gate.set()

    async def book(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        await self.gate.wait()
        return web.json_response({"booking_id": "B1", "error": "Jo Bloggs lives nowhere"}, status=status)

    async def hook(self, request: web.Request) -> web.Response:
        self.hook_fails -= 1
        if self.hook_fails >= 0:
            return web.Response(status=500)
        self.alerts.append(await request.json())
        return web.Response()

    @asynccontextmanager
    async def outbox(self, folder: Path, *, honours_keys: bool = True) -> AsyncIterator[Outbox]:
        service = web.Application()
        service.router.add_post("/create_booking", self.book)
        service.router.add_post("/hook", self.hook)
        async with TestServer(service) as server:
            targets: dict[Kind, Target] = {
                "booking": Target("api", str(server.make_url("/create_booking")), {}, honours_keys),
                "alert": Target("webhook", str(server.make_url("/hook")), {}, honours_keys=True),
            }
            async with Outbox(folder, targets, pace=HURRY) as outbox:
                yield outbox


async def until(condition: Any, seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)


async def test_a_booking_is_sent_until_it_is_accepted(tmp_path: Path) -> None:
    api = Api(503, 500, 429, 401, 201)
    async with api.outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: outbox.counts()["accepted"] == 1)
        assert outbox.oldest_s() == 0
        assert (await outbox.wait(KEY, 0)).answer == "B1"
    assert api.keys == [KEY] * 5


async def test_a_wrong_key_is_for_whoever_runs_the_agent(tmp_path: Path) -> None:
    api = Api(401)
    async with api.outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: api.alerts)
    assert api.alerts[0]["event"] == "booking_held_up"
    assert api.alerts[0]["reason"] == "status 401: check BOOKING_API_URL and BOOKING_API_KEY"


async def test_what_waits_is_sent_by_the_next_process(tmp_path: Path) -> None:
    async with Api(503).outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: outbox.counters["later"] > 1)
        assert outbox.oldest_s() > 0
    api = Api(201)
    async with api.outbox(tmp_path) as outbox:
        await until(lambda: outbox.counts()["accepted"] == 1)
    assert api.keys == [KEY]


async def test_who_waits_is_told_at_once(tmp_path: Path) -> None:
    api = Api(201)
    api.gate.clear()
    async with api.outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        assert (await outbox.wait(KEY, 0.1)).state == "sending"
        waiting = [asyncio.create_task(outbox.wait(KEY, 60)) for _ in range(3)]
        await asyncio.sleep(0.05)
        api.gate.set()
        assert {entry.state for entry in await asyncio.gather(*waiting)} == {"accepted"}


async def test_a_late_refusal_is_told_to_the_webhook_and_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(400)
    async with api.outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY, did="+442079460123", call_uuid="call-1")
        await until(lambda: api.alerts)
        assert outbox.counters["alerted_refused"] == 1
    (alert,) = api.alerts
    assert (alert["event"], alert["key"], alert["did_number"]) == ("booking_refused", KEY, "+442079460123")
    assert "Bloggs" not in str(alert)
    (line,) = (entry for entry in caplog.records if entry.levelno == logging.ERROR)
    assert line.getMessage() == (
        f"booking {KEY[:12]} is refused after 1 attempts (status 400): see voice-agent outbox --show {KEY[:12]}"
    )
    assert "Bloggs" not in caplog.text
    assert "2079460123" not in caplog.text


async def test_a_stop_in_the_middle_of_a_request_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.tools.outbox.outbox.CLOSE_S", 0.05)
    monkeypatch.setattr("agent.tools.outbox.outbox.CLOSE_ONLY_S", 0.05)
    api = Api(201)
    for honours_keys, state in ((False, "uncertain"), (True, "accepted")):
        folder = tmp_path / state
        api.gate.clear()
        async with api.outbox(folder, honours_keys=honours_keys) as outbox:
            await outbox.keep(KEY, BODY)
            await until(lambda: api.keys)
        api.gate.set()
        async with api.outbox(folder, honours_keys=honours_keys) as outbox:
            await until(lambda state=state, outbox=outbox: outbox.counts()[state] == 1)
            assert outbox.counters["recovered"] == 1
        assert len(api.keys) == 1 + honours_keys
        api.keys.clear()


async def test_a_disk_that_fails_is_told_to_who_keeps_and_gone_on_with(tmp_path: Path) -> None:
    api = Api(201)
    async with api.outbox(tmp_path) as outbox:
        await outbox._disk(lambda: outbox._store._db.execute("PRAGMA query_only=ON"))
        with pytest.raises(OutboxError, match="readonly"):
            await outbox.keep(KEY, BODY)
        assert outbox.counters["not_kept"] == 1
        await outbox._disk(lambda: outbox._store._db.execute("PRAGMA query_only=OFF"))
        await outbox.keep(KEY, BODY)
        await until(lambda: api.keys)
        await until(lambda: outbox.counts()["accepted"] == 1)


async def test_an_answer_that_cannot_be_written_is_written_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(201)
    api.gate.clear()
    async with api.outbox(tmp_path, honours_keys=False) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: api.keys)
        await outbox._disk(lambda: outbox._store._db.execute("PRAGMA query_only=ON"))
        api.gate.set()
        await until(lambda: outbox.counters["disk_errors"] > 2)
        await outbox._disk(lambda: outbox._store._db.execute("PRAGMA query_only=OFF"))
        await until(lambda: outbox.counts()["accepted"] == 1)
    assert api.keys == [KEY]
    assert "cannot be written" in caplog.text


async def test_what_the_agent_shows(tmp_path: Path) -> None:
    async with Api(503).outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: outbox.counters["later"])
        await until(lambda: outbox.counts()["waiting"])
        shown = Page()
        shown.include(lambda: of_outbox(outbox))
        page = shown.page().decode()
        assert 'voice_agent_outbox_bookings{state="waiting"} 1.0' in page
        assert 'voice_agent_outbox_bookings{state="uncertain"} 0.0' in page
        assert 'voice_agent_outbox_events_total{what="kept"} 1.0' in page
        assert "voice_agent_outbox_oldest_seconds 0." in page
        health = outbox_health(outbox)
        assert (health["waiting"], health["accepted"]) == (1, 0)


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return load_settings


@pytest.mark.parametrize(
    ("values", "honours"),
    [
        ({}, True),
        ({"booking_api_url": "https://book.example/"}, False),
        ({"booking_api_url": "https://book.example/", "booking_api_idempotent": True}, True),
        ({"booking_api_idempotent": False}, False),
    ],
)
def test_who_honours_keys(settings: Any, values: dict[str, Any], honours: bool) -> None:
    outbox = make_outbox(settings(**values), "http://127.0.0.1:1", "secret")
    assert outbox._targets["booking"].honours_keys is honours
    assert "secret" not in repr(outbox._targets)
    assert "alert" not in outbox._targets


def test_a_webhook_is_a_url_and_a_secret(settings: Any) -> None:
    hook = settings(alert_webhook_url="https://hooks.example/T0/secret")
    assert "T0" not in repr(hook)
    assert "T0" not in repr(make_outbox(hook, "http://127.0.0.1:1", "key")._targets)
    with pytest.raises(SettingsError, match="ALERT_WEBHOOK_URL"):
        settings(alert_webhook_url="hooks.example")


# ---- the command ----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["outbox", *arguments])
    return result.exit_code, result.output


async def test_the_command_lists_shows_retries_and_drops_beside_an_agent(settings: Any, tmp_path: Path) -> None:
    api = Api(400, 201)
    async with api.outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY, did="+442079460123", call_uuid="call-1")
        await until(lambda: outbox.counts()["refused"])
        status, text = await asyncio.to_thread(command)
        assert status == 0
        assert f"{KEY[:12]}  refused" in text
        assert "status 400" in text
        assert "Bloggs" not in text
        assert "2079460123" not in text
        status, text = await asyncio.to_thread(command, "--show", KEY[:8])
        assert status == 0
        assert "answer: Jo Bloggs lives nowhere" in text
        assert json.loads(text[text.index("{") :]) == BODY
        assert (await asyncio.to_thread(command, "retry", KEY[:8]))[0] == 0
        await until(lambda: outbox.counts()["accepted"] == 1)
        assert "nothing" not in (await asyncio.to_thread(command))[1]
        for wrong in (("drop", KEY[:8], "why"), ("retry", KEY[:8]), ("--show", "ffffff"), ("--show", "01")):
            assert (await asyncio.to_thread(command, *wrong))[0] == 2, wrong
        await outbox.keep("fedcba9876543210", BODY)


async def test_a_booking_is_dropped_with_a_reason(settings: Any, tmp_path: Path) -> None:
    async with Api(503).outbox(tmp_path) as outbox:
        await outbox.keep(KEY, BODY)
        await until(lambda: outbox.counters["later"])
        assert (await asyncio.to_thread(command, "drop", KEY[:8], " "))[0] == 2
        for _ in range(50):
            if (await asyncio.to_thread(command, "drop", KEY[:8], "rang back"))[0] == 0:
                break  # else it was being sent just then
        await until(lambda: outbox.counts()["dropped"] == 1)
    status, text = await asyncio.to_thread(command, "--all")
    assert status == 0
    assert "rang back" in text


def test_without_an_outbox_the_command_says_so(settings: Any) -> None:
    status, text = command()
    assert status == 2
    assert "nothing was ever kept" in text
