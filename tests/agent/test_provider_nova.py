"""The Nova client against the emulated vendor: what it sends, what it makes of answers, and how it survives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from agent.providers import deepgram, event_queue, nova, websocket
from agent.providers.base import ProviderError, Transcript, UtteranceEnd
from agent.providers.nova import NovaOptions, NovaStt
from agent.sandbox import Sandbox
from agent.speech_engines.tones import ToneVoice
from tests.agent.hearing import BYTES_A_MS, KEY, QUIET, a_server, line, tones, until


@pytest.fixture(params=["websockets", "picows"], autouse=True)
def _client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it over each WebSocket client."""
    monkeypatch.setattr(websocket, "choose_client", lambda client, url: request.param)


def options(sandbox: Sandbox) -> NovaOptions:
    return NovaOptions(sandbox.deepgram_url, KEY)


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_the_query() -> None:
    url = NovaOptions("wss://api.example", "k", keyterms=("post code", "plumber")).listen_url()
    assert url.startswith("wss://api.example/v1/listen?")
    assert parse_qs(urlsplit(url).query) == {
        "model": ["nova-3"],
        "language": ["en-GB"],
        "encoding": ["linear16"],
        "sample_rate": ["8000"],
        "channels": ["1"],
        "smart_format": ["true"],
        "interim_results": ["true"],
        "endpointing": ["300"],
        "utterance_end_ms": ["1000"],
        "vad_events": ["true"],
        "keyterm": ["post code", "plumber"],
    }
    older = NovaOptions("wss://x", "k", model="nova-2", keyterms=("plumber",)).listen_url()
    assert "keywords=plumber" in older
    assert "keyterm" not in older


async def test_more_terms_than_the_vendor_takes_do_not_cost_the_call_its_ears(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    terms = ("post code", " ", "post code ", *(f"a term of four words {n}" for n in range(200)))
    many = replace(options(sandbox), keyterms=terms)
    assert many.terms()[:2] == ["post code", "a term of four words 0"]
    assert 20 < len(many.terms()) < 125
    assert f"{201 - len(many.terms())} of 201 terms left out" in caplog.text
    async with line(NovaStt(many)) as call:
        call.hear(tones("hello"))
        call.stt.finalize()
        await call.until(call.finals)


async def test_an_utterance(sandbox: Sandbox) -> None:
    async with line(NovaStt(options(sandbox))) as call:
        call.silence(400)
        call.hear(tones("my tap is leaking"))
        call.silence(1600)
        await call.until(lambda: any(isinstance(event, UtteranceEnd) for event in call.events))
        (final,) = call.finals()
    assert (final.text, final.speech_final) == ("my tap is leaking", True)
    assert 400 <= final.start_ms <= 560
    assert 1250 <= final.end_ms <= 1500
    counters = call.stt.counters
    assert counters["connected"] == 1
    assert counters["finals"] >= 1
    assert counters["unknown"] == counters["garbage"] == 0
    assert sandbox.deepgram.counters["received_CloseStream"] == 1
    assert sandbox.deepgram.counters["text_sent_as_audio"] == sandbox.deepgram.counters["empty_frames"] == 0


async def test_an_utterance_at_16_khz(sandbox: Sandbox) -> None:
    async with line(NovaStt(replace(options(sandbox), sample_rate=16000))) as call:
        pcm = bytes(2 * 16000) + ToneVoice().speak("my tap is leaking", 16000).samples.tobytes() + bytes(2 * 16000)
        for start in range(0, len(pcm), 2560):
            call.stt.hear(5000 + start // 32, pcm[start : start + 2560])
        await call.until(lambda: call.stt._timeline.sent_ms == pytest.approx(len(pcm) / 32))
        await call.until(call.finals)
        (final,) = call.finals()
    assert final.text == "my tap is leaking"
    assert 6000 <= final.start_ms <= 6160
    assert 6850 <= final.end_ms <= 7100


async def test_finalize_brings_the_words_at_once(sandbox: Sandbox) -> None:
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("hello there"))
        call.stt.finalize()
        await call.until(call.finals)
        assert call.finals()[0].text == "hello there"
        assert not call.finals()[0].speech_final, "our own Finalize is no end that the vendor heard"


async def test_times_are_the_calls_after_a_gap_and_a_preroll(sandbox: Sandbox) -> None:
    async with line(NovaStt(options(sandbox))) as call:
        call.silence(500)
        call.hear(bytes(100 * BYTES_A_MS) + tones("stop"), at_ms=60_000)
        call.silence(600)
        await call.until(call.finals)
        assert call.finals()[0].start_ms == pytest.approx(60_150, abs=120)


async def test_it_keeps_a_silent_stream_alive(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova, "KEEP_ALIVE_S", 0.1)
    sandbox.deepgram.config.idle_s = 0.4
    async with line(NovaStt(options(sandbox))) as call:
        await asyncio.sleep(0.9)
        assert call.stt.counters["reconnected"] == 0
        assert sandbox.deepgram.counters["received_KeepAlive"] >= 5


# ---- refused --------------------------------------------------------------------------------------------------------


async def refusal(stt: NovaStt) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await stt.connect()
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)
    await stt.close()
    return caught.value


