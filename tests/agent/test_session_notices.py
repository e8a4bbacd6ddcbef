"""A running agent tells what happened: a call by webhook, a transfer that nobody answered by mail as well."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import update
from standardwebhooks import Webhook

from agent.office.models import Company
from agent.office.scope import Scope
from agent.office.webhook_signature import new_secret
from tests.agent.hearing import until
from tests.office.post_office import post_office

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker


async def test_a_call_and_a_transfer_that_nobody_answered(a_rig: RigMaker) -> None:
    secret = new_secret()
    events: dict[str, Any] = {}

    async def hook(request: web.Request) -> web.Response:
        events[request.headers["webhook-id"]] = Webhook(secret).verify(await request.read(), dict(request.headers))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as server, post_office() as office:
        settings = {
            "call_webhook_url": str(server.make_url("/hook")),
            "call_webhook_secret": secret,
            "smtp_host": "127.0.0.1",
            "smtp_port": office.port,
            "smtp_security": "none",
            "mail_from": "reception@example.org",
            "console_url": "https://phones.example.org",
        }
        async with a_rig(**settings) as rig:
            async with rig.store.sessions.begin() as session:
                await session.execute(update(Company).values(notify_email="owner@example.org"))
            _, record = await rig.call("say: Speak to a person")
            await until(lambda: f"call:{record.uuid}" in events, 10.0)
            said = events[f"call:{record.uuid}"]
            assert said["type"] == "call.ended"
            assert said["data"]["uuid"] == record.uuid
            assert said["data"]["turns"][-1]["caller"] == record.turns[-1].caller
            await dialplan_says(rig.agent.fastagi_port, record.uuid, "NOANSWER")
            await until(lambda: f"missed:{record.uuid}" in events and office.mails, 10.0)
            stored = await rig.store.archive.get(record.uuid, Scope.all())
            assert stored is not None
            assert stored.record.marks[-1].what == "transfer_missed"
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{rig.agent.http_port}/health") as response,
            ):
                notices = (await response.json())["outbox"]["notices"]
            assert notices["webhook"]["accepted"] + notices["webhook"]["waiting"] == 2
    (mail,) = office.mails
    assert mail["To"] == "owner@example.org"
    words = mail.get_body(("plain",))
    assert words is not None
    assert f"https://phones.example.org/calls/{record.uuid}" in words.get_content()
    assert json.dumps(events), "all of it was JSON"


async def dialplan_says(port: int, uuid: str, status: str) -> None:
    """What the hangup handler of the shipped dialplan sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = f"agi_network: yes\nagi_network_script: transferred\nagi_arg_1: {uuid}\nagi_arg_2: {status}\n\n"
    writer.write(lines.encode())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
