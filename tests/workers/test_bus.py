"""The bus between the supervisor and a worker: answers, order, limits, and what happens when the other side is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agent.workers import bus as bus_module
from agent.workers.bus import Bus, BusError

Pair = tuple[Bus, Bus]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    one, other = await Bus.open(ours, "the worker"), await Bus.open(theirs, "the supervisor")
    yield one, other
    await one.close()
    await other.close()


async def test_questions_are_answered_whoever_is_quicker(pair: Pair) -> None:
    one, other = pair

    async def later(values: Mapping[str, Any]) -> Any:
        await asyncio.sleep(values["s"])
        return values["s"]

    other.on("later", later)
    other.on("now", lambda values: {"got": values})
    answers = await asyncio.gather(one.ask("later", s=0.05), one.ask("later", s=0.0), one.ask("now", a=[1, "ü"]))
    assert list(answers) == [0.05, 0.0, {"got": {"a": [1, "ü"]}}]


async def test_sound_goes_as_it_is(pair: Pair) -> None:
    one, other = pair
    other.on("turn", lambda values: values["sound"][::-1])
    sound = os.urandom(3_000_000)
    assert await one.ask("turn", sound=sound, rate=8000) == sound[::-1]
    other.on("nothing", lambda values: values["sound"])
    assert await one.ask("nothing", sound=b"") == b""


async def test_what_is_told_comes_in_order_and_nobody_waits(pair: Pair) -> None:
    one, other = pair
    told: list[int] = []
    other.on("told", lambda values: told.append(values["n"]))
    other.on("sync", lambda values: None)
    for n in range(2000):
        assert one.tell("told", n=n)
    await one.ask("sync")
    assert told == list(range(2000))


async def test_a_handler_that_fails_is_an_error_for_whoever_asked(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    one, other = pair

    def fails(values: Mapping[str, Any]) -> None:
        raise KeyError("company")

    other.on("fails", fails)
    with pytest.raises(BusError, match="the worker: KeyError: 'company'"):
        await one.ask("fails")
    with pytest.raises(BusError, match="nobody answers 'what'"):
        await one.ask("what")
    other.on("odd", lambda values: object())
    with pytest.raises(BusError, match="cannot be sent"):
        await one.ask("odd")
    other.on("sync", lambda values: 1)
    one.tell("fails")
    assert await one.ask("sync") == 1
    assert "what the supervisor tells fails: fails" in caplog.text


async def test_who_does_not_answer_is_waited_for_no_longer_than_said(pair: Pair) -> None:
    one, other = pair
    never = asyncio.Event()
    other.on("never", lambda values: never.wait())
    with pytest.raises(BusError, match=r"has not answered 'never' within 0\.05 s"):
        await one.ask("never", 0.05)
    never.set()
    other.on("sync", lambda values: 1)
    await one.ask("sync")
    assert one.counters["late"] == 1


async def test_questions_fail_at_once_when_the_other_side_is_gone(pair: Pair) -> None:
    one, other = pair
    never = asyncio.Event()
    other.on("never", lambda values: never.wait())
    asked = asyncio.create_task(one.ask("never", 30))
    await asyncio.sleep(0.01)
    await other.close()
    async with asyncio.timeout(2):
        with pytest.raises(BusError, match="the worker is gone"):
            await asked
        await one.wait_closed()
    with pytest.raises(BusError):
        await one.ask("never")
    assert not one.tell("told")
    assert one.counters["unsent"] == 1


async def test_a_side_that_takes_nothing_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "MAX_UNSENT", 100_000)
    ours, theirs = socket.socketpair()
    one = await Bus.open(ours)
    with theirs:
        told = sum(one.tell("page", page=bytes(10_000)) for _ in range(200))
        assert told < 100
        assert one.counters["unsent"] == 200 - told
        with pytest.raises(BusError, match="takes nothing"):
            await one.ask("page")
    await one.close()


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n", b"\0\0\0\4\0\0\0\5{}{}", b"\0\0\0\2\0\0\0\2{}"])
async def test_rubbish_ends_it(rubbish: bytes) -> None:
    ours, theirs = socket.socketpair()
    one = await Bus.open(ours)
    theirs.send(rubbish)
    async with asyncio.timeout(2):
        await one.wait_closed()
    theirs.close()


async def test_messages_arrive_in_any_split(pair: Pair) -> None:
    one, _ = pair
    told: list[Any] = []
    one.on("told", told.append)
    for byte in bus_module._packed(["tell", "told"], {"a": 1, "b": b"xyz"}) * 2:
        one.data_received(bytes([byte]))
    assert told == [{"a": 1, "b": b"xyz"}] * 2