async def test_a_wrong_key_is_refused_with_the_vendors_word(sandbox: Sandbox) -> None:
    error = await refusal(NovaStt(replace(options(sandbox), api_key=KEY + "-wrong")))
    assert error.status == 401
    assert "HTTP 401: Invalid credentials." in str(error)
    assert sandbox.deepgram.counters["upgrades"] == 1, "it will not be otherwise in a second"


async def test_a_wrong_query_is_refused_with_the_vendors_word(sandbox: Sandbox) -> None:
    error = await refusal(NovaStt(replace(options(sandbox), utterance_end_ms=500)))
    assert error.status == 400
    assert "utterance_end_ms" in str(error)


async def test_a_full_vendor_is_asked_twice(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "RETRY_S", 0.02)
    sandbox.deepgram.faults.refuse_times, sandbox.deepgram.faults.refuse_status = 2, 429
    error = await refusal(NovaStt(options(sandbox)))
    assert error.status == 429
    sandbox.deepgram.faults.refuse_times = 1
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("hello"))
        call.stt.finalize()
        await call.until(call.finals)


async def test_nobody_there_is_an_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "RETRY_S", 0.02)
    error = await refusal(NovaStt(NovaOptions("ws://127.0.0.1:1", KEY)))
    assert (error.status, "ws://127.0.0.1:1" in str(error)) == (0, True)


# ---- lost in the middle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1011, 1000])
async def test_a_lost_stream_is_made_again_and_what_was_not_final_is_sent_again(sandbox: Sandbox, code: int) -> None:
    sandbox.deepgram.config.interim_s = 0.3
    async with line(NovaStt(options(sandbox))) as call:
        speech = tones("my kitchen tap is leaking badly")
        call.hear(tones("hello"))
        call.silence(500)
        await call.until(call.finals)
        call.at_ms = 20_000  # the agent spoke meanwhile
        half = len(speech) // (2 * len(QUIET)) * len(QUIET)
        call.hear(speech[:half])
        await call.until(lambda: "my" in [e.text.split(" ")[0] for e in call.events if isinstance(e, Transcript)])
        sandbox.deepgram.faults.close_times, sandbox.deepgram.faults.close_code = 1, code
        sandbox.deepgram.faults.close_after = 0
        call.hear(speech[half:])
        call.silence(800)
        await call.until(lambda: len(call.finals()) > 1)
        hello, final = call.finals()
        assert (hello.text, final.text) == ("hello", "my kitchen tap is leaking badly")
        assert final.start_ms == pytest.approx(20_050, abs=120), "call times survive the new stream"
        assert final.end_ms == pytest.approx(20_000 + len(speech) // BYTES_A_MS, abs=150)
        assert call.stt.counters["reconnected"] == 1
        assert call.stt.counters["replayed_ms"] >= half // BYTES_A_MS


async def test_what_is_final_is_not_sent_again(sandbox: Sandbox) -> None:
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("first thing"))
        call.silence(500)
        await call.until(call.finals)
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(1011)
        await call.until(lambda: call.stt.counters["reconnected"])
        call.hear(tones("second thing"))
        call.silence(500)
        await call.until(lambda: len(call.finals()) > 1)
        assert [final.text for final in call.finals()] == ["first thing", "second thing"]


async def test_audio_is_kept_while_there_is_no_connection(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "RECONNECT_S", (0.0, 0.05, 0.05))
    async with line(NovaStt(options(sandbox))) as call:
        await call.until(lambda: sandbox.deepgram.sockets)
        sandbox.deepgram.faults.refuse_times = 2
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(0)
        call.hear(tones("are you there"), at_ms=7000)
        call.silence(600)
        await call.until(call.finals)
        assert call.finals()[0].text == "are you there"
        assert call.finals()[0].start_ms == pytest.approx(7050, abs=120)


async def test_the_oldest_is_dropped_and_counted_beyond_the_limit(sandbox: Sandbox) -> None:
    stt = NovaStt(options(sandbox))
    for second in range(40):
        stt.hear(1000 * second, bytes(1000 * BYTES_A_MS))
    assert stt.counters["dropped_ms"] == 10_000
    stt.hear(0, b"")
    assert stt.counters["dropped_ms"] == 10_000


async def test_a_key_that_is_revoked_ends_it_at_once(sandbox: Sandbox) -> None:
    async with line(NovaStt(options(sandbox))) as call:
        await call.until(lambda: sandbox.deepgram.sockets)
        sandbox.deepgram.config.keys = ("another",)
        for socket in list(sandbox.deepgram.sockets):
            await socket.close(1008)
        await call.until(call.lost)
        assert "401" in call.lost()[0]
        assert KEY not in call.lost()[0]
        assert sandbox.deepgram.counters["upgrades"] == 2


