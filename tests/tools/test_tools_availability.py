"""`check_availability` against the real back office, and against APIs that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.call.company import CompanyContext
from agent.office.api import office_app
from agent.office.seed import LONDON_PLUMBER
from agent.office.store import OfficeStore
from agent.tools import availability
from agent.tools.call_control import standard_tools
from agent.tools.registry import Endpoints, ToolContext, ToolResult

COMPANY = CompanyContext(company_name="Thames Plumbing", caller_id="+447700900123")
QUESTION = {"postcode": "sw4 7dq", "urgency": "standard"}


@asynccontextmanager
async def a_context(app: web.Application, key: str = "right") -> AsyncIterator[ToolContext]:
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        endpoints = Endpoints("", key, str(server.make_url("/check_availability")))
        yield ToolContext("call-1", COMPANY, http, endpoints, did_number="+442079460123")


async def ask(context: ToolContext, **changes: Any) -> ToolResult:
    return await standard_tools().run("check_availability", json.dumps(QUESTION | changes), context)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[web.Application]:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        await store.add_company(replace(LONDON_PLUMBER, areas=("SW",)))
        yield office_app(store, api_key="right")


async def test_the_offices_answer_reaches_the_llm(office: web.Application) -> None:
    async with a_context(office) as context:
        result = await ask(context)
        assert result.ok
        assert json.loads(result.content) == {
            "available": True, "from_minutes": 30, "to_minutes": 60, "arrival": "within thirty minutes to an hour",
        }  # fmt: skip
        outside = await ask(context, postcode="M14 6BT", urgency="emergency")
        assert json.loads(outside.content) == {
            "available": False, "reason": "the postcode is outside the area that is served",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"postcode": "M14"}, "no full UK postcode"),
        ({"postcode": " "}, "postcode is empty"),
        ({"postcode": "SW4 7DQ' OR '1'='1"}, "longer than 16"),
        ({"urgency": "now"}, "'now' is not one of"),
        ({"more": 1}, "unexpected"),
    ],
)
async def test_bad_arguments_are_told_and_ask_nobody(changes: dict[str, Any], why: str) -> None:
    async with a_context(web.Application()) as context:
        broken = replace(context, http=None)  # type: ignore[arg-type]
        assert why in json.loads((await ask(broken, **changes)).content)["error"]


async def test_a_wrong_key_is_no_answer(office: web.Application) -> None:
    async with a_context(office, key="wrong") as context:
        assert json.loads((await ask(context)).content) == {"error": availability.UNKNOWN}


@pytest.mark.parametrize(
    ("answers", "asked", "ok"),
    [
        ([web.Response(status=503), web.json_response({"available": True})], 2, True),
        ([web.Response(status=429), web.Response(status=503)], 2, False),
        ([web.Response(status=404)], 1, False),
        ([web.json_response({"status": "ok"})], 1, False),
        ([web.Response(body=b"{" * 100)], 1, False),
        ([web.Response(body=b" " * 70_000), web.json_response({"available": False})], 2, True),
        ([web.Response(status=307, headers={"Location": "/other"})], 1, False),
    ],
)
async def test_apis_that_misbehave(answers: list[web.Response], asked: int, ok: bool) -> None:
    seen: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, await request.json(), request.headers["X-API-Key"]))
        return answers[len(seen) - 1]

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with a_context(app) as context:
        result = await ask(context)
    assert result.ok is ok
    assert ok or json.loads(result.content) == {"error": availability.UNKNOWN}
    body = {
        "postcode": "SW4 7DQ",
        "urgency": "standard",
        "did_number": "+442079460123",
        "company_name": COMPANY.company_name,
    }
    assert seen == [("/check_availability", body, "right")] * asked


async def test_only_short_fields_reach_the_llm_and_an_error_is_bounded() -> None:
    answers = [
        web.json_response({"available": True, "arrival": "at two", "notes": "x" * 5000, "deep": {"a": 1}}),
        web.json_response({"error": "y" * 5000}, status=400),
    ]

    async def answer(_request: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    app = web.Application()
    app.router.add_post("/check_availability", answer)
    async with a_context(app) as context:
        assert json.loads((await ask(context)).content) == {"available": True, "arrival": "at two"}
        assert len((await ask(context)).content) < 400


async def test_one_that_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "ATTEMPT_SECONDS", 0.1)
    go_on = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/check_availability", hang)
    async with a_context(app) as context:
        result = await ask(context)
        go_on.set()
    assert json.loads(result.content) == {"error": availability.UNKNOWN}


async def test_it_acts_upon_nothing() -> None:
    assert not standard_tools().acts("check_availability")
