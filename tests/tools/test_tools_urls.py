"""Tools by URL: what is sent, what comes back, and that what the LLM says is only ever a body or a query value."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.call.company import CompanyContext
from agent.tools import ToolContext, ToolResult
from agent.tools.registry import Endpoints, ToolRegistry
from agent.tools.urls import UrlTool, url_tool

COMPANY = CompanyContext(company_name="Acme", caller_id="+447700900123")
TEXT = {"type": "string"}


class Api:
    """Answers what it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answer: web.StreamResponse | Exception = web.json_response({"price": 12})
        self.asked: list[tuple[web.Request, bytes]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request, await request.read()))
        if isinstance(self.answer, Exception):
            raise self.answer
        answer, self.answer = self.answer, web.json_response({"price": 12})
        return answer


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    async with TestServer(app) as server:
        api.url = str(server.make_url("/look/up"))
        yield api


@pytest.fixture
async def context() -> AsyncIterator[ToolContext]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield ToolContext("call-1", COMPANY, http, Endpoints("", ""), did_number="+442079460123")


def declared(url: str, **more: Any) -> UrlTool:
    return UrlTool.model_validate({"description": "Look it up", "url": url, "parameters": {"item": TEXT}} | more)


async def run(one: UrlTool, arguments: dict[str, Any], context: ToolContext, **env: str) -> ToolResult:
    return await ToolRegistry([url_tool("look", one, env)]).run("look", json.dumps(arguments), context)


async def test_a_post_has_the_arguments_as_its_body(api: Api, context: ToolContext) -> None:
    one = declared(api.url + "?v=2", headers={"Authorization": "Bearer ${SHOP_KEY}", "X-Kind": "voice"})
    result = await run(one, {"item": "tap"}, context, SHOP_KEY="s3cret")
    ((request, body),) = api.asked
    assert (request.method, request.path_qs, json.loads(body)) == ("POST", "/look/up?v=2", {"item": "tap"})
    assert (request.headers["Authorization"], request.headers["X-Kind"]) == ("Bearer s3cret", "voice")
    assert json.loads(result.content) == {"price": 12}
    assert (result.ok, result.effect) == (True, None)


async def test_a_get_has_them_as_its_query(api: Api, context: ToolContext) -> None:
    parameters = {
        "item": TEXT,
        "many": {"type": "array", "items": {"type": "integer"}},
        "sure": {"type": "boolean"},
        "more": TEXT,
    }
    one = declared(api.url + "?v=2", method="GET", parameters=parameters, optional=["more"])
    assert (await run(one, {"item": "a&b=c#d?e/f+g %41", "many": [1, 2], "sure": True}, context)).ok
    ((request, body),) = api.asked
    assert (request.method, request.path, body) == ("GET", "/look/up", b"")
    assert list(request.query.items()) == [
        ("v", "2"), ("item", "a&b=c#d?e/f+g %41"), ("many", "1"), ("many", "2"), ("sure", "true"),
    ]  # fmt: skip


async def test_what_acts_carries_a_key_that_tells_a_repetition(api: Api, context: ToolContext) -> None:
    post, get, harmless = declared(api.url), declared(api.url, method="GET"), declared(api.url, acts=False)
    assert [url_tool("look", one, {}).acts for one in (post, get, harmless)] == [True, False, False]
    for one, item in ((post, "a"), (post, "a"), (post, "b"), (get, "a"), (harmless, "a")):
        await run(one, {"item": item}, context)
    keys = [request.headers.get("Idempotency-Key") for request, _ in api.asked]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3:] == [None, None]


async def test_the_call_is_sent_where_that_is_asked_for(api: Api, context: ToolContext) -> None:
    await run(declared(api.url, send_call=True), {"item": "tap"}, context)
    assert json.loads(api.asked[0][1])["call"] == {
        "uuid": "call-1", "caller_id": "+447700900123", "did_number": "+442079460123", "company_name": "Acme",
    }  # fmt: skip


async def test_an_effect_comes_of_a_success_only(api: Api, context: ToolContext) -> None:
    one = declared(api.url, effect="booked")
    api.answer = web.json_response({"booking_id": "B7"}, status=201)
    result = await run(one, {"item": "x"}, context)
    assert (result.effect, result.data["booking_id"]) == ("booked", "B7")
    api.answer = web.json_response({"error": "no such item"}, status=404)
    assert (await run(one, {"item": "x"}, context)).effect is None


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "ok", "content"),
    [
        (200, b'{"a": 1}', True, {"a": 1}),
        (200, b"[1, 2]", True, {"result": [1, 2]}),
        (200, b" plain ", True, {"result": "plain"}),
        (204, b"", True, {"result": "done"}),
        (200, b"\xff\xfe", True, {"result": "\ufffd\ufffd"}),
        (200, b"[" * 9000, True, None),
        (422, b'{"error": "which tap?"}', False, {"error": "nothing was done: which tap?"}),
        (401, b'{"error": "key s3cret is wrong"}', False, None),
        (500, b"<html>trace</html>", False, None),
        (302, b"", False, None),
    ],
)
async def test_what_the_llm_reads_of_an_answer(
    api: Api, context: ToolContext, status: int, body: bytes, ok: bool, content: Any
) -> None:
    api.answer = web.Response(status=status, body=body)
    result = await run(declared(api.url), {"item": "x"}, context)
    assert result.ok is ok
    assert content is None or json.loads(result.content) == content
    assert "s3cret" not in result.content
    assert "trace" not in result.content