async def test_a_vendor_that_closes_each_stream_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "RECONNECT_S", (0.0, 0.01, 0.01))
    sandbox.deepgram.faults.close_times = 100
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("hello there my tap is leaking"))
        await call.until(call.lost)
        assert "again and again" in call.lost()[0]
        assert sandbox.deepgram.counters["upgrades"] <= 5, "it is not hammered"


async def test_a_stream_that_says_nothing_is_made_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova, "STALLED_S", 0.4)
    sandbox.deepgram.faults.silent_times = 1
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("my tap is leaking"))
        call.silence(600)
        for _ in range(30):
            await asyncio.sleep(0.03)
            call.silence(80)
        await call.until(call.finals)
        assert call.stt.counters["stalled"] == 1
        assert call.finals()[0].text == "my tap is leaking"
        assert call.finals()[0].start_ms == pytest.approx(50, abs=120)


async def test_garbage_and_the_vendors_errors_are_counted_and_survived(sandbox: Sandbox) -> None:
    sandbox.deepgram.faults.garbage_times = 1
    sandbox.deepgram.faults.error_times, sandbox.deepgram.faults.error_after = 1, 1
    async with line(NovaStt(options(sandbox))) as call:
        call.hear(tones("hello there"))
        call.silence(500)
        call.hear(tones("my tap is leaking"))
        call.silence(600)
        await call.until(lambda: any("leaking" in final.text for final in call.finals()))
        assert (call.stt.counters["garbage"], call.stt.counters["errors"]) == (1, 1)
        assert call.stt.counters["reconnected"] == 1, "words may be missing on a stream with an error"


SHAPES = (
    '[1]', '"x"', "7", "null", '{"type":"Results"}', '{"type":"Results","channel":[]}', '{"type":"Tomorrow"}',
    '{"type":"Results","channel":{"alternatives":[]},"start":"x"}',
    '{"type":"Results","channel":{"alternatives":["x"]}}',
    '{"type":"Results","channel":{"alternatives":[{"transcript":"a","words":[1]}]}}',
    '{"type":"Results","is_final":true,"start":null,"duration":null,"channel":{"alternatives":[{"transcript":null}]}}',
)  # fmt: skip


async def test_messages_of_any_shape_are_survived() -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for shape in SHAPES:
            await socket.send_str(shape)
        await socket.send_bytes(b"\xff\xfe")
        last = {"type": "Results", "is_final": True, "channel": {"alternatives": [{"transcript": " the end "}]}}
        await socket.send_json(last)
        async for _ in socket:
            pass
        return socket

    async with a_server("/v1/listen", serve) as url, line(NovaStt(NovaOptions(url, KEY))) as call:
        await call.until(lambda: any(final.text == "the end" for final in call.finals()))
        assert call.stt.counters["garbage"] >= 5
        assert call.stt.counters["unknown"] == 1


async def test_closing_a_vendor_that_does_not_answer_takes_no_time() -> None:
    """It leaves no connection behind either: an open transport is a warning, and warnings are errors here."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import base64
        import hashlib

        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        stt = NovaStt(NovaOptions(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY))
        await stt.connect()
        begun = asyncio.get_running_loop().time()
        await stt.close()
        await stt.close()
        assert asyncio.get_running_loop().time() - begun < 1.5
        async with asyncio.timeout(1):
            await gone.wait()


async def test_events_that_nobody_takes_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "QUEUED", 4)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for number in range(10):
            await socket.send_json(
                {"type": "Results", "is_final": True, "channel": {"alternatives": [{"transcript": str(number)}]}}
            )
        async for _ in socket:
            pass
        return socket

    async with a_server("/v1/listen", serve) as url:
        stt = NovaStt(NovaOptions(url, KEY))
        await stt.connect()
        await until(lambda: stt.counters["finals"] == 10)
        assert stt.counters["events_dropped"] == 6
        events = stt.events()
        first = await anext(events)
        assert isinstance(first, Transcript)
        assert first.text == "6"
        await stt.close()


async def test_what_we_slept_through_is_not_the_vendors_fault() -> None:
    """After a freeze of our own the answer may be there and not be read yet."""
    aborted = 0

    class Wire:
        def abort(self) -> None:
            nonlocal aborted
            aborted += 1

    stt = NovaStt(NovaOptions("ws://x", KEY))
    loop = asyncio.get_running_loop()

    def unanswered() -> None:
        stt._begin()
        stt._timeline.sent(0, 5000)
        stt._speech_ms, stt._speech_from = 500.0, (0.0, loop.time() - 5)

    unanswered()
    assert not stt._give_up(Wire())  # type: ignore[arg-type]
    stt._answered()
    await asyncio.sleep(0.15)
    assert not stt._give_up(Wire())  # type: ignore[arg-type]
    unanswered()
    assert not stt._give_up(Wire())  # type: ignore[arg-type]
    assert loop.time() < stt._stalls_at() <= loop.time() + 0.1
    await asyncio.sleep(0.15)
    assert stt._give_up(Wire())  # type: ignore[arg-type]
    assert (aborted, stt.counters["stalled"]) == (1, 1)
    await stt.close()
