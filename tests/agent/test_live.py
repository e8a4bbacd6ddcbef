"""Calls that run, seen by those who look on: what goes on in them, their sound, an end and a transfer."""

from __future__ import annotations

import asyncio
import wave
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from agent.call import live as live_calls
from agent.call.live import LiveCall
from agent.call.running import LISTENERS_A_CALL, TooManyListeners, UnknownTarget
from agent.call.watching import EVERY_S, Change, TooManyWatchers, Watcher, Watching
from agent.conversations import Phrases

if TYPE_CHECKING:
    from agent.call.record import CallRecord
    from agent.sandbox.caller import CallPlan, CallResult
    from tests.agent.conftest import Rig


class Running:
    """A call that is under way."""

    def __init__(self, rig: Rig, script: str, plan: CallPlan) -> None:
        self.rig, self.plan = rig, plan
        self.task = asyncio.create_task(rig.dial(script, plan))

    async def live(self) -> LiveCall:
        await self.rig.until(lambda: self.rig.agent.live.get(str(self.plan.call)))
        call = self.rig.agent.live.get(str(self.plan.call))
        assert call is not None
        await self.rig.until(lambda: call.company)
        return call

    async def over(self) -> tuple[CallResult, CallRecord]:
        result = await self.task
        return result, await self.rig.record_of(self.plan.call)


def begin(rig: Rig, script: str, **changes: Any) -> Running:
    return Running(rig, script, rig.plan(patience_s=15.0, **changes))


async def test_a_call_is_seen_from_its_first_word_to_its_last(rig: Rig) -> None:
    rig.voice.char_ms = 25
    running = begin(rig, "say: My tap leaks\nsay: Yes that's fine\nhangup", quiet_s=0.5)
    call = await running.live()
    assert (call.company, call.targets, call.did, call.caller_id) == (
        "Thames Plumbing", ("office",), running.plan.did, running.plan.caller_id,
    )  # fmt: skip
    assert call.company_id == (await rig.store.did_context(call.did, ""))["company_id"]
    assert call.started.utcoffset() is not None
    seen: list[tuple[str, str]] = []
    words: set[str] = set()
    while not call.over:
        if not seen or seen[-1] != (call.doing, call.step):
            seen.append((call.doing, call.step))
        words |= {call.caller, call.agent}
        await asyncio.sleep(0.005)
    doings = [doing for doing, _ in seen]
    assert doings[0] == "greeting"
    assert {"listening", "speaking"} <= set(doings)
    steps = list(dict.fromkeys(step for _, step in seen))
    assert steps == ["Greeting", "Problem", "Quote", "Postcode"]
    assert "My tap leaks" in words
    assert any(text.startswith("Hello, Thames Plumbing, good ") for text in words)
    result, record = await running.over()
    assert result.failure == ""
    assert call.turns == len(record.turns) == 3
    assert call.latency_ms == record.turns[-1].times.latency_ms
    assert (call.doing, len(rig.agent.live), rig.agent.live.get(call.uuid)) == ("ending", 0, None)


async def test_an_agent_that_thinks_and_one_that_is_interrupted_are_seen(rig: Rig) -> None:
    rig.vendors.groq.config.queue = 1200.0
    rig.voice.char_ms = 60
    running = begin(rig, "say: My tap leaks\ninterrupt 600ms: hang on a moment please\nwait: 20s")
    call = await running.live()
    for doing in ("thinking", "speaking", "held"):
        await rig.until(lambda doing=doing: call.doing == doing, 20, lambda: call.doing)  # type: ignore[misc]
    await call.end("anna")
    await running.over()


async def test_words_are_seen_while_they_are_said(rig: Rig) -> None:
    rig.voice.char_ms = 60
    running = begin(rig, "say: My tap leaks\nhangup")
    call = await running.live()
    await rig.until(lambda: call.doing == "speaking" and "plumber" in call.agent, 10)
    assert call.step == "Quote"
    assert "step" not in [mark.what for mark in call._record.marks if mark.detail == "Quote"], "nobody has heard it yet"
    assert await call.end("anna")
    await running.over()


async def test_an_operator_ends_a_call(rig: Rig) -> None:
    running = begin(rig, "wait: 20s")
    call = await running.live()
    await rig.until(lambda: call.doing == "listening", 10)
    assert await call.end("anna")
    await rig.until(lambda: call.doing == "ending")
    assert not await call.end("bob"), "it is ending already"
    assert not await call.transfer("office", "bob")
    result, record = await running.over()
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    assert (record.ended_by, record.outcome, record.verdict) == ("agent", "no_booking", "hangup")
    assert record.turns[-1].heard == Phrases().too_long
    assert [mark.detail for mark in record.marks if mark.what == "operator"] == ["end by anna"]
    assert not await call.end("carl"), "it is over"


