"""The context client: an answer is checked field by field, a failure is a default, and neither takes long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.call.company import CompanyContext, ContextClient, default_context, parse_context
from agent.office.api import office_app
from agent.office.seed import seed_examples
from agent.office.store import OfficeStore

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def client_of(handle: Handle, **options: Any) -> AsyncIterator[ContextClient]:
    app = web.Application()
    app.router.add_post("/did_context", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield ContextClient(str(server.make_url("/did_context")), "key", session, **options)


async def test_the_real_office_answers_it(tmp_path: Path) -> None:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'o.sqlite3'}") as store:
        await seed_examples(store)
        app = office_app(store, api_key="k", context_api_key="ck")
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            client = ContextClient(str(server.make_url("/did_context")), "ck", session)
            context = await client.fetch("0161 496 0456", "07700 900123")
    assert context.company_name == "Northern Spark Electrical"
    assert context.trade_label == "electrician"
    assert context.transfer_targets == {"office": "2002"}
    assert "fuse box" in context.keyterms
    assert (context.caller_id, context.default_reason, context.bad_fields) == ("+447700900123", "", ())
    assert client.counters == {"fetched": 1}


async def test_a_failure_is_tried_once_more() -> None:
    answers = [web.Response(status=500), web.json_response({"company_name": "Later"})]

    async def handle(request: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    async with client_of(handle) as client:
        context = await client.fetch("1", "")
    assert context.company_name == "Later"
    assert client.counters == {"retried": 1, "fetched": 1}


@pytest.mark.parametrize(
    ("response", "reason", "requests"),
    [
        (lambda: web.Response(status=500), "status_500", 2),
        (lambda: web.Response(status=429), "status_429", 2),
        (lambda: web.Response(status=404), "status_404", 1),
        (lambda: web.Response(text="<html>"), "bad_json", 2),
        (lambda: web.json_response([1]), "bad_json", 2),
        (lambda: web.Response(body=b"[" * 60_000), "bad_json", 2),
        (lambda: web.Response(body=b" " * 100_000), "too_long", 1),
    ],
)
async def test_a_broken_answer_is_the_default(response: Callable[[], web.Response], reason: str, requests: int) -> None:
    seen = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        return response()

    async with client_of(handle, timezone="Europe/Dublin") as client:
        context = await client.fetch("1", "07700 900123")
    assert context == default_context("+447700900123", timezone="Europe/Dublin", reason=reason)
    assert (context.company_name, context.trade_type) == ("Home Services", "general")
    assert client.counters[f"defaulted_{reason}"] == 1
    assert seen == requests


async def test_a_silent_api_costs_no_more_than_the_budget() -> None:
    seen = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        await asyncio.sleep(1)
        return web.Response()

    async with client_of(handle, budget_s=0.4) as client:
        begun = time.monotonic()
        context = await client.fetch("1", "")
        took = time.monotonic() - begun
        assert context.default_reason == "timeout"
        assert 0.39 <= took < 0.7
    assert seen == 2


async def test_an_unreachable_api_is_the_default() -> None:
    async with aiohttp.ClientSession() as session:
        client = ContextClient("http://127.0.0.1:1/did_context", "", session)
        assert (await client.fetch("1", "anonymous")).default_reason == "connect"


def test_each_bad_field_has_its_default_and_the_others_stand() -> None:
    answer = {
        "company_name": "Good",
        "trade_type": 7,
        "trade_label": "",
        "callout_fee": 65,
        "area": "a\nb",
        "greeting": None,
        "timezone": "Mars/Olympus",
        "repeat_caller": "yes",
        "transfer_targets": {"office": "2001; System(id)"},
        "voice_id": ["x"],
        "keyterms": "boiler",
        "recording": False,
        "more": "is ignored",
    }
    context = parse_context(answer, CompanyContext())
    assert context.company_name == "Good"
    assert context.callout_fee == "£65"
    assert context.recording is False
    assert context.timezone == "Europe/London"
    assert context.transfer_targets == {}
    assert set(context.bad_fields) == {
        "trade_type", "trade_label", "area", "timezone", "repeat_caller", "transfer_targets", "voice_id", "keyterms"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fee", "said"),
    [(65, "£65"), (59.5, "£59.50"), ("£65 plus VAT", "£65 plus VAT"), (True, ""), (-1, ""), (float("nan"), "")],
)
def test_a_fee_is_a_text_or_pounds(fee: object, said: str) -> None:
    assert parse_context({"callout_fee": fee}, CompanyContext()).callout_fee == said


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("conversation", "dentist", True),
        ("conversation", "my_desk-2", True),
        ("conversation", "", True),
        ("conversation", "../dentist", False),
        ("conversation", "/etc/passwd", False),
        ("conversation", "a" * 65, False),
        ("conversation", 7, False),
        ("language", "en-IE", True),
        ("language", "zh-Hant-TW", True),
        ("language", "", True),
        ("language", "English", False),
        ("language", "en-GB&model=x", False),
        ("language", "en-GB\n", False),
    ],
)
def test_a_conversation_is_a_name_and_a_language_a_tag(name: str, value: object, taken: bool) -> None:
    context = parse_context({name: value}, CompanyContext())
    assert context.bad_fields == (() if taken else (name,))
    assert getattr(context, name) == (value if taken else "")


@pytest.mark.parametrize("extension", ["2001", "+442079460123", "queue-1", "*43#"])
def test_extensions_that_a_dialplan_knows(extension: str) -> None:
    assert parse_context({"transfer_targets": {"a": extension}}, CompanyContext()).transfer_targets == {"a": extension}


@pytest.mark.parametrize("extension", ["", "1,2", "${EXTEN}", "a b", "x" * 41, 2001, "1\n"])
def test_extensions_that_could_mean_more_to_it(extension: object) -> None:
    assert parse_context({"transfer_targets": {"a": extension}}, CompanyContext()).transfer_targets == {}
