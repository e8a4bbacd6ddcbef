"""Webhooks as a receiver sees them, who verifies them with an implementation that is not ours."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import update
from standardwebhooks import Webhook

from agent.office import webhook
from agent.office.models import Company
from agent.office.recipients import Recipients
from agent.office.store import NewCompany, OfficeStore
from agent.office.webhook import WebhookSender, is_link_local, judge_hook
from agent.office.webhook_signature import SecretError, keys_of, new_secret, signature_headers
from agent.tools.outbox import Entry

EVENT = {"type": "call.ended", "timestamp": "2026-11-23T02:00:00.000+00:00", "data": {"uuid": "c-1", "name": "Zoë"}}


def entry_of(company_id: int | None, key: str = "call:c-1") -> Entry:
    body = {"id": key, "company_id": company_id, "event": EVENT}
    return Entry(
        key=f"{key}:hook", kind="webhook", body=body, did="", call_uuid="c-1", state="sending", made_at=0.0, due_at=0.0,
        changed_at=0.0, attempts=1, target="webhook", doubt="", status=0, reason="", answer="", held=False, told=False,
        place="", caller="",
    )  # fmt: skip


@dataclass
class Receiver:
    """Somebody else's endpoint."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b"thank you"
    late_s: float = 0.0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        await asyncio.sleep(self.late_s)
        return web.Response(status=self.status, headers=self.headers, body=self.answer)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
async def recipients(tmp_path: Path) -> AsyncIterator[Recipients]:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        yield store.recipients


# ---- the signature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [new_secret(), "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], ids=["new", "another's"])
def test_an_implementation_that_is_not_ours_verifies_it(secret: str) -> None:
    body = json.dumps(EVENT, ensure_ascii=False).encode()
    headers = signature_headers(keys_of(secret), "call:c-1", int(time.time()), body)
    assert Webhook(secret).verify(body, headers) == EVENT
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(body, headers | {"webhook-id": "call:c-2"})


def test_while_a_secret_is_changed_both_verify() -> None:
    old, new = new_secret(), new_secret()
    headers = signature_headers(keys_of(f"{new} {old}"), "x", int(time.time()), b"{}")
    for secret in (old, new):
        assert Webhook(secret).verify(b"{}", headers) == {}


def test_what_the_documentation_says_for_python_and_for_a_shell_holds() -> None:
    page = (Path(__file__).parents[2] / "docs/notices.md").read_text()
    _, python, shell = re.findall(r"```(?:python|sh)\n(.*?)```", page, re.DOTALL)
    secret, moment, body = new_secret(), int(time.time()), '{"a":"Zoë"}'.encode()
    headers = signature_headers(keys_of(secret), "call:c-1", moment, body)
    names: dict[str, Any] = {}
    exec(python, names)
    assert names["is_ours"](secret, headers, body)
    assert not names["is_ours"](secret, headers, body + b" ")
    assert not names["is_ours"](new_secret(), headers, body)
    assert not names["is_ours"](secret, signature_headers(keys_of(secret), "call:c-1", moment - 400, body), body)
    given = {"SECRET": secret, "ID": "call:c-1", "TIMESTAMP": str(moment), "BODY": body.decode()}
    said = subprocess.run(["sh", "-c", shell], env=dict(os.environ) | given, capture_output=True, check=True)
    assert f"v1,{said.stdout.decode().strip()}" == headers["webhook-signature"]


