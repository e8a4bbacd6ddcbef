"""The dialplan's questions by HTTP, asked as `CURL()` asks them and as nobody should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from agent.telephony import CallInfo, CallRegistry, Desk, DialplanHttp, Verdict


async def room(info: CallInfo) -> bool:
    return True


class Client:
    """What `CURL()` does."""

    def __init__(self, base: str, pages: DialplanHttp, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.pages = pages
        self.session = session

    async def start(self, body: bytes | str = b"") -> tuple[int, str]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.session.post(f"{self.base}/start", data=body, headers=headers) as response:
            assert response.content_type == "text/plain"
            return response.status, await response.text()

    async def transferred(self, call: object, body: str) -> tuple[int, str]:
        async with self.session.post(f"{self.base}/transferred/{call}", data=body) as response:
            return response.status, await response.text()

    async def next(self, call: object) -> tuple[int, str]:
        async with self.session.get(f"{self.base}/next/{call}") as response:
            assert response.content_type == "text/plain"
            return response.status, await response.text()


@asynccontextmanager
async def client(
    registry: CallRegistry,
    on_start: Callable[[CallInfo], Awaitable[bool]] = room,
    max_requests: int = 4,
    on_missed: Callable[[UUID, str], None] | None = None,
) -> AsyncIterator[Client]:
    pages = DialplanHttp(
        Desk(registry, on_start, on_missed=on_missed, start_timeout_s=0.2, verdict_wait_s=0.1),
        max_requests=max_requests,
        request_timeout_s=0.2,
    )
    app = web.Application()
    pages.add_pages(app)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            yield Client(f"http://127.0.0.1:{runner.addresses[0][1]}", pages, session)
    finally:
        await runner.cleanup()


async def test_start_announces_the_call() -> None:
    registry = CallRegistry()
    async with client(registry) as asterisk:
        status, answer = await asterisk.start(
            "did=02012345678&caller_id=07700900123&caller_name=Ann%20Example&presentation=allowed_not_screened"
            "&unique_id=1700000000.2&linked_id=1700000000.1&channel=PJSIP%2Ftrunk-00000001"
        )
        assert (status, answer[:3]) == (200, "OK ")
        info = await registry.claim(UUID(answer[3:]))
        assert info is not None
        assert (info.did, info.caller_id, info.caller_name) == ("02012345678", "07700900123", "Ann Example")
        assert (info.unique_id, info.linked_id) == ("1700000000.2", "1700000000.1")
        assert (info.channel, info.source) == ("PJSIP/trunk-00000001", "http")
        assert asterisk.pages.counters == {"start_ok": 1}


async def test_start_takes_the_dialplan_s_uuid() -> None:
    registry, call = CallRegistry(), uuid4()
    async with client(registry) as asterisk:
        assert await asterisk.start(f"uuid={str(call).upper()}&uuid={uuid4()}") == (200, f"OK {call}")
        assert await asterisk.start("uuid={12}") == (400, "ERROR")
    assert registry.announced == 1


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Ann%0Aagi_callerid:%201%0D%0A%0D%0A", "Ann agi_callerid: 1"),
        ("%22%3b%20EXEC%20%5C%20%C3%9Cnal%20%F0%9F%99%82%09%28x%29%00", '"; EXEC \\ Ünal 🙂 (x)'),
        ("M%FCller", "M\ufffdller"),
        ("x" * 3000, "x" * 128),
    ],
)
async def test_any_name_is_one_safe_line(raw: str, name: str) -> None:
    registry = CallRegistry()
    async with client(registry) as asterisk:
        _, answer = await asterisk.start(f"did=1&caller_name={raw}&did=2&presentation=prohib")
    info = await registry.claim(UUID(answer[3:]))
    assert info is not None
    assert (info.did, info.caller_name) == ("1", name)


async def test_a_withheld_number_is_not_kept() -> None:
    registry = CallRegistry()
    async with client(registry) as asterisk:
        _, answer = await asterisk.start("caller_id=07700900123&presentation=prohib_passed_screen")
    info = await registry.claim(UUID(answer[3:]))
    assert info is not None
    assert info.caller_id == ""


@pytest.mark.parametrize("asked", ["no", "late", "broken"])
async def test_no_room_is_said_and_nothing_stays(asked: str) -> None:
    async def on_start(info: CallInfo) -> bool:
        if asked == "late":
            await asyncio.sleep(5)
        if asked == "broken":
            raise RuntimeError("no database")
        return False

    registry = CallRegistry()
    async with client(registry, on_start) as asterisk:
        assert await asterisk.start("did=1") == (200, "FULL" if asked == "no" else "ERROR")
    assert registry.announced == 0


@pytest.mark.parametrize(
    ("verdict", "status", "text"),
    [
        (Verdict("transfer", "2001"), 200, "transfer 2001"),
        (Verdict("menu"), 200, "menu"),
        (Verdict("hangup"), 200, "hangup"),
        (None, 404, "unknown"),
    ],
)
async def test_next_answers_with_the_verdict(verdict: Verdict | None, status: int, text: str) -> None:
    registry, call = CallRegistry(), uuid4()
    await registry.opened(call)
    if verdict:
        await registry.decide(call, verdict)
    async with client(registry) as asterisk:
        assert await asterisk.next(call) == (status, text)
        assert await asterisk.next("nonsense") == (404, "unknown")
        assert await asterisk.next(f"{call}%0A") == (404, "unknown")


async def test_what_is_too_much_is_refused_and_counted() -> None:
    registry = CallRegistry()
    async with client(registry) as asterisk:
        assert await asterisk.start("did=" + "1" * 9000) == (413, "ERROR")
        assert await asterisk.start("a=1&" * 40) == (400, "ERROR")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(asterisk.base.rsplit(":", 1)[1]))
        writer.write(b"POST /start HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ndid=")
        async with asyncio.timeout(2):
            assert b" 408 " in await reader.readline()
        writer.close()
        assert asterisk.pages.counters == {"refused_body": 2, "refused_timeout": 1}
    assert registry.announced == 0


async def test_so_many_requests_at_once_and_no_more() -> None:
    registry, call = CallRegistry(), uuid4()
    await registry.opened(call)  # it has not decided yet: each question waits
    async with client(registry, max_requests=2) as asterisk:
        answers = await asyncio.gather(*(asterisk.next(call) for _ in range(3)))
        assert sorted(answers) == [(404, "unknown"), (404, "unknown"), (503, "ERROR")]
        assert asterisk.pages.counters["refused_requests"] == 1


async def test_a_transfer_that_nobody_answered_is_told() -> None:
    call, missed = uuid4(), list[tuple[UUID, str]]()
    async with client(CallRegistry(), on_missed=lambda uuid, status: missed.append((uuid, status))) as asterisk:
        assert await asterisk.transferred(call, "dial=BUSY&queue=&abandoned=") == (200, "missed")
        assert await asterisk.transferred(call, "dial=&queue=JOINEMPTY&abandoned=") == (200, "missed")
        assert await asterisk.transferred(call, "dial=ANSWER&queue=&abandoned=") == (200, "answered")
        assert await asterisk.transferred("x", "dial=BUSY") == (404, "unknown")
        assert await asterisk.transferred(call, "x" * 9000) == (413, "ERROR")
        assert asterisk.pages.counters["transferred_missed"] == 2
    assert missed == [(call, "BUSY"), (call, "JOINEMPTY")]
