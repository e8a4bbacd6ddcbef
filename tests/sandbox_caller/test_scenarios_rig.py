"""Around the scripted callers: calls that this host spoilt, the booking desk, what the LLM was asked, the table."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console

from agent.call.current import CALL_UUID
from agent.call.record import CallRecord, TurnRecord
from agent.providers.base import Finished, LlmEvent, Message, Text
from agent.sandbox.caller import CallResult
from agent.sandbox.scenarios.command import line_of, table_of
from agent.sandbox.scenarios.desk import BookingDesk
from agent.sandbox.scenarios.listening import NotedModel
from agent.sandbox.scenarios.reading import CallSetup, parse_caller
from agent.sandbox.scenarios.rig import AGAIN, STALL_MS, Outcome, fairly

CALLER = parse_caller("# odd\n[says]\nsay: a\n[expect]\nturns: 1\n", "home_services/odd.caller")


def outcome(late_ms: float, *faults: str) -> Outcome:
    result = CallResult(uuid.uuid4())
    result.wire.late_ms = late_ms
    return Outcome(CALLER, list(faults), CallRecord("u", turns=[TurnRecord("a", 0)]), result)


async def made(*outcomes: Outcome) -> tuple[Outcome, int]:
    left = list(outcomes)

    async def call() -> Outcome:
        return left.pop(0)

    return await fairly(call), len(outcomes) - len(left)


async def test_a_call_that_this_host_spoilt_is_made_again() -> None:
    last, calls = await made(outcome(900, "x"), outcome(400, "y"), outcome(20))
    assert (last.passed, calls, last.stalls_before_ms) == (True, 3, [900, 400])
    assert "called again: this host stood still for 900 ms, 400 ms" in line_of(last)


async def test_a_call_that_failed_by_itself_is_not_made_again() -> None:
    last, calls = await made(outcome(STALL_MS - 1, "x"), outcome(0))
    assert (last.passed, calls) == (False, 1)
    assert (await made(outcome(900), outcome(0)))[1] == 1, "it passed in spite of it"


async def test_it_is_not_made_again_for_ever() -> None:
    last, calls = await made(*(outcome(900, "x") for _ in range(AGAIN + 2)))
    assert (last.passed, calls) == (False, AGAIN + 1)
    assert "it may be no fault of the agent" in line_of(last)


def test_the_table_has_a_row_a_call() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(table_of([outcome(0), outcome(0, "wrong")]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("odd") == 2
    assert "ok" in text
    assert "failed" in text


def test_the_table_can_be_read_on_a_terminal_of_80_columns() -> None:
    one = outcome(0, "wrong")
    assert one.record is not None
    one.caller = replace(CALLER, name="asks_whether_machine")
    one.record.outcome, one.record.seconds = "caller_hung_up", 150.0
    one.asked.requests, one.asked.unfinished, one.asked.tokens = 120, 100, 123456
    console = Console(width=80, file=io.StringIO())
    console.print(table_of([one]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    heading, row = text.splitlines()[:2]
    assert heading.split() == ["caller", "outcome", "turns", "cut", "ms", "s", "asked", "left", "tokens"]
    assert row.split() == ["failed", "asks_whether_machine", "caller_hung_up", "1", "0", "150", "120", "100", "123456"]
    assert "…" not in text


async def test_the_booking_desk_is_down_or_refuses_by_call() -> None:
    seen: list[dict[str, Any]] = []

    async def office(request: web.Request) -> web.Response:
        seen.append({**await request.json(), "key": request.headers["X-API-Key"]})
        return web.json_response({"booking_id": "B1"}, status=201)

    app = web.Application()
    app.router.add_post("/create_booking", office)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with BookingDesk() as desk, aiohttp.ClientSession() as http:
        desk.office_url = f"http://127.0.0.1:{runner.addresses[0][1]}/create_booking"
        desk.expect("down", CallSetup(booking_api="down"))
        desk.expect("odd", CallSetup(booking_api="refuses", refused_field="postcode"))

        async def book(call: str) -> tuple[int, dict[str, Any]]:
            headers = {"X-API-Key": "k"}
            async with http.post(desk.url, json={"call_uuid": call}, headers=headers) as answer:
                return answer.status, await answer.json()

        assert (await book("down"))[0] == 503
        assert (await book("down"))[0] == 503
        assert await book("odd") == (400, {"error": "postcode is not accepted", "field": "postcode"})
        assert await book("odd") == (201, {"booking_id": "B1"}), "it refuses once"
        assert await book("any") == (201, {"booking_id": "B1"})
    await runner.cleanup()
    assert seen == [{"call_uuid": "odd", "key": "k"}, {"call_uuid": "any", "key": "k"}]


class Model:
    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        yield Text("Hello")
        yield Finished("stop", 10, 5, "m")


async def test_what_each_call_asks_is_noted() -> None:
    model = NotedModel(Model())
    CALL_UUID.set("a")
    assert len([event async for event in model.reply([{"role": "user", "content": "one"}], ())]) == 2
    broken_off = model.reply([{"role": "user", "content": "two"}], ())
    await anext(broken_off)
    await broken_off.aclose()
    asked = model.by_call["a"]
    assert (asked.requests, asked.unfinished, asked.tokens) == (2, 1, 15)
    assert asked.history == [{"role": "user", "content": "two"}]
    assert list(model.by_call) == ["a"]


@pytest.mark.parametrize("value", [0.0, STALL_MS - 1])
def test_a_short_stall_matters_not(value: float) -> None:
    assert outcome(value, "x").stalled_ms == 0
