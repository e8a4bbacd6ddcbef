"""The chain of STTs: who hears the caller when one does not, and that nothing is lost or said twice on the way."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from agent.providers import deepgram, nova, stt_chain
from agent.providers.base import EndOfTurn, ProviderError, SttAway, SttBack, SttLost, Transcript
from agent.providers.breaker import Breakers, BreakerState
from agent.providers.flux import FluxOptions, FluxStt
from agent.providers.nova import NovaOptions, NovaStt
from agent.providers.stt_chain import Link, SttChain, SttLink
from agent.providers.stt_local import LocalEars, LocalStt
from agent.sandbox import Sandbox
from agent.speech_engines import Recogniser, Samples, Word, load_recogniser
from tests.agent.hearing import BYTES_A_MS, KEY, Line, a_server, line, tones

NOVA, FLUX = "nova-3", "flux-general-en"
SAID = ("Hello there.", "My kitchen tap is leaking badly.", "It is number ten.", "Yes.", "Thank you very much.")


class Makers:
    """Makes chains for calls of one process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.breakers = Breakers()
        self.ears = LocalEars(2, lambda: load_recogniser("tones"))
        self.url = sandbox.deepgram_url

    def chain(self, *names: str, speed: float = 20.0) -> SttChain:
        return SttChain([self._link(name, speed) for name in names])

    def _link(self, name: str, speed: float) -> Link:
        breaker = self.breakers.of(f"stt {name}")

        def make(counters: Counter[str]) -> SttLink:
            if name == "local":
                return LocalStt(self.ears, 8000, breaker=breaker, counters=counters)
            if name == NOVA:
                return NovaStt(NovaOptions(self.url, KEY, replay_speed=speed), breaker, counters)
            return FluxStt(FluxOptions(self.url, KEY, replay_speed=speed), breaker, counters)

        return Link(name, make, breaker)


@pytest.fixture
async def makers(sandbox: Sandbox) -> AsyncIterator[Makers]:
    made = Makers(sandbox)
    yield made
    await made.ears.close()


@asynccontextmanager
async def on_the_line(chain: SttChain) -> AsyncIterator[Line]:
    async with line(chain) as call:
        yield call


def words(call: Line) -> str:
    """All that is certain to have been said."""
    return " ".join(
        event.text
        for event in call.events
        if (isinstance(event, EndOfTurn) or (isinstance(event, Transcript) and event.final)) and event.text
    )


def ways(call: Line) -> list[object]:
    return [event for event in call.events if isinstance(event, SttAway | SttBack | SttLost)]


def say(call: Line, *texts: str) -> None:
    for text in texts:
        call.hear(tones(text))
        call.silence(640)


async def all_said(call: Line, *texts: str) -> None:
    await call.until(lambda: words(call) == " ".join(texts))


# ---- the first connection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusals", [2, 3])
async def test_where_all_refuse_for_a_moment_they_are_asked_again(
    sandbox: Sandbox, makers: Makers, refusals: int
) -> None:
    """A call that begins then is not lost: its caller hears the greeting."""
    sandbox.deepgram.faults.refuse_times, sandbox.deepgram.faults.refuse_status = refusals, 500
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])


@pytest.mark.parametrize("status", [400, 401, 402, 403, 429, 500, 503])
async def test_a_link_that_refuses_is_passed_over(sandbox: Sandbox, makers: Makers, status: int) -> None:
    faults = sandbox.deepgram.faults
    faults.model, faults.refuse_times, faults.refuse_status = NOVA, 100, status
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        assert call.stt.ends_turns
        say(call, SAID[1])
        await all_said(call, SAID[1])
        assert call.stt.counters[f"took {FLUX}"] == 1
        assert call.stt.counters["switched"] == 0
        assert ways(call) == []
    assert sandbox.deepgram.counters["refused_by_fault"] == 1, "it has another, and does not ask twice"
    hopeless = status < 429
    assert makers.breakers.of(f"stt {NOVA}").state is (BreakerState.OPEN if hopeless else BreakerState.CLOSED)