async def test_a_redirect_is_not_followed(api: Api, context: ToolContext) -> None:
    api.answer = web.Response(status=307, headers={"Location": "/elsewhere"})
    result = await run(declared(api.url, headers={"X-Key": "secret"}), {"item": "x"}, context)
    assert not result.ok
    assert [request.path for request, _ in api.asked] == ["/look/up"]


async def test_an_answer_without_end_is_cut_off(api: Api, context: ToolContext) -> None:
    api.answer = web.Response(body=b"a" * 20_000)
    assert "cannot be reached" in (await run(declared(api.url), {"item": "x"}, context)).content


async def test_one_that_is_slow_or_gone(api: Api, context: ToolContext, unused_tcp_port: int) -> None:
    go_on = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", slowly)
    async with TestServer(app) as server:
        slow = declared(str(server.make_url("/")), timeout_s=0.1)
        assert "took longer than 0.1 s" in (await run(slow, {"item": "x"}, context)).content
        go_on.set()
    gone = declared(f"http://127.0.0.1:{unused_tcp_port}/")
    assert "cannot be reached" in (await run(gone, {"item": "x"}, context)).content


# ---- what the LLM may send ------------------------------------------------------------------------------------------

HOSTILE = [
    "../../admin", "//evil.example/", "http://evil.example", "x@evil.example", "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1",
    "?admin=1", "#x", "%2e%2e%2f", "{item}", "${SHOP_KEY}", "'; DROP TABLE x; --", "🦷\u202e\u2028", "&item=2",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_a_value_and_nothing_else(api: Api, context: ToolContext, method: str, text: str) -> None:
    one = declared(api.url, method=method, headers={"X-Key": "${SHOP_KEY}"})
    assert (await run(one, {"item": text}, context, SHOP_KEY="k")).ok
    ((request, body),) = api.asked
    assert (request.method, request.path) == (method, "/look/up")
    assert "X-Evil" not in request.headers
    assert request.headers["X-Key"] == "k"
    given = list(request.query.items()) if method == "GET" else list(json.loads(body).items())
    assert given == [("item", text)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60))
async def test_any_text_comes_out_of_the_query_as_it_went_in(text: str) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    class Http:
        def request(self, method: str, url: Any, **_more: Any) -> Any:
            seen.append((url.path, dict(url.query)))
            assert re.fullmatch(r"/look\?[!-~]*", url.raw_path_qs)
            raise aiohttp.ClientConnectionError

    context = ToolContext("c", COMPANY, Http(), Endpoints("", ""))  # type: ignore[arg-type]
    await run(declared("https://shop.example/look", method="GET"), {"item": text}, context)
    assert seen == [("/look", {"item": text})]


async def test_an_argument_of_another_name_never_leaves(api: Api, context: ToolContext) -> None:
    result = await run(declared(api.url), {"item": "x", "url": "http://evil.example", "headers": "y"}, context)
    assert "was unexpected" in result.content or "were unexpected" in result.content
    assert api.asked == []


# ---- the declaration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": "ftp://x/y"}, "must begin with https://"),
        ({"url": "file:///etc/passwd"}, "must begin with https://"),
        ({"url": "/look"}, "must begin with https://"),
        ({"url": "https://jo:pw@x/"}, "no user or password"),
        ({"url": "https://x/{item}"}, "arguments cannot stand in a URL"),
        ({"url": "https://x/a b"}, "arguments cannot stand in a URL"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "X-A holds line ends"),
        ({"headers": {"X A": "a"}}, "'X A' is no header's name"),
        (
            {"headers": {"X-A": "Bearer $SHOP_KEY"}},
            "has $SHOP_KEY, which would be sent as it stands: write ${SHOP_KEY}",
        ),
        (
            {"headers": {"X-A": "Bearer {SHOP_KEY}"}},
            "has {SHOP_KEY}, which would be sent as it stands: write ${SHOP_KEY}",
        ),
        ({"headers": {"X-A": "${A}:$(B)"}}, "X-A has $(B), which would be sent as it stands: write ${B}"),
        ({"headers": {"X-A": "${shop-key}"}}, "X-A has ${shop-key}, which would be sent as it stands: write ${NAME}"),
        ({"headers": {"Host": "evil"}}, "Host is set by the request itself"),
        ({"optional": ["other"]}, "optional names other"),
        ({"method": "GET", "send_call": True}, "send_call needs method POST"),
        ({"method": "GET", "parameters": {"item": {"type": "object"}}}, "a query has only string"),
        ({"send_call": True, "parameters": {"call": TEXT}}, "no parameter can be named call"),
        ({"timeout_s": 31}, "less than or equal to 30"),
        ({"method": "DELETE"}, "'POST' or 'GET'"),
        ({"parameters": {"a b": TEXT}}, "pattern"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        declared(**{"url": "https://shop.example/", **changes})
    assert why in str(caught.value)


def test_a_secret_that_is_missing_or_unfit_is_named() -> None:
    one = declared("https://shop.example/", headers={"X-Key": "${SHOP_KEY}"})
    for environment in ({}, {"SHOP_KEY": ""}):
        with pytest.raises(ValueError, match=r"headers\.X-Key needs SHOP_KEY"):
            url_tool("look", one, environment)
    with pytest.raises(ValueError, match="line ends") as caught:
        url_tool("look", one, {"SHOP_KEY": "s3cret\nX-Evil: 1"})
    assert "s3cret" not in str(caught.value)