async def test_an_operator_puts_a_caller_through(rig: Rig) -> None:
    rig.voice.char_ms = 40
    running = begin(rig, "say: My tap leaks\nwait: 20s")
    call = await running.live()
    await rig.until(lambda: call.doing == "speaking", 10)
    with pytest.raises(UnknownTarget, match="no transfer target '2001'"):
        await call.transfer("2001", "anna")  # an extension is no name: only the company's own list counts
    assert await call.transfer("office", "anna")
    assert await call.transfer("office", "anna"), "nobody is told twice, and nothing is done twice"
    result, record = await running.over()
    assert (result.verdict, result.verdict_target) == ("transfer", "2001")
    assert (record.outcome, record.verdict) == ("transferred", "transfer 2001")
    assert record.turns[1].interrupted
    assert record.turns[-1].heard == Phrases().transferring
    assert [mark.detail for mark in record.marks if mark.what == "operator"] == ["transfer by anna"]
    with pytest.raises(UnknownTarget):
        await call.transfer("cellar", "anna")


async def test_an_order_before_the_greeting_is_followed(rig: Rig) -> None:
    async with rig.slow_contexts(0.6):
        running = begin(rig, "wait: 20s", announced=False)
        await rig.until(lambda: len(rig.agent.live))
        (call,) = rig.agent.live.all()
        assert (call.doing, call.company, call.targets, call.step) == ("greeting", "", (), "")
        assert await call.end("anna")
        result, record = await running.over()
    assert result.ended_by == "agent"
    assert record.verdict == "hangup"
    assert [mark.detail for mark in record.marks if mark.what == "operator"] == ["end by anna"]


async def test_a_listener_hears_what_is_recorded(rig: Rig) -> None:
    """Sample by sample, both sides: what is heard is a part of the recording."""
    rig.voice.char_ms = 20
    running = begin(rig, "say: My tap leaks\nhangup")
    call = await running.live()
    heard = bytearray()
    async with call.audio() as audio:
        assert (call.listeners, rig.agent.live.listeners) == (1, 1)
        async for pcm in audio:
            heard += pcm
    assert rig.agent.live.listeners == 0
    assert rig.agent.live.counters["listened_lost_ms"] == 0
    _, record = await running.over()
    with wave.open(record.recording, "rb") as file:
        recorded = file.readframes(file.getnframes())
    assert len(heard) > 4 * call.rate, "more than a second"
    assert bytes(heard) in recorded
    assert any(heard[0::4]), "the caller's side"
    assert any(heard[2::4]), "the agent's side"


async def test_a_slow_listener_loses_its_own_copy_alone(rig: Rig) -> None:
    running = begin(rig, "wait: 4s\nsay: Goodbye", longest_s=30.0)
    call = await running.live()
    async with call.audio() as audio:
        async for _ in audio:
            await asyncio.sleep(3.2)  # longer than the capture holds
            break
        async for _ in audio:
            break
    assert rig.agent.live.counters["listened_lost_ms"] > 0
    result, _ = await running.over()
    assert result.failure == ""


async def test_so_many_listen_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = begin(rig, "wait: 20s"), begin(rig, "wait: 20s")
    calls = [await first.live(), await second.live()]
    monkeypatch.setattr(live_calls, "LISTENERS", LISTENERS_A_CALL + 1)
    entered = [calls[0].audio() for _ in range(LISTENERS_A_CALL)]
    for one in entered:
        await one.__aenter__()
    with pytest.raises(TooManyListeners):
        await calls[0].audio().__aenter__()
    async with calls[1].audio():
        assert rig.agent.live.listeners == LISTENERS_A_CALL + 1
        with pytest.raises(TooManyListeners):
            await calls[1].audio().__aenter__()
    for one in entered:
        await one.__aexit__(None, None, None)
    assert rig.agent.live.listeners == 0
    for call in calls:
        assert call._call._streams == {stream for stream in call._call._streams if not stream._closed}
        await call.end("anna")
    await asyncio.gather(first.task, second.task)
    await rig.nothing_is_left()