async def test_what_one_call_finds_out_no_other_finds_out_anew(sandbox: Sandbox, makers: Makers) -> None:
    faults = sandbox.deepgram.faults
    faults.model, faults.refuse_times, faults.refuse_status, faults.retry_after_s = NOVA, 100, 429, 30.0
    for _ in range(5):
        chain = makers.chain(NOVA, FLUX)
        await chain.connect()
        await chain.close()
    assert sandbox.deepgram.counters["upgrades"] == 1 + 5
    assert 29 < makers.breakers.of(f"stt {NOVA}").rest_s <= 30, "the vendor's own word"


async def test_a_link_that_is_slow_to_accept_does_not_keep_the_caller_waiting(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stt_chain.NEXT_S + deepgram.HURRIED_S <= 2.0
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.1)
    faults = sandbox.deepgram.faults
    faults.model, faults.delay_times, faults.delay_ms = NOVA, 100, 60_000
    for count in range(1, 4):
        chain = makers.chain(NOVA, FLUX)
        await chain.connect()
        assert chain.counters[f"took {FLUX}"] == 1
        assert makers.breakers.of(f"stt {NOVA}").counters["failed"] == count, "it is told that it was slow"
        await chain.close()
    asked = sandbox.deepgram.counters["upgrades"]
    chain = makers.chain(NOVA, FLUX)
    await chain.connect()
    await chain.close()
    assert sandbox.deepgram.counters["upgrades"] == asked + 1, "and is left alone from the fourth call on"


async def test_a_link_that_wins_late_is_not_told_that_it_was_slow(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.1)
    sandbox.deepgram.faults.delay_times, sandbox.deepgram.faults.delay_ms = 1, 400
    faults = sandbox.deepgram.faults
    faults.model = NOVA
    ready = asyncio.Event()

    async def never(self: FluxStt) -> None:
        ready.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(FluxStt, "connect", never)
    chain = makers.chain(NOVA, FLUX)
    await chain.connect()
    assert ready.is_set()
    assert chain.counters[f"took {NOVA}"] == 1
    assert makers.breakers.of(f"stt {FLUX}").counters["failed"] == 0
    await chain.close()


async def test_nobody_there_is_told_with_the_first_links_word(sandbox: Sandbox, makers: Makers) -> None:
    sandbox.deepgram.config.keys = ("another",)
    chain = makers.chain(NOVA, FLUX)
    with pytest.raises(ProviderError, match="HTTP 401"):
        await chain.connect()
    await chain.close()
    assert sandbox.deepgram.counters["upgrades"] == 2


