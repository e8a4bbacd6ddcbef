"""Running calls in the console: a real call in the events of a browser, its sound, and who may do what to it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from agent.call import live as live_calls
from agent.office.console import live as live_page
from agent.office.console.app import console_app
from agent.office.console.parts import ConsoleParts
from agent.office.console.port import console_port
from agent.office.passwords import Passwords
from agent.office.scope import Scope
from agent.office.users import Users
from agent.ops.http import HttpLimits
from tests.agent.conftest import Rig, RigMaker, a_rig, agent_settings, vendors, voice
from tests.console.conftest import CHEAP, PASSWORD, Browser

__all__ = ["a_rig", "agent_settings", "vendors", "voice"]  # the emulated vendors and the agent, for calls that are real


@dataclass
class Console:
    """An agent with a console. `plumber` is an operator of the company that is rung, `spark` of the other one."""

    rig: Rig
    server: TestServer
    clients: list[TestClient[Any, Any]] = field(default_factory=list)

    async def browser(self, user: str) -> Browser:
        client: TestClient[Any, Any] = TestClient(self.server)
        self.clients.append(client)
        browser = Browser(client)
        async with await browser.log_in(user) as answer:
            assert answer.status == 303
        return browser

    async def call(self, script: str = "wait: 30s", **changes: Any) -> live_calls.LiveCall:
        """A call that is under way, answered and greeted."""
        plan = self.rig.plan(patience_s=20.0, quiet_s=0.4, **changes)
        self.dialled = asyncio.create_task(self.rig.dial(script, plan))
        await self.rig.until(lambda: (call := self.rig.agent.live.get(str(plan.call))) and call.company, 10)
        call = self.rig.agent.live.get(str(plan.call))
        assert call is not None
        return call

    async def over(self, call: live_calls.LiveCall) -> None:
        await call.end("the test")
        await self.dialled
        await self.rig.until(lambda: not len(self.rig.agent.live), 10)


@pytest.fixture
async def console(a_rig: RigMaker) -> AsyncIterator[Console]:
    async with a_rig() as rig:
        store = rig.store
        store.users = Users(store._engine, Passwords(CHEAP))
        ids = {name: number for number, name in (await store.companies.names(Scope.all())).items()}
        await store.users.add("plumber", PASSWORD, "operator", [ids["Thames Plumbing"]])
        await store.users.add("spark", PASSWORD, "operator", [ids["Northern Spark Electrical"]])
        await store.users.add("looker", PASSWORD, "viewer", [ids["Thames Plumbing"]])
        await store.users.add("boss", PASSWORD, "admin", [])
        parts = ConsoleParts(store, rig.agent.settings, live=rig.agent.live)
        server = TestServer(console_app(parts), host="127.0.0.1")
        await server.start_server()
        running = Console(rig, server)
        yield running
        for client in running.clients:
            await client.session.close()
        await server.close()


class Stream:
    """Server-sent events, as a browser reads them."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.calls: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str, int]] = []
        self.loudest = [0, 0]
        self.gone: list[str] = []

    async def event(self) -> tuple[str, Any]:
        """The next one; raises EOFError at the end of the stream."""
        name, data = "message", ""
        async for raw in self.response.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data += line[6:]
            elif not line and data:
                told = json.loads(data)
                self._take(name, told)
                return name, told
        raise EOFError

    def _take(self, name: str, told: Any) -> None:
        if name == "calls":
            for call in told["calls"]:
                self.calls[call["uuid"]] = call
                self.seen.append((call["doing"], call["steps"][call["step"]] if call["steps"] else "", call["turns"]))
            for uuid in told["gone"]:
                del self.calls[uuid]
                self.gone.append(uuid)
        elif name == "levels":
            for caller, agent in told.values():
                self.loudest = [max(self.loudest[0], caller), max(self.loudest[1], agent)]

    async def until(self, condition: Callable[[Stream], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition(self):
                await self.event()


async def stream_of(browser: Browser) -> tuple[Stream, str]:
    """The browser's stream, and its token."""
    response = await browser.get("/live/events", headers={"Accept": "text/event-stream"})
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"] == "text/event-stream"
    stream = Stream(response)
    name, hello = await stream.event()
    assert name == "hello"
    return stream, hello["stream"]


async def refused(answer: Any) -> tuple[int, str]:
    async with answer:
        return answer.status, (await answer.json())["error"]


JSON = {"Accept": "application/json"}


async def test_a_call_is_followed_from_ring_to_end(console: Console) -> None:
    console.rig.voice.char_ms = 20
    browser = await console.browser("plumber")
    stream, token = await stream_of(browser)
    name, told = await stream.event()
    assert (name, told) == ("calls", {"calls": [], "gone": [], "whole": True})
    call = await console.call("say: My tap leaks\nsay: Yes that's fine\nhangup")
    await stream.until(lambda seen: seen.calls)
    first = stream.calls[call.uuid]
    assert first["company"] == "Thames Plumbing" or first["doing"] == "greeting"
    await stream.until(lambda seen: seen.calls[call.uuid]["company"])
    first = stream.calls[call.uuid]
    assert (first["number"], first["line"], first["targets"]) == ("07700 900123", "020 7946 0123", ["office"])
    async with await browser.post("/live/meter", {"stream": token, "calls": f"{call.uuid},{uuid4()}"}) as answer:
        assert answer.status == 204
    await stream.until(lambda seen: seen.gone == [call.uuid], 40)
    doings, steps = {doing for doing, _, _ in stream.seen}, list(dict.fromkeys(step for _, step, _ in stream.seen))
    assert {"greeting", "speaking", "listening"} <= doings
    assert [step for step in steps if step][:3] == ["Greeting", "Problem", "Quote"]
    assert max(turns for _, _, turns in stream.seen) == 3
    assert min(stream.loudest) > 500, "both sides were heard in the meters"
    await console.dialled
    stream.response.close()


async def test_another_companys_calls_are_not_there(console: Console) -> None:
    """No event, no sound, no end, no transfer: for who may not see it the call does not exist."""
    call = await console.call()
    browser = await console.browser("spark")
    stream, token = await stream_of(browser)
    assert await stream.event() == ("calls", {"calls": [], "gone": [], "whole": True})
    async with await browser.post("/live/meter", {"stream": token, "calls": call.uuid}) as answer:
        assert answer.status == 204
    for path, data in ((f"/live/{call.uuid}/end", {}), (f"/live/{call.uuid}/transfer", {"target": "office"})):
        assert (await refused(await browser.post(path, data, headers=JSON)))[0] == 404
    assert (await refused(await browser.get(f"/live/{call.uuid}/listen", headers=JSON)))[0] == 404
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await stream.event()
    assert call.doing != "ending"
    stream.response.close()
    await console.over(call)


async def test_nobody_meters_through_another_ones_stream(console: Console) -> None:
    call = await console.call()
    stream, token = await stream_of(await console.browser("plumber"))
    other = await console.browser("boss")
    answer = await other.post("/live/meter", {"stream": token, "calls": call.uuid}, headers=JSON)
    assert (await refused(answer))[0] == 404
    assert console.server.app[live_page.TOLD][token][1].metered == frozenset()
    stream.response.close()
    await console.over(call)


async def test_an_operator_ends_a_call_and_the_record_says_who(console: Console) -> None:
    call = await console.call()
    browser = await console.browser("plumber")
    async with await browser.post(f"/live/{call.uuid}/end", headers=JSON) as answer:
        assert (answer.status, await answer.json()) == (200, {"ends": True})
    await console.rig.until(lambda: call.doing == "ending", 5)
    assert await refused(await browser.post(f"/live/{call.uuid}/end", headers=JSON)) == (
        409, "This call is ending already.",
    )  # fmt: skip
    await console.dialled
    async with asyncio.timeout(10):
        record = await console.rig._record(UUID(call.uuid))
    assert [mark.detail for mark in record.marks if mark.what == "operator"] == ["end by plumber"]
    assert (await refused(await browser.post(f"/live/{call.uuid}/end", headers=JSON)))[0] == 404


async def test_a_transfer_goes_to_the_companys_own_targets_alone(console: Console) -> None:
    call = await console.call()
    browser = await console.browser("plumber")
    for target in ("", "2001", "cellar"):
        answer = await browser.post(f"/live/{call.uuid}/transfer", {"target": target}, headers=JSON)
        assert (await refused(answer))[0] == 400
    async with await browser.post(f"/live/{call.uuid}/transfer", {"target": "office"}, headers=JSON) as answer:
        assert answer.status == 200
    result = await console.dialled
    assert (result.verdict, result.verdict_target) == ("transfer", "2001")


async def test_a_viewer_looks_and_does_nothing(console: Console) -> None:
    call = await console.call()
    browser = await console.browser("looker")
    page = await browser.page("/")
    assert 'data-do="end"' not in page
    assert 'id="live-calls"' in page
    for what in ("end", "transfer"):
        assert (await refused(await browser.post(f"/live/{call.uuid}/{what}", {}, headers=JSON)))[0] == 403
    assert (await refused(await browser.get(f"/live/{call.uuid}/listen", headers=JSON)))[0] == 403
    stream, _ = await stream_of(browser)
    await stream.until(lambda seen: call.uuid in seen.calls)
    stream.response.close()
    await console.over(call)


async def test_nobody_without_a_session_sees_anything(console: Console) -> None:
    call = await console.call()
    client: TestClient[Any, Any] = TestClient(console.server)
    console.clients.append(client)
    for path in ("/live/events", f"/live/{call.uuid}/listen"):
        assert (await refused(await client.get(path, headers=JSON)))[0] == 401
    await console.over(call)


async def test_what_another_site_sends_is_refused(console: Console) -> None:
    call = await console.call()
    browser = await console.browser("plumber")
    async with browser.client.post(f"/live/{call.uuid}/end", headers=JSON) as answer:
        assert answer.status == 403, "without the token"
    foreign = {"Origin": "https://elsewhere.example", "Upgrade": "websocket", "Connection": "Upgrade", **JSON}
    assert (await refused(await browser.get(f"/live/{call.uuid}/listen", headers=foreign)))[0] == 403
    assert call.listeners == 0
    await console.over(call)


# ---- sessions that end, and limits ----------------------------------------------------------------------------------


@pytest.fixture
def asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "STILL_ALLOWED_S", 0.0)


@pytest.mark.usefixtures("asked_at_once")
@pytest.mark.parametrize("how", ["logged out", "other companies", "another role"])
async def test_a_stream_ends_with_what_its_session_may(console: Console, how: str) -> None:
    call = await console.call()
    browser = await console.browser("plumber")
    stream, _ = await stream_of(browser)
    await stream.until(lambda seen: call.uuid in seen.calls)
    socket = await listening(browser, call)
    await socket.receive_bytes()
    await change_user(console, how)
    with pytest.raises(EOFError):
        await stream.until(lambda seen: False, 10)
    async with asyncio.timeout(10):
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            pass
    assert socket.close_code == live_page.REFUSED
    assert message.extra == "Your session has ended."
    await console.rig.until(lambda: call.listeners == 0)
    await console.over(call)


async def change_user(console: Console, how: str) -> None:
    users = console.rig.store.users
    (user,) = [account for account in await users.list() if account.name == "plumber"]
    if how == "logged out":
        await users.log_out_everywhere(user.id)
    elif how == "other companies":
        await users.change(user.id, "operator", [])
    else:
        await users.change(user.id, "viewer", [])


async def test_so_many_pages_are_open_at_once(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "STREAMS_A_USER", 2)
    monkeypatch.setattr("agent.call.watching.WATCHERS", 3)
    browser, boss = await console.browser("plumber"), await console.browser("boss")
    streams = [(await stream_of(browser))[0] for _ in range(2)]
    answer = await browser.get("/live/events", headers=JSON)
    assert answer.headers["Retry-After"] == "30"
    assert (await refused(answer))[0] == 503
    streams.append((await stream_of(boss))[0])
    assert (await refused(await boss.get("/live/events", headers=JSON)))[0] == 503
    for stream in streams:
        stream.response.close()
    # Who has gone is noticed with the next thing that is sent.
    call = await console.call()
    await console.rig.until(lambda: not console.server.app[live_page.TOLD], 10)
    again, _ = await stream_of(browser)
    again.response.close()
    await console.over(call)


# ---- sound ----------------------------------------------------------------------------------------------------------


async def listening(browser: Browser, call: live_calls.LiveCall) -> ClientWebSocketResponse:
    origin = str(browser.client.make_url("/")).rstrip("/")
    socket = await browser.client.ws_connect(f"/live/{call.uuid}/listen", headers={"Origin": origin})
    assert json.loads(await socket.receive_str()) == {"rate": call.rate}
    return socket


async def test_a_call_is_heard_in_stereo_and_to_its_end(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "agent.console.audit")
    console.rig.voice.char_ms = 20
    call = await console.call("say: My tap leaks\nhangup")
    browser = await console.browser("plumber")
    socket = await listening(browser, call)
    assert call.listeners == 1
    pcm = bytearray()
    async with asyncio.timeout(40):
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            assert len(message.data) % 4 == 0
            pcm += message.data
    assert socket.close_code == 1000
    await console.rig.until(lambda: call.listeners == 0)
    samples = memoryview(pcm).cast("h")
    assert max(samples[0::2].tolist()) > 1000, "the caller, left"
    assert max(samples[1::2].tolist()) > 1000, "the agent, right"
    told = [record.getMessage() for record in caplog.records if record.name == "agent.console.audit"]
    assert told[0] == f"plumber: listens in to call {call.uuid}"
    assert told[-1].startswith(f"plumber: listened in to call {call.uuid} for ")
    await console.dialled


async def test_listeners_are_limited_and_told_why(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_calls, "LISTENERS_A_CALL", 1)
    call = await console.call()
    browser = await console.browser("plumber")
    first = await listening(browser, call)
    second = await browser.client.ws_connect(f"/live/{call.uuid}/listen")
    message = await second.receive()
    assert (message.type, message.data) == (WSMsgType.CLOSE, live_page.REFUSED)
    assert message.extra == "1 may listen to a call at once, 16 to all"
    await first.close()
    await console.rig.until(lambda: call.listeners == 0)
    third = await listening(browser, call)
    for _ in range(live_page.MOST_MESSAGES + 2):
        await third.send_str("x")
    async with asyncio.timeout(5):
        while (await third.receive()).type is WSMsgType.BINARY:
            pass
    await console.rig.until(lambda: call.listeners == 0)
    await console.over(call)


async def test_without_an_agent_the_page_says_so(a_rig: RigMaker) -> None:
    async with a_rig() as rig:
        rig.store.users = Users(rig.store._engine, Passwords(CHEAP))
        await rig.store.users.add("boss", PASSWORD, "admin", [])
        server = TestServer(console_app(ConsoleParts(rig.store, rig.agent.settings)), host="127.0.0.1")
        console = Console(rig, server)
        await server.start_server()
        browser = await console.browser("boss")
        page = await browser.page("/")
        assert "No agent runs in this process" in page
        assert 'href="/calls"' in page
        assert "live.js" not in page
        for path in ("/live/events", f"/live/{uuid4()}/listen"):
            assert (await refused(await browser.get(path, headers=JSON)))[0] == 404
        await console.clients[0].session.close()
        await server.close()


async def test_the_page_tells_how_to_ring_this_agent(console: Console) -> None:
    page = await (await console.browser("plumber")).page("/")
    assert "voice-agent call --did +442079460123" in page
    page = await (await console.browser("spark")).page("/")
    assert "+442079460123" not in page


async def test_what_lasts_may_last_at_the_consoles_own_port(a_rig: RigMaker) -> None:
    """An answer has a time limit there; events and sound are let on, and counted."""
    async with a_rig(console_port=0) as rig, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        rig.store.users = Users(rig.store._engine, Passwords(CHEAP))
        await rig.store.users.add("boss", PASSWORD, "admin", [])
        limits = HttpLimits(request_s=0.3, streams=4, streams_each=2)
        parts = ConsoleParts(rig.store, rig.agent.settings, live=rig.agent.live)
        async with console_port(parts, limits=limits) as port:
            async with http.get(f"{port.url}/login") as answer:
                found = re.search(r'<meta name="csrf" content="([^"]+)">', await answer.text())
            assert found is not None
            form = {"name": "boss", "password": PASSWORD, "_csrf": found[1]}
            await http.post(f"{port.url}/login", data=form, allow_redirects=False)
            console = Console(rig, TestServer(web.Application()))
            call = await console.call()
            events = Stream(await http.get(f"{port.url}/live/events", headers=JSON))
            socket = await http.ws_connect(f"{port.url}/live/{call.uuid}/listen")
            assert (await socket.receive()).type is WSMsgType.TEXT
            begun = time.monotonic()
            while time.monotonic() < begun + 4 * limits.request_s:
                assert (await socket.receive()).type is WSMsgType.BINARY
            second = await http.ws_connect(f"{port.url}/live/{call.uuid}/listen")
            assert (await second.receive()).extra == "You listen to too much at once: close another page."
            async with http.get(f"{port.url}/live/events", headers=JSON) as answer:
                assert answer.status == 429
            await console.over(call)
            await events.until(lambda seen: seen.gone == [call.uuid])
            await socket.close()
            events.response.close()
