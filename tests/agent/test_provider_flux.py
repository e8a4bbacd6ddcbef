"""The Flux client against the emulated vendor, and against one that says what a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from agent.providers import deepgram, flux, websocket, websocket_picows, websocket_plain
from agent.providers.base import EagerEndOfTurn, EndOfTurn, SttAway, SttBack, Transcript, TurnResumed
from agent.providers.flux import FluxOptions, FluxStt
from agent.sandbox import Sandbox
from agent.speech_engines.tones import ToneVoice
from tests.agent.hearing import BYTES_A_MS, KEY, QUIET, Line, a_server, line, tones

TAP = "My tap is leaking."


@pytest.fixture(params=["websockets", "picows"], autouse=True)
def _client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it over each WebSocket client."""
    monkeypatch.setattr(websocket, "choose_client", lambda client, url: request.param)


def options(sandbox: Sandbox) -> FluxOptions:
    return FluxOptions(sandbox.deepgram_url, KEY)


def kinds(call: Line) -> list[str]:
    """The names of the events, with transcripts that follow each other as one."""
    names = [type(event).__name__ for event in call.events]
    return [name for at, name in enumerate(names) if at == 0 or name != "Transcript" or names[at - 1] != name]


def turns(call: Line) -> list[EndOfTurn]:
    return [event for event in call.events if isinstance(event, EndOfTurn)]


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_the_query_has_nothing_that_flux_does_not_know() -> None:
    plain = FluxOptions("wss://api.example", "k", language="en-GB", keyterms=("post code", "plumber"))
    assert plain.listen_url().startswith("wss://api.example/v2/listen?")
    query = parse_qs(urlsplit(plain.listen_url()).query)
    assert query == {
        "model": ["flux-general-en"],
        "encoding": ["linear16"],
        "sample_rate": ["8000"],
        "eot_threshold": ["0.7"],
        "eager_eot_threshold": ["0.4"],
        "eot_timeout_ms": ["2500"],
        "keyterm": ["post code", "plumber"],
    }
    without = replace(plain, eager_eot_threshold=None, keyterms=()).listen_url()
    assert "eager" not in without
    multi = replace(plain, model="flux-general-multi", language="es-MX").listen_url()
    assert parse_qs(urlsplit(multi).query)["language_hint"] == ["es"]


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_turn(sandbox: Sandbox, rate: int) -> None:
    speech = ToneVoice().speak(TAP, rate).samples.tobytes()
    ms = 2 * rate // 1000
    async with line(FluxStt(replace(options(sandbox), sample_rate=rate, keyterms=("tap",)))) as call:
        assert call.stt.ends_turns
        pcm = bytes(400 * ms) + speech + bytes(480 * ms)
        for start in range(0, len(pcm), 80 * ms):
            call.stt.hear(5000 + start // ms, pcm[start : start + 80 * ms])
        await call.until(lambda: turns(call))
    end_ms = 5400 + len(speech) // ms
    assert kinds(call) == ["Transcript", "EagerEndOfTurn", "EndOfTurn"]
    interims = [event for event in call.events if isinstance(event, Transcript)]
    assert not any(event.final or event.speech_final for event in interims)
    texts = [event.text for event in interims]
    assert all(TAP.startswith(text.rstrip(".")) for text in texts)
    assert [len(text) for text in texts] == sorted(len(text) for text in texts), "each has all of the turn"
    assert all(event.end_ms <= event.covered_ms <= end_ms + 480 for event in interims)
    eager, over = call.events[-2:]
    assert isinstance(eager, EagerEndOfTurn)
    assert isinstance(over, EndOfTurn)
    assert eager.text == over.text == TAP
    assert over.start_ms == pytest.approx(5450, abs=60)
    assert over.end_ms == pytest.approx(end_ms, abs=60)
    counters = call.stt.counters
    assert (counters["connected"], counters["finals"], counters["eager"], counters["resumed"]) == (1, 1, 1, 0)
    assert counters["unknown"] == counters["garbage"] == counters["errors"] == counters["changed"] == 0
    assert sandbox.deepgram.counters["text_sent_as_audio"] == sandbox.deepgram.counters["empty_frames"] == 0
    assert sandbox.deepgram.counters["received_CloseStream"] == 1


async def test_a_caller_who_goes_on_takes_the_guess_back(sandbox: Sandbox) -> None:
    async with line(FluxStt(options(sandbox))) as call:
        call.hear(tones(TAP) + bytes(130 * BYTES_A_MS) + tones("In the kitchen."))
        call.silence(480)
        await call.until(lambda: turns(call))
        assert kinds(call) == [
            "Transcript", "EagerEndOfTurn", "TurnResumed", "Transcript", "EagerEndOfTurn", "EndOfTurn",
        ]  # fmt: skip
        assert turns(call)[0].text == f"{TAP} In the kitchen."
        assert call.stt.counters["resumed"] == 1


async def test_without_a_threshold_there_are_no_guesses(sandbox: Sandbox) -> None:
    async with line(FluxStt(replace(options(sandbox), eager_eot_threshold=None))) as call:
        call.hear(tones(TAP))
        call.silence(480)
        await call.until(lambda: turns(call))
        assert kinds(call) == ["Transcript", "EndOfTurn"]


async def test_a_turn_can_be_ended_at_once(sandbox: Sandbox) -> None:
    async with line(FluxStt(options(sandbox))) as call:
        call.stt.finalize()  # nothing comes of it without a turn
        await call.until(lambda: sandbox.deepgram.counters["received_ForceEndTurn"])
        call.hear(tones("it is the one in the"))
        await call.until(lambda: any(isinstance(event, Transcript) for event in call.events))
        call.stt.finalize()
        await call.until(lambda: turns(call))
        assert [turn.text for turn in turns(call)] == ["it is the one in the"]
        assert sandbox.deepgram.counters["received_ForceEndTurn"] == 2
        assert sandbox.deepgram.counters["received_unknown"] == 0


async def test_a_wrong_query_is_refused_with_the_vendors_word(sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match=r"HTTP 400.*eager_eot_threshold"):
        await FluxStt(replace(options(sandbox), eager_eot_threshold=0.8)).connect()
    assert sandbox.deepgram.counters["upgrades"] == 1


# ---- silence --------------------------------------------------------------------------------------------------------


async def test_silence_ends_a_turn_when_the_call_is_heard_no_more(sandbox: Sandbox) -> None:
    """And times are the call's afterwards."""
    loop = asyncio.get_running_loop()
    async with line(FluxStt(options(sandbox))) as call:
        call.hear(tones(TAP), at_ms=3000)
        spoken_to_ms, begun = call.at_ms, loop.time()
        await call.until(lambda: turns(call))
        assert loop.time() - begun > 0.5
        assert turns(call)[0].text == TAP
        assert turns(call)[0].end_ms == pytest.approx(spoken_to_ms, abs=60), "not in the silence behind the gap"
        await asyncio.sleep(0.5)
        due_ms = 1000 * (loop.time() - begun - flux.QUIET_S)
        counted_ms = call.stt.counters["silence_ms"] + call.stt.counters["silence_skipped_ms"]
        assert due_ms - 250 <= counted_ms <= due_ms + 80, "in real time"
        call.hear(tones("Stop it."), at_ms=60_000)
        call.silence(480)
        await call.until(lambda: len(turns(call)) > 1)
        stop = turns(call)[1]
        assert stop.text == "Stop it."
        assert stop.start_ms == pytest.approx(60_050, abs=60)
        assert stop.end_ms == pytest.approx(60_000 + len(tones("Stop it.")) // BYTES_A_MS, abs=60)


async def test_nothing_is_sent_before_the_call_is_heard(sandbox: Sandbox) -> None:
    async with line(FluxStt(options(sandbox))):
        await asyncio.sleep(0.9)
        assert sandbox.deepgram.counters["audio_frames"] == 0


async def test_silence_is_not_sent_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flux, "QUIET_S", 0.1)
    async with line(FluxStt(options(sandbox))) as call:
        call.hear(tones("it is the one in the"))
        said_ms = call.at_ms
        await call.until(lambda: call.stt.counters["silence_ms"] > 400)
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(1011)
        await call.until(lambda: turns(call))
        assert call.stt.counters["replayed_ms"] == said_ms
        assert turns(call)[0].text == "it is the one in the"


class Wire:
    """What is sent, instead of a connection."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.close_code = 0
        self.close_reason = ""

    async def send_bytes(self, data: bytes) -> None:
        self.sent.append(data)

    async def send_text(self, text: bytes) -> None:
        self.sent.append(text)

    async def receive(self) -> bytes:
        raise AssertionError("nobody listens")

    async def close(self) -> None: ...

    def abort(self) -> None: ...


async def test_silence_owed_after_the_loop_stood_still_is_bounded_and_what_follows_is_in_time() -> None:
    stt, wire = FluxStt(FluxOptions("ws://x", KEY)), Wire()
    stt.hear(1000, QUIET)
    stt._kept.hand_over()
    stt._heard_at -= 10.0  # ten seconds ago
    stt._call_ms += 10_000
    await stt._idle(wire)
    assert stt.counters["silence_ms"] == 80 * len(wire.sent) <= 1000 + 80
    assert stt.counters["silence_skipped_ms"] + stt.counters["silence_ms"] == pytest.approx(9500, abs=160)
    assert stt._loop.time() < stt._idle_from() <= stt._loop.time() + 0.08
    assert stt._timeline.call_ms(stt._timeline.sent_ms - 1) == pytest.approx(11_080, abs=120)
    assert set(wire.sent) == {QUIET}
    stt._silence_at = stt._loop.time() - 5
    stt._begin()
    assert stt._idle_from() >= stt._loop.time() - 1, "a new stream owes none of the old one's"
    await stt.close()


async def test_words_that_end_where_the_audio_does_end_there() -> None:
    """And not half a second later, where the silence begins."""
    stt = FluxStt(FluxOptions("ws://x", KEY))
    stt._timeline.sent(1000, 500)
    stt._timeline.sent(2000, 80)
    assert stt._span_ms([], 0.1, 0.5) == (1100, 1500)
    assert stt._span_ms([{"start": 0.2}, {"end": 0.5}], 0.0, 0.58) == (1200, 1500)
    assert stt._span_ms([], 0.5, 0.58) == (2000, 2080)


# ---- the connection -------------------------------------------------------------------------------------------------


async def test_pings_keep_it_while_there_is_nothing_to_send(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (websocket_plain, websocket_picows):
        monkeypatch.setattr(module, "PING_S", 0.1)
        monkeypatch.setattr(module, "PONG_S", 0.1)
    sandbox.deepgram.config.flux_idle_s = 0.5
    async with line(FluxStt(options(sandbox))) as call:
        await asyncio.sleep(1.2)
        assert call.stt.counters["reconnected"] == 0
        assert sandbox.deepgram.counters["closed_net_0001"] == 0
        assert sandbox.deepgram.counters["received_unknown"] == 0, "a KeepAlive is an error here"


@pytest.mark.parametrize("how", ["closed", "dropped", "error"])
async def test_a_turn_survives_the_loss_of_its_stream(sandbox: Sandbox, how: str) -> None:
    faults = sandbox.deepgram.faults
    async with line(FluxStt(options(sandbox))) as call:
        call.hear(tones("Hello there."), at_ms=1000)
        call.silence(480)
        await call.until(lambda: turns(call))
        call.at_ms = 20_000  # the agent spoke meanwhile
        speech = tones("my kitchen tap is leaking badly.")
        half = len(speech) // (2 * len(QUIET)) * len(QUIET)
        call.hear(speech[:half])
        await call.until(lambda: isinstance(call.events[-1], Transcript))
        if how == "error":
            faults.error_times, faults.error_after = 1, 0
        else:
            faults.close_times, faults.close_after, faults.close_code = 1, 0, 1011 if how == "closed" else 0
        call.hear(speech[half:])
        call.silence(480)
        await call.until(lambda: len(turns(call)) > 1)
        hello, over = turns(call)
        assert (hello.text, over.text) == ("Hello there.", "my kitchen tap is leaking badly.")
        assert over.start_ms == pytest.approx(20_050, abs=120), "call times survive the new stream"
        assert over.end_ms == pytest.approx(20_000 + len(speech) // BYTES_A_MS, abs=150)
        counters = call.stt.counters
        assert (counters["reconnected"], counters["errors"]) == (1, int(how == "error"))
        assert 250 <= counters["replayed_ms"] <= (half // BYTES_A_MS) + 2 * 1000, "Hello is over"


async def test_a_vendor_that_fails_each_stream_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "RECONNECT_S", (0.0, 0.01, 0.01))
    sandbox.deepgram.faults.error_times = 100
    async with line(FluxStt(options(sandbox))) as call:
        call.hear(tones(TAP))
        await call.until(call.lost)
        assert "again and again" in call.lost()[0]
        assert sandbox.deepgram.counters["upgrades"] <= 5, "it is not hammered"


async def test_a_stream_that_does_not_answer_speech_is_made_again(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.silent_times, sandbox.deepgram.faults.silent_after = 1, 1
    stt = FluxStt(options(sandbox))
    assert stt._stalled_s == 10.0, "four times the timeout, which ends any turn"
    stt._stalled_s = 0.4
    async with line(stt) as call:
        call.hear(tones(TAP))
        for _ in range(40):
            await asyncio.sleep(0.03)
            call.silence(80)
        await call.until(lambda: turns(call))
        assert call.stt.counters["stalled"] == 1
        assert turns(call)[0].text == TAP
        assert turns(call)[0].start_ms == pytest.approx(50, abs=120)


async def test_a_stream_that_does_not_answer_silence_is_left_alone(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.silent_times, sandbox.deepgram.faults.silent_after = 1, 1
    stt = FluxStt(options(sandbox))
    stt._stalled_s = 0.2
    async with line(stt) as call:
        for _ in range(20):
            await asyncio.sleep(0.03)
            call.silence(80)
        assert call.stt.counters["stalled"] == 0
        assert call.stt.counters["connected"] == 1


# ---- a vendor that says what it likes -------------------------------------------------------------------------------


def info(event: str, text: str = "", **fields: Any) -> dict[str, Any]:
    return {"type": "TurnInfo", "event": event, "transcript": text, "words": [], "turn_index": 0} | fields


@asynccontextmanager
async def saying(*messages: dict[str, Any] | str) -> AsyncIterator[Line]:
    """A stream on which the vendor says all of this, and the end of a turn behind it."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for message in messages:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_json(message))
        await socket.send_json(info("EndOfTurn", "that was all"))
        async for _ in socket:
            pass
        return socket

    async with a_server("/v2/listen", serve) as url, line(FluxStt(FluxOptions(url, KEY))) as call:
        await call.until(lambda: turns(call) and turns(call)[-1].text == "that was all")
        call.events.pop()
        yield call


async def test_other_words_than_were_guessed_take_the_guess_back_first() -> None:
    guess, end = info("EagerEndOfTurn", "my tap", audio_window_end=1.0), info("EndOfTurn", "my tap leaks")
    async with saying(info("StartOfTurn", "my"), guess, end) as call:
        assert call.events[1:] == [EagerEndOfTurn("my tap", 0), TurnResumed(), EndOfTurn("my tap leaks", 0, 0)]
        assert call.stt.counters["changed"] == call.stt.counters["resumed"] == 1


async def test_a_turn_without_words_is_told_only_when_words_of_it_were() -> None:
    async with saying(info("StartOfTurn"), info("EndOfTurn"), info("Update", " "), info("EndOfTurn")) as call:
        assert call.events == []
    async with saying(info("StartOfTurn", "hm"), info("Update"), info("EndOfTurn")) as call:
        assert [type(event) for event in call.events] == [Transcript, EndOfTurn]


async def test_the_words_of_a_guess_that_stands_are_not_told_again() -> None:
    async with saying(info("EagerEndOfTurn", "a"), info("Update", "a"), info("Update", "a b")) as call:
        assert [type(event) for event in call.events[:2]] == [EagerEndOfTurn, Transcript]


async def test_a_guess_that_the_vendor_takes_back_twice_is_taken_back_once() -> None:
    async with saying(info("EagerEndOfTurn", "a"), info("TurnResumed"), info("TurnResumed")) as call:
        assert call.events == [EagerEndOfTurn("a", 0), TurnResumed()]


async def test_a_guess_does_not_outlive_its_stream() -> None:
    streams = 0

    async def serve(request: web.Request) -> web.WebSocketResponse:
        nonlocal streams
        streams += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(info("EagerEndOfTurn", "a") if streams == 1 else info("EndOfTurn", "a"))
        if streams == 1:
            await socket.close(code=1011)
        async for _ in socket:
            pass
        return socket

    async with a_server("/v2/listen", serve) as url, line(FluxStt(FluxOptions(url, KEY))) as call:
        await call.until(lambda: turns(call))
        assert call.events == [
            EagerEndOfTurn("a", 0), TurnResumed(), SttAway(), SttBack(ends_turns=True), EndOfTurn("a", 0, 0),
        ]  # fmt: skip


async def test_messages_of_any_shape_are_survived_and_counted() -> None:
    shapes: tuple[dict[str, Any] | str, ...] = (
        "[1]", '"x"', "7", "null", "{garbage", '{"type":"Tomorrow"}', '{"type":"TurnInfo"}', info("Later"),
        info("Update", words=[7], text="a"), info("Update", audio_window_end="x"), {"type": "Warning"},
        {"type": "ConfigureFailure"}, {"type": "ConfigureSuccess"}, {"type": "Connected"},
    )  # fmt: skip
    async with saying(*shapes) as call:
        assert call.events == []
        counters = call.stt.counters
        assert counters["garbage"] == 7
        assert counters["unknown"] == 3
        assert counters["warnings"] == 2
        assert counters["reconnected"] == 0