async def test_after_an_outage_all_calls_are_heard_and_not_only_the_one_that_tries(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody has said a word yet, by which the vendor could show that it is well."""
    monkeypatch.setattr("agent.providers.breaker.REST_S", 0.05)
    monkeypatch.setattr(stt_chain, "CONNECT_S", 0.0)
    sandbox.deepgram.faults.refuse_times = 6
    for _ in range(3):
        with pytest.raises(ProviderError, match="HTTP 503"):
            await makers.chain(NOVA, FLUX).connect()
    assert makers.breakers.of(f"stt {NOVA}").state is BreakerState.OPEN
    await asyncio.sleep(0.1)
    chains = [makers.chain(NOVA, FLUX) for _ in range(4)]
    for chain in chains:
        await chain.connect()
    assert [chain.counters[f"took {NOVA}"] for chain in chains] == [1, 1, 1, 1]
    for chain in chains:
        await chain.close()


# ---- in the middle of a call ----------------------------------------------------------------------------------------


async def test_the_next_link_goes_on_in_mid_word(sandbox: Sandbox, makers: Makers) -> None:
    faults = sandbox.deepgram.faults
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])
        faults.model, faults.refuse_times, faults.refuse_status = NOVA, 100, 403
        faults.close_times, faults.close_after_ms, faults.close_code = 1, 500, 1008
        say(call, SAID[1])
        await call.until(lambda: words(call) == f"{SAID[0]} {SAID[1]}")
        assert ways(call) == [SttAway(), SttBack(ends_turns=True)]
        assert call.stt.ends_turns
        assert call.stt.counters["switched"] == call.stt.counters[f"took {FLUX}"] == 1
        start_ms = len(tones(SAID[0])) // BYTES_A_MS + 640
        last = call.events[-1]
        assert isinstance(last, EndOfTurn)
        assert last.start_ms == pytest.approx(start_ms + 50, abs=80), "call times survive the switch"


async def test_a_link_that_is_back_at_once_keeps_the_call(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.4)
    faults = sandbox.deepgram.faults
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])
        faults.model, faults.close_times, faults.close_after_ms, faults.close_code = NOVA, 1, 500, 0
        say(call, SAID[1])
        await all_said(call, *SAID[:2])
        await asyncio.sleep(0.6)
        assert ways(call) == [SttAway(), SttBack(ends_turns=False)]
        assert (call.stt.counters["reconnected"], call.stt.counters["switched"]) == (1, 0)
        assert sandbox.deepgram.counters["upgrades"] == 2


async def test_a_vendor_that_accepts_and_never_answers_is_left(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deepgram.UNANSWERED_S <= 1.5
    monkeypatch.setattr(nova, "KEEP_ALIVE_S", 60.0)  # it is noticed though nothing more is to be sent
    monkeypatch.setattr(deepgram, "UNANSWERED_S", 0.3)
    faults = sandbox.deepgram.faults
    faults.model, faults.silent_times = NOVA, 100
    for count in range(1, 4):
        async with on_the_line(makers.chain(NOVA, FLUX)) as call:
            say(call, *SAID[:2])
            await all_said(call, *SAID[:2])
            assert call.stt.counters["stalled"] == call.stt.counters["switched"] == 1
            assert makers.breakers.of(f"stt {NOVA}").counters["failed"] == count
    assert makers.breakers.of(f"stt {NOVA}").state is BreakerState.OPEN


async def test_a_vendor_that_goes_silent_in_the_middle_is_left(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepgram, "UNANSWERED_S", 0.3)
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])
        sandbox.deepgram.faults.model, sandbox.deepgram.faults.silent_times = NOVA, 100
        say(call, *SAID[1:3])
        await all_said(call, *SAID[:3])
        assert call.stt.counters["stalled"] == call.stt.counters["switched"] == 1
        assert makers.breakers.of(f"stt {NOVA}").counters["failed"] == 1


async def test_a_vendor_that_says_nothing_of_use_is_left(makers: Makers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "UNANSWERED_S", 0.3)

    async def chatter(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for message in itertools.cycle(("{garbage", '{"type":"Tomorrow"}', '{"type":"Metadata"}')):
            if socket.closed or request.transport is None or request.transport.is_closing():
                break
            await socket.send_str(message)
            await asyncio.sleep(0.05)
        return socket

    async with a_server("/v1/listen", chatter) as makers.url, on_the_line(makers.chain(NOVA, "local")) as call:
        say(call, *SAID[:2])
        await all_said(call, *SAID[:2])
        assert call.stt.counters["garbage"] > 0 < call.stt.counters["unknown"]
        assert call.stt.counters["stalled"] == call.stt.counters["switched"] == 1


async def test_garbage_unknown_and_binary_messages_are_survived(sandbox: Sandbox, makers: Makers) -> None:
    faults = sandbox.deepgram.faults
    faults.unknown_times = faults.binary_times = 6
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, *SAID[:3])
        await all_said(call, *SAID[:3])
        assert call.stt.counters["unknown"] > 0 < call.stt.counters["garbage"]
        assert ways(call) == []


async def test_this_machine_hears_the_caller_when_no_vendor_does(sandbox: Sandbox, makers: Makers) -> None:
    async with on_the_line(makers.chain(NOVA, FLUX, "local")) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])
        sandbox.deepgram.config.keys = ("another",)
        faults = sandbox.deepgram.faults
        faults.close_times, faults.close_after_ms, faults.close_code = 1, 500, 1011
        say(call, *SAID[1:])
        await all_said(call, *SAID)
        assert ways(call) == [SttAway(), SttBack(ends_turns=False)]
        assert call.stt.counters["took local"] == 1
        assert makers.ears.calls == 1
        assert makers.breakers.of("stt local").counters["succeeded"] == 1
    assert makers.ears.calls == 0


async def test_a_stream_that_ends_as_it_begins_is_not_missed(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the chain has turned to it: its first event comes within its `connect`."""
    connect = NovaStt.connect

    async def ends(self: NovaStt) -> None:
        await connect(self)
        monkeypatch.setattr(NovaStt, "connect", connect)
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(1011)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(NovaStt, "connect", ends)
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        say(call, SAID[1])
        await all_said(call, SAID[1])
        assert ways(call) == [SttAway(), SttBack(ends_turns=True)]


async def test_a_stream_that_is_lost_as_it_is_back_is_rescued(makers: Makers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.1)
    async with on_the_line(makers.chain(NOVA, "local")) as call:
        first = call.stt._stt
        for event in (SttAway(), SttBack(ends_turns=False), SttAway(), SttLost("gone")):
            first.sink(event)
        say(call, SAID[1])
        await all_said(call, SAID[1])
        assert call.stt.counters["took local"] == 1


async def test_the_call_is_told_once_when_nobody_is_left(sandbox: Sandbox, makers: Makers) -> None:
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        await call.until(lambda: sandbox.deepgram.sockets)
        sandbox.deepgram.config.keys = ("another",)
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(1011)
        await call.until(call.lost)
        await asyncio.sleep(0.1)
        assert "401" in call.lost()[0]
        assert [type(event) for event in ways(call)] == [SttAway, SttLost]


async def test_vendors_that_are_away_together_are_waited_for(
    sandbox: Sandbox, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of all: what is said meanwhile is kept, and heard when one of them is back."""
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.05)
    monkeypatch.setattr(stt_chain, "AGAIN_S", 0.05)
    monkeypatch.setattr("agent.providers.breaker.REST_S", 0.3)
    faults = sandbox.deepgram.faults
    async with on_the_line(makers.chain(NOVA, FLUX)) as call:
        await call.until(lambda: sandbox.deepgram.sockets)
        faults.refuse_times, faults.close_times, faults.close_after_ms = 8, 1, 500
        say(call, *SAID)
        await call.until(lambda: words(call) == " ".join(SAID), seconds=15)
        assert isinstance(ways(call)[-1], SttBack)
        assert not call.lost()


async def test_a_fallback_that_is_lost_too_hands_the_call_on(sandbox: Sandbox, makers: Makers) -> None:
    """Nova is gone for a while, Flux takes over and goes too: this machine has all of it."""
    faults = sandbox.deepgram.faults
    faults.model, faults.refuse_times, faults.refuse_status = NOVA, 100, 403
    async with on_the_line(makers.chain(NOVA, FLUX, "local")) as call:
        say(call, *SAID[:2])
        await all_said(call, *SAID[:2])
        faults.model, faults.close_times, faults.close_after_ms = FLUX, 1, 700
        say(call, *SAID[2:])
        await all_said(call, *SAID)
        assert [call.stt.counters[f"took {name}"] for name in (NOVA, FLUX, "local")] == [0, 1, 1]


# ---- broken anywhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(NOVA,), (FLUX,), (NOVA, FLUX), (FLUX, NOVA, "local")], ids="-".join)
@pytest.mark.parametrize("seed", range(4))
async def test_no_word_is_lost_and_none_comes_twice_wherever_it_breaks(
    sandbox: Sandbox, makers: Makers, names: tuple[str, ...], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams end at random places in random ways; at some, the vendor refuses the caller's return."""
    monkeypatch.setattr(deepgram, "UNANSWERED_S", 0.4)
    monkeypatch.setattr(stt_chain, "NEXT_S", 0.2)
    monkeypatch.setattr("agent.providers.breaker.REST_S", 0.2)
    dice = random.Random(seed * 7 + len(names))
    faults = sandbox.deepgram.faults
    said = [dice.choice(SAID) for _ in range(6)]
    async with on_the_line(makers.chain(*names)) as call:
        for text in said:
            if dice.random() < 0.7:
                how = dice.choice(("close", "close", "close", "silent", "error"))
                setattr(faults, f"{how}_times", 1)
                faults.close_after_ms = dice.randint(1, 1800)
                faults.close_code = dice.choice((0, 1000, 1008, 1011, 1012))
                faults.refuse_times = dice.choice((0, 0, 1, 2))
                faults.refuse_status = dice.choice((429, 500, 503))
            call.hear(tones(text))
            call.silence(dice.randint(500, 900))
            await asyncio.sleep(dice.choice((0.0, 0.05, 0.3)))
        for name in ("close", "silent", "error", "refuse"):
            setattr(faults, f"{name}_times", 0)
        for _ in range(100):  # the line stays open behind the last words
            if words(call) == " ".join(said):
                break
            call.silence(80)
            await asyncio.sleep(0.08)
        assert words(call) == " ".join(said), ways(call)
        assert call.stt.counters["dropped_ms"] == 0


# ---- this machine ---------------------------------------------------------------------------------------------------


async def test_this_machine_alone(makers: Makers) -> None:
    async with on_the_line(makers.chain("local")) as call:
        call.at_ms = 7000
        say(call, SAID[1])
        await all_said(call, SAID[1])
        final = call.finals()[0]
        assert final.speech_final
        assert final.start_ms == pytest.approx(7050, abs=80)
        assert final.end_ms == pytest.approx(7000 + len(tones(SAID[1])) // BYTES_A_MS, abs=80)
        call.hear(tones("ten"))
        call.stt.finalize()
        await call.until(lambda: words(call) == f"{SAID[1]} ten")
        assert not call.finals()[1].speech_final


async def test_this_machine_hears_so_many_calls_and_no_more(makers: Makers) -> None:
    chains = [makers.chain("local") for _ in range(5)]
    for chain in chains[:2]:
        await chain.connect()
    for chain in chains[2:]:
        with pytest.raises(ProviderError, match="LOCAL_STT_CALLS"):
            await chain.connect()
    assert makers.breakers.of("stt local").state is BreakerState.CLOSED, "it is full, not ill"
    await chains[0].close()
    last = makers.chain("local")
    await last.connect()
    for chain in (*chains, last):
        await chain.close()
    assert makers.ears.calls == 0


async def test_a_model_that_takes_long_does_not_hold_the_call_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is there for the next one."""
    monkeypatch.setattr("agent.providers.stt_local.LOAD_S", 0.1)
    go, loads = threading.Event(), 0

    def load() -> Recogniser:
        nonlocal loads
        loads += 1
        go.wait(5)
        return load_recogniser("tones")

    ears = LocalEars(2, load)
    with pytest.raises(ProviderError, match="still being loaded"):
        await ears.admit()
    assert ears.calls == 0
    go.set()
    await asyncio.wrap_future(ears.prepare())
    await ears.admit()
    assert (loads, ears.calls) == (1, 1)
    await ears.close()


async def test_a_model_that_cannot_be_loaded_is_said_and_tried_again() -> None:
    def load() -> Recogniser:
        raise RuntimeError("no weights")

    ears = LocalEars(2, load)
    for _ in range(2):
        with pytest.raises(ProviderError, match="no weights"):
            await ears.admit()
    assert ears.calls == 0
    await ears.close()


async def test_a_model_that_fails_hands_the_call_back(sandbox: Sandbox, makers: Makers) -> None:
    class Failing:
        name, sample_rate = "failing", 8000
        well = True

        def transcribe(self, samples: Samples) -> tuple[Word, ...]:
            if not self.well:
                raise RuntimeError("out of memory")
            return load_recogniser("tones").transcribe(samples)

    ill = Failing()
    makers.ears = LocalEars(2, lambda: ill)
    async with on_the_line(makers.chain("local", NOVA)) as call:
        say(call, SAID[0])
        await all_said(call, SAID[0])
        ill.well = False
        say(call, SAID[1])
        await all_said(call, *SAID[:2])
        assert ways(call) == [SttAway(), SttBack(ends_turns=False)]
        assert call.stt.counters[f"took {NOVA}"] == 1
    assert makers.ears.calls == 0
    assert makers.breakers.of("stt local").counters["failed"] == 1
