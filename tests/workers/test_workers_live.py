"""Looking at, listening in to, ending and transferring calls of several real processes: the console, and `/live`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from agent.office.console.app import console_app
from agent.office.console.parts import ConsoleParts
from agent.office.passwords import Passwords
from agent.office.scope import Scope
from agent.office.users import Users
from tests.console.conftest import CHEAP, PASSWORD, Browser
from tests.console.test_console_live import JSON, stream_of

if TYPE_CHECKING:
    from agent.workers.supervisor import Supervisor
    from tests.workers.conftest import Crew, Crews, Line


@asynccontextmanager
async def console_of(agent: Supervisor) -> AsyncIterator[Browser]:
    """The browser of an operator of the company that is rung, on a console as the supervisor has it."""
    store = agent.store
    store.users = Users(store._engine, Passwords(CHEAP))
    ids = {name: number for number, name in (await store.companies.names(Scope.all())).items()}
    await store.users.add("plumber", PASSWORD, "operator", [ids["Thames Plumbing"]])
    server = TestServer(console_app(ConsoleParts(store, agent.settings, live=agent.live)), host="127.0.0.1")
    async with TestClient(server) as client:
        browser = Browser(client)
        async with await browser.log_in("plumber") as answer:
            assert answer.status == 303
        yield browser


async def one_each(crew: Crew) -> dict[int, Line]:
    """A call on each of two workers, by the worker's number."""
    lines: dict[int, Line] = {}
    while len(lines) < 2:  # calls go to whoever has fewer, but nobody says who has the first two
        line = await crew.connect()
        await crew.until(lambda line=line: crew.worker_of(line) is not None)  # type: ignore[misc]
        worker = crew.worker_of(line)
        assert worker is not None
        lines[worker.number] = line
        assert len(crew.agent.live) < 20
    return lines


async def test_calls_of_all_workers_are_seen_heard_ended_and_transferred(a_crew: Crews) -> None:
    async with a_crew() as crew, console_of(crew.agent) as browser:
        lines = await one_each(crew)
        uuids = {number: str(line.call) for number, line in lines.items()}
        stream, token = await stream_of(browser)
        await stream.until(lambda seen: {*uuids.values()} <= {*seen.calls})
        await stream.until(lambda seen: all("Thames" in seen.calls[uuid]["agent"] for uuid in uuids.values()))
        async with await browser.post("/live/meter", {"stream": token, "calls": ",".join(uuids.values())}) as answer:
            assert answer.status == 204
        one, two = sorted(uuids)
        await heard_of(browser, uuids[two])
        async with await browser.post(f"/live/{uuids[one]}/transfer", {"target": "office"}, headers=JSON) as answer:
            assert answer.status == 200
        await stream.until(lambda seen: seen.loudest[1] > 500, 30)
        async with await browser.post(f"/live/{uuids[two]}/end", headers=JSON) as answer:
            assert answer.status == 200
        await stream.until(lambda seen: {*uuids.values()} <= {*seen.gone}, 30)
        for number, verdict in ((one, "transfer 2001"), (two, "hangup")):
            record = await crew.record_of(lines[number].call)
            assert record.verdict == verdict
            assert [mark.detail.split()[-1] for mark in record.marks if mark.what == "operator"] == ["plumber"]
        async with await browser.post(f"/live/{uuids[two]}/end", headers=JSON) as answer:
            assert answer.status == 404
        stream.response.close()


async def heard_of(browser: Browser, uuid: str) -> None:
    """A second of a call's sound, and then no more."""
    origin = str(browser.client.make_url("/")).rstrip("/")
    socket = await browser.client.ws_connect(f"/live/{uuid}/listen", headers={"Origin": origin})
    rate = json.loads(await socket.receive_str())["rate"]
    pcm = b""
    async with asyncio.timeout(20):
        while len(pcm) < 4 * rate:
            message = await socket.receive()
            assert message.type is WSMsgType.BINARY, message
            pcm += message.data
    await socket.close()


async def test_a_worker_that_is_killed_takes_its_calls_off_the_page(a_crew: Crews) -> None:
    async with a_crew() as crew, console_of(crew.agent) as browser:
        lines = await one_each(crew)
        stream, _ = await stream_of(browser)
        await stream.until(lambda seen: len(seen.calls) == len(crew.agent.live) >= 2)
        dies, stays = crew.workers[0], crew.workers[1]
        origin = str(browser.client.make_url("/")).rstrip("/")
        listens = await browser.client.ws_connect(f"/live/{lines[dies.number].call}/listen", headers={"Origin": origin})
        await listens.receive_str()
        os.kill(dies.pid, signal.SIGKILL)
        await stream.until(lambda seen: str(lines[dies.number].call) in seen.gone, 10)
        async with asyncio.timeout(10):
            while (await listens.receive()).type is WSMsgType.BINARY:
                pass
        await lines[stays.number].goes_on()
        page = await page_of(crew)
        assert {call["worker"] for call in page["calls"]} == {stays.number}
        assert {call["uuid"] for call in page["calls"]} >= {str(lines[stays.number].call)}
        stream.response.close()


async def page_of(crew: Crew) -> dict[str, Any]:
    await asyncio.sleep(0.3)  # a page is as fresh as that
    status, page = await crew.page("/live")
    assert status == 200
    assert isinstance(page, dict)
    return page


async def test_top_shows_the_calls_of_all_workers(a_crew: Crews) -> None:
    async with a_crew() as crew:
        lines = await one_each(crew)
        await crew.until(lambda: all(worker.state == "serving" for worker in crew.workers))
        page = await page_of(crew)
        told = {call["uuid"]: call["worker"] for call in page["calls"]}
        assert {told[str(line.call)]: number for number, line in lines.items()} == {1: 1, 2: 2}
        assert [worker["number"] for worker in page["workers"]] == [1, 2]
        pids = {worker.number: worker.pid for worker in crew.workers}
        assert {worker["number"]: worker["pid"] for worker in page["workers"]} == pids
        assert page["vendors"]["tts cartesia"]["state"] == "closed"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "top", f"127.0.0.1:{crew.agent.http_port}", "--once"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        text = out.decode()
        assert process.returncode == 0
        assert "# workers  1 " in text
        for number, line in lines.items():
            assert f"{line.call}  {number}  " in text
