"""`voice-agent office` in a process of its own tells of what it books."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from standardwebhooks import Webhook

from agent.office.seed import LONDON_PLUMBER
from agent.office.serve import serve_office
from agent.office.webhook_signature import new_secret
from agent.ops.settings import Settings, SettingsError, load_settings
from tests.agent.hearing import until

BOOKING = {
    "customer_name": "Jo Bloggs", "postcode": "M14 6BT", "address": "12 Acacia Avenue", "problem_description": "a leak",
    "did_number": LONDON_PLUMBER.numbers[0],
}  # fmt: skip


async def test_an_office_by_itself_tells_of_a_booking(tmp_path: Path) -> None:
    secret, told = new_secret(), list[str]()

    async def hook(request: web.Request) -> web.Response:
        event = Webhook(secret).verify(await request.read(), dict(request.headers))
        told.append(event["data"]["customer_name"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as server:
        settings = {
            "DATA_DIR": str(tmp_path), "BOOKING_API_KEY": "key", "CALL_WEBHOOK_URL": str(server.make_url("/hook")),
            "CALL_WEBHOOK_SECRET": secret, "CONSOLE": "false",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent", "office", "--port", "0", "--seed",
            env=dict(os.environ) | settings, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            address = ""
            async with asyncio.timeout(60):
                while not address:
                    line = (await process.stdout.readline()).decode()
                    assert line, "it ended"
                    address = line.partition("back office on ")[2].strip()
            async with (
                aiohttp.ClientSession(headers={"X-API-Key": "key"}) as http,
                http.post(f"{address}/create_booking", json=BOOKING) as response,
            ):
                assert response.status == 201
            await until(lambda: told, 20.0)
            async with aiohttp.ClientSession() as http, http.get(f"{address}/health") as response:
                assert response.status == 200
                health = await response.json()
            assert (health["status"], health["companies"]) == ("ok", 2)
            assert health["outbox"]["notices"]
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    assert told == ["Jo Bloggs"]
    assert process.returncode == 0


async def test_an_office_by_itself_answers_its_peers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ops.http._own_addresses", lambda _host: ())  # this test comes from there
    ready = asyncio.Event()
    address: list[str] = []

    def report(line: str) -> None:
        if "back office on " in line:
            address.append(line.partition("back office on ")[2])
            ready.set()

    settings = load_settings(
        data_dir=tmp_path, booking_api_key="key", listen_host="127.0.0.1", http_port=0, console=False,
        allowed_peers="192.0.2.1/32",
    )  # fmt: skip
    task = asyncio.create_task(serve_office(settings, seed=False, report=report))
    async with asyncio.timeout(30):
        await ready.wait()
    async with aiohttp.ClientSession() as http, http.get(f"{address[0]}/health") as response:
        assert response.status == 403
        assert "ALLOWED_PEERS" in await response.text()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("smtp_host", "smtp.example.org", "SMTP_HOST needs MAIL_FROM"),
        ("mail_from", "nobody", "no e-mail address"),
        ("operator_email", "a@b, c@d", "no e-mail address"),
        ("call_webhook_secret", "open-sesame", "whsec_"),
        ("call_webhook_url", "ftp://x", "https://"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_call(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    with pytest.raises(SettingsError, match=says) as raised:
        load_settings(None, **{name: value})
    assert "open-sesame" not in str(raised.value)


def test_what_is_secret_is_known_as_such() -> None:
    settings = load_settings(smtp_password=SecretStr("hush"), call_webhook_secret=SecretStr(secret := new_secret()))
    assert {"hush", secret} <= set(settings.secrets)