async def test_levels_are_those_of_the_newest_sound(rig: Rig) -> None:
    rig.voice.char_ms = 25
    running = begin(rig, "wait: 1500ms\nsay: My tap leaks badly and the floor is wet\nhangup")
    call = await running.live()
    loudest = [0, 0]
    alone = False
    while not call.over:
        caller, agent = call.levels()
        loudest = [max(loudest[0], caller), max(loudest[1], agent)]
        alone = alone or (caller > 500 and agent == 0)
        await asyncio.sleep(0.05)
    assert min(loudest) > 500
    assert alone, "the sides are not mixed"
    assert call.levels() == (0, 0)
    await running.over()


# ---- those who watch ------------------------------------------------------------------------------------------------


class View:
    """What one who watches has been told."""

    def __init__(self, watcher: Watcher) -> None:
        self.changes = watcher.changes()
        self.calls: dict[str, bytes] = {}
        self.gone: list[str] = []
        self.levels: list[dict[str, tuple[int, int]]] = []

    async def look(self) -> Change:
        change = await anext(self.changes)
        for call in change.calls:
            self.calls[call[9:45].decode()] = call
        for uuid in change.gone:
            del self.calls[uuid]
        self.gone += change.gone
        self.levels.append(change.levels)
        return change


async def test_who_watches_is_told_what_changes_and_nothing_else(rig: Rig) -> None:
    watching = Watching(rig.agent.live)
    running = begin(rig, "wait: 1s\nsay: My tap leaks\nhangup")
    call = await running.live()
    async with watching.watch() as watcher:
        view = View(watcher)
        await view.look()
        assert list(view.calls) == [call.uuid]
        assert b'"company":"Thames Plumbing"' in view.calls[call.uuid]
        watcher.meter(frozenset({call.uuid, str(uuid4())}))
        assert watcher.metered == {call.uuid}
        quiet = 0
        while view.calls:
            quiet += not (await view.look()).calls
    assert view.gone == [call.uuid]
    assert quiet > 2, "nothing is told when nothing changes"
    assert any(level[call.uuid][1] > 300 for level in view.levels if level)
    await running.over()


async def test_nobody_is_told_of_another_companys_calls(rig: Rig) -> None:
    watching = Watching(rig.agent.live)
    running = begin(rig, "wait: 20s")
    call = await running.live()
    assert call.company_id is not None
    other = call.company_id + 1
    async with watching.watch(lambda company_id: company_id == other) as watcher:
        watcher.meter(frozenset({call.uuid}))
        changes = watcher.changes()
        for _ in range(4):
            assert await anext(changes) == Change()
        assert rig.agent.live.all(lambda company_id: company_id == other) == []
        assert rig.agent.live.get(call.uuid, lambda company_id: company_id is None) is None
    await call.end("anna")
    await running.over()


async def test_while_nobody_watches_nothing_looks(rig: Rig) -> None:
    watching = Watching(rig.agent.live)
    running = begin(rig, "wait: 20s")
    call = await running.live()
    await rig.until(lambda: call.doing == "listening", 10)
    before = len(call._call._streams)
    assert [watching.counters["looks"], watching._task] == [0, None]
    async with watching.watch() as watcher:
        watcher.meter(frozenset({call.uuid}))
        changes = watcher.changes()
        for _ in range(3):
            await anext(changes)
        assert len(call._call._streams) == before, "levels wake nobody"
        task = watching._task
    assert not len(watching)
    assert watching._task is None
    looks = watching.counters["looks"]
    await asyncio.sleep(2.5 * EVERY_S)
    assert watching.counters["looks"] == looks
    assert task is not None
    assert task.done()
    await call.end("anna")
    await running.over()


async def test_who_is_slow_misses_looks_and_not_what_they_come_to(rig: Rig) -> None:
    watching = Watching(rig.agent.live)
    running = begin(rig, "say: My tap leaks\nhangup")
    call = await running.live()
    async with watching.watch() as watcher, watching.watch():
        view = View(watcher)
        await view.look()
        await running.over()
        await asyncio.sleep(2.5 * EVERY_S)
        assert (await view.look()).gone == (call.uuid,)
        assert watching.counters["missed"] >= 2


async def test_so_many_watch_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.call.watching.WATCHERS", 2)
    watching = Watching(live_calls.LiveCalls())
    async with watching.watch(), watching.watch():
        with pytest.raises(TooManyWatchers):
            async with watching.watch():
                pass
        assert len(watching) == 2
    async with watching.watch():
        pass