@pytest.mark.parametrize("text", ["open-sesame", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_" + "A" * 200])
def test_what_is_no_secret_is_said_without_showing_it(text: str) -> None:
    with pytest.raises(SecretError) as raised:
        keys_of(text)
    assert text not in str(raised.value) or text == "whsec_"


# ---- what is posted -------------------------------------------------------------------------------------------------


async def test_a_company_s_own_address_and_secret_hold_as_they_are_when_it_is_sent(tmp_path: Path) -> None:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store, receiving() as receiver:
        company_id = await store.add_company(NewCompany("Pipes", "plumbing", "plumber", "£65"))
        sender = WebhookSender(store.recipients)
        assert (await sender.send(entry_of(company_id))).what == "dropped", "it has no webhook"
        secret = new_secret()
        await set_hook(store, company_id, receiver.url, secret)
        assert (await sender.send(entry_of(company_id))).what == "accepted"
        await set_hook(store, company_id, receiver.url, "")
        assert (await sender.send(entry_of(company_id))).what == "accepted"
        await set_hook(store, company_id, receiver.url, "whsec_nonsense!")
        held = await sender.send(entry_of(company_id))
        assert (held.what, held.held) == ("later", True)
        assert "nonsense" not in held.reason
    (headers, body), (unsigned, _) = receiver.requests
    assert Webhook(secret).verify(body, headers) == EVENT
    assert headers["webhook-id"] == "call:c-1"
    assert headers["Content-Type"] == "application/json"
    assert "webhook-signature" not in {name.lower() for name in unsigned}


async def set_hook(store: OfficeStore, company_id: int, url: str, secret: str) -> None:
    async with store.sessions.begin() as session:
        await session.execute(
            update(Company).where(Company.id == company_id).values(webhook_url=url, webhook_secret=secret)
        )


async def test_everybody_s_webhook_is_that_of_the_settings(recipients: Recipients) -> None:
    async with receiving() as receiver:
        secret = new_secret()
        assert (await WebhookSender(recipients, url=receiver.url, secret=secret).send(entry_of(None))).status == 200
        assert (await WebhookSender(recipients).send(entry_of(None))).what == "dropped"
        assert (await WebhookSender(recipients, url=receiver.url).send(entry_of(77))).what == "dropped", "no company"
    ((headers, body),) = receiver.requests
    assert Webhook(secret).verify(body, headers) == EVENT
    assert body == json.dumps(EVENT, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("status", "what", "held"),
    [(200, "accepted", False), (204, "accepted", False), (301, "later", True), (307, "later", True),
     (400, "later", True), (404, "later", True), (410, "refused", False), (429, "later", False),
     (500, "later", False), (503, "later", False)],
)  # fmt: skip
async def test_what_an_answer_means(recipients: Recipients, status: int, what: str, held: bool) -> None:
    async with receiving() as receiver:
        receiver.status, receiver.headers = status, {"Retry-After": "7"} if status in (429, 503) else {}
        if 300 <= status < 400:
            receiver.headers["Location"] = receiver.url
        receiver.answer = b"" if status == 204 else b"x" * 100_000
        verdict = await WebhookSender(recipients, url=receiver.url).send(entry_of(None))
        assert (verdict.what, verdict.held) == (what, held)
        assert verdict.after_s == (7.0 if status in (429, 503) else 0.0)
        assert len(receiver.requests) == 1, "no redirect is followed"


async def test_who_answers_too_late_or_not_at_all_is_asked_again(
    recipients: Recipients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    async with receiving() as receiver:
        receiver.late_s = 5.0
        verdict = await WebhookSender(recipients, url=receiver.url).send(entry_of(None))
        assert (verdict.what, verdict.reason) == ("later", "no answer in time")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert (await WebhookSender(recipients, url=f"http://127.0.0.1:{port}/").send(entry_of(None))).what == "later"
    for url in ("http://", "nonsense", "http://[::1"):
        verdict = await WebhookSender(recipients, url=url).send(entry_of(None))
        assert verdict.what == "later", url


async def test_an_answer_without_an_end_is_not_read(recipients: Recipients) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 1 << 30:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
                sent += 0x10000
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with asyncio.timeout(5):
            assert (await WebhookSender(recipients, url=url).send(entry_of(None))).what == "accepted"


# ---- where nothing goes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("169.254.169.254", True), ("169.254.0.1", True), ("fe80::1", True), ("fe80::1%eth0", True),
     ("::ffff:169.254.169.254", True), ("fd00:ec2::254", True),
     ("127.0.0.1", False), ("10.0.0.1", False), ("170.254.0.1", False), ("2001:db8::1", False)],
)  # fmt: skip
def test_what_is_link_local(address: str, is_local: bool) -> None:
    assert is_link_local(address) == is_local


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "0xA9FEA9FE", "2852039166", "metadata.example"]
)
async def test_no_way_of_writing_it_leads_to_a_cloud_s_credentials(
    recipients: Recipients, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def lookup(name: Any, *arguments: Any, **options: Any) -> Any:
        return real("169.254.169.254" if name == "metadata.example" else name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    verdict = await WebhookSender(recipients, url=f"http://{host}/latest/meta-data").send(entry_of(None))
    assert (verdict.what, verdict.held) == ("later", True), verdict
    assert "link-local" in verdict.reason or verdict.reason == "InvalidUrlClientError"


async def test_it_may_be_allowed(recipients: Recipients, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        monkeypatch.setattr(webhook, "is_link_local", lambda address: True)
        assert (await WebhookSender(recipients, url=receiver.url).send(entry_of(None))).what == "later"
        assert receiver.requests == []
        sender = WebhookSender(recipients, url=receiver.url, allow_link_local=True)
        assert (await sender.send(entry_of(None))).what == "accepted"


def test_a_refusal_names_no_address() -> None:
    verdict = judge_hook(410, {}, "CALL_WEBHOOK_URL")
    assert verdict.reason == "status 410: CALL_WEBHOOK_URL is gone"
