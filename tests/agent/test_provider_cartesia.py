"""The Cartesia client against the emulated vendor: contexts, sockets, and every way in which they end."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from agent.providers import cartesia, cartesia_wire, websocket
from agent.providers.base import Audio, ProviderError, SpeakingVoice, Words
from agent.providers.breaker import Breaker, BreakerState
from agent.providers.cartesia import CartesiaOptions, CartesiaTts
from agent.providers.cartesia_wire import CartesiaSynthesis
from agent.sandbox import Sandbox
from agent.speech_engines.tones import ToneRecogniser

KEY = "car-secret-key"
EARS = ToneRecogniser()


@pytest.fixture(params=["websockets", "picows"], autouse=True)
def _client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it over each WebSocket client."""
    monkeypatch.setattr(websocket, "choose_client", lambda client, url: request.param)


async def until(condition: Callable[[], object], seconds: float = 3.0) -> None:
    limit = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < limit, "it did not happen"
        await asyncio.sleep(0.01)


class Spoken:
    """What came of a synthesis."""

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.words: list[tuple[str, int]] = []

    @property
    def text(self) -> str:
        return " ".join(word.text for word in EARS.transcribe(np.frombuffer(self.pcm, "<i2")))

    async def take(self, synthesis: CartesiaSynthesis) -> Spoken:
        async with asyncio.timeout(8):
            async for event in synthesis.events():
                if isinstance(event, Audio):
                    self.pcm += event.pcm
                elif isinstance(event, Words):
                    self.words += zip(event.words, event.start_ms, strict=True)
        return self


async def speak(tts: CartesiaTts, *texts: str) -> Spoken:
    synthesis = await tts.open()
    for text in texts:
        await synthesis.say(text)
    await synthesis.finish()
    return await Spoken().take(synthesis)


async def speak_slowly(tts: CartesiaTts, *steps: tuple[float, str]) -> Spoken:
    """Say each text after a pause of so many seconds, while somebody listens."""
    synthesis = await tts.open()
    reader = asyncio.create_task(Spoken().take(synthesis))
    for pause_s, text in steps:
        await asyncio.sleep(pause_s)
        await synthesis.say(text)
    await synthesis.finish()
    return await reader


@pytest.fixture
def options(sandbox: Sandbox) -> CartesiaOptions:
    return CartesiaOptions(sandbox.cartesia_url, KEY, voice_id="v-1")


@pytest.fixture
async def tts(options: CartesiaOptions) -> AsyncIterator[CartesiaTts]:
    running = CartesiaTts(options)
    yield running
    await running.close()


# ---- what is said ---------------------------------------------------------------------------------------------------


async def test_clauses_are_one_flow_of_speech(tts: CartesiaTts, sandbox: Sandbox) -> None:
    spoken = await speak(tts, "we can be there, ", "within the hour ")
    assert spoken.text == "we can be there, within the hour"
    assert [word for word, _ in spoken.words] == ["we", "can", "be", "there,", "within", "the", "hour"]
    starts = [start for _, start in spoken.words]
    assert starts == sorted(starts)
    assert starts[4] >= 800, "the second clause counts from the beginning of the first"
    assert starts[-1] < len(spoken.pcm) / 16
    assert sandbox.cartesia.counters["refused_messages"] == 0
    assert tts.counters["garbage"] == tts.counters["late"] == 0


async def test_wideband_speech_has_twice_the_samples_and_the_same_times(options: CartesiaOptions) -> None:
    text = "within the hour"
    spoken = []
    for rate in (8000, 16000):
        tts = CartesiaTts(replace(options, sample_rate=rate))
        spoken.append(await speak(tts, text))
        await tts.close()
    narrow, wide = spoken
    assert len(wide.pcm) == 2 * len(narrow.pcm)
    assert wide.words == narrow.words


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_new_context_counts_from_the_end_of_the_one_before(options: CartesiaOptions, rate: int) -> None:
    tts = CartesiaTts(replace(options, sample_rate=rate))
    synthesis = await tts.open()
    synthesis.take(Audio(bytes(2 * rate)))
    synthesis._renew()
    synthesis.take(Words(("later",), (5,)))
    synthesis.take(None)
    events = [event async for event in synthesis.events()]
    assert events[1] == Words(("later",), (1005,))
    await tts.close()


async def test_nothing_to_say_asks_for_nothing(tts: CartesiaTts, sandbox: Sandbox) -> None:
    assert (await speak(tts, "")).pcm == b""
    assert sandbox.cartesia.counters["messages"] == 0
    assert all(socket.contexts == 0 for socket in tts._sockets)


async def test_the_end_is_told_once(tts: CartesiaTts, sandbox: Sandbox) -> None:
    synthesis = await tts.open()
    await synthesis.say("hello ")
    await asyncio.gather(synthesis.finish(), synthesis.finish())
    assert (await Spoken().take(synthesis)).text == "hello"
    assert sandbox.cartesia.counters["messages"] == 2


async def test_one_socket_carries_contexts_that_do_not_mix(tts: CartesiaTts, sandbox: Sandbox) -> None:
    texts = [f"this is caller {n}" for n in range(6)]
    spoken = await asyncio.gather(*(speak(tts, text) for text in texts))
    assert [each.text for each in spoken] == texts
    assert sandbox.cartesia.counters["upgrades"] == 1


async def test_eight_contexts_a_socket_then_a_second_one(tts: CartesiaTts, sandbox: Sandbox) -> None:
    contexts = [await tts.open() for _ in range(cartesia.CONTEXTS_A_SOCKET)]
    assert sandbox.cartesia.counters["upgrades"] == 1
    contexts.append(await tts.open())
    assert sandbox.cartesia.counters["upgrades"] == 2
    for context in contexts:
        await context.say("hello ")
        await context.finish()
    assert {(await Spoken().take(context)).text for context in contexts} == {"hello"}
    assert sorted(socket.contexts for socket in tts._sockets) == [0, 0]
    await tts.open()
    assert sandbox.cartesia.counters["upgrades"] == 2


async def test_many_at_once_open_no_more_sockets_than_they_need(tts: CartesiaTts, sandbox: Sandbox) -> None:
    contexts = await asyncio.gather(*(tts.open() for _ in range(20)))
    assert sandbox.cartesia.counters["upgrades"] == 3
    await asyncio.gather(*(context.cancel() for context in contexts))


# ---- cancelled ------------------------------------------------------------------------------------------------------


async def test_the_late_audio_of_a_cancelled_context_is_dropped(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.config.speed = 4.0
    synthesis = await tts.open()
    await synthesis.say("a very long sentence that nobody wants to hear to its end ")
    heard = Spoken()
    reader = asyncio.create_task(heard.take(synthesis))
    await until(lambda: heard.pcm)
    await synthesis.cancel()
    await synthesis.cancel()
    async with asyncio.timeout(1):
        await reader  # it ends, and does not hang
    before = len(heard.pcm)
    other = await speak(tts, "hello ")
    assert other.text == "hello"
    await until(lambda: tts.counters["late"] > 2)
    assert len(heard.pcm) == before
    assert sandbox.cartesia.counters["cancels"] == 1
    assert sandbox.cartesia.counters["upgrades"] == 1
    await synthesis.say("more ")
    assert sandbox.cartesia.counters["messages"] == 3, "nothing is said in a context that is over"


# ---- lost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1000, 1011])
async def test_a_lost_connection_ends_its_contexts_with_an_error(tts: CartesiaTts, sandbox: Sandbox, code: int) -> None:
    sandbox.cartesia.config.speed = 2.0
    contexts = [await tts.open() for _ in range(2)]
    for context in contexts:
        await context.say("a long sentence that is not heard to its end ")
    readers = [asyncio.create_task(Spoken().take(context)) for context in contexts]
    await until(lambda: sandbox.cartesia.counters["sent_chunk"] > 2)
    for socket in list(sandbox.cartesia.sockets):
        await socket.close(code)
    for result in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(result, ProviderError), result
        assert "connection is gone" in str(result)
    assert (await speak(tts, "hello again ")).text == "hello again"
    assert sandbox.cartesia.counters["upgrades"] == 2


async def test_a_connection_that_was_lost_unnoticed_is_an_error_when_spoken_on(
    tts: CartesiaTts, sandbox: Sandbox
) -> None:
    synthesis = await tts.open()
    for socket in list(sandbox.cartesia.sockets):
        await socket.close(0)
    with pytest.raises(ProviderError, match="connection is gone"):
        await Spoken().take(synthesis)
    await synthesis.say("hello ")
    await synthesis.cancel()


async def test_an_idle_socket_is_replaced_before_the_vendor_closes_it(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await speak(tts, "hello ")
    monkeypatch.setattr(cartesia, "IDLE_S", 0.1)
    await asyncio.sleep(0.15)
    assert (await speak(tts, "hello ")).text == "hello"
    assert sandbox.cartesia.counters["upgrades"] == 2
    await until(lambda: sandbox.cartesia.gauges["sockets"] == 1)
    assert sandbox.cartesia.counters["closed_idle"] == 0


async def test_a_silent_vendor_is_an_error_in_the_end_and_its_socket_is_left(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.3)
    sandbox.cartesia.faults.silent_times = 1
    with pytest.raises(ProviderError, match="no audio"):
        await speak(tts, "hello ")
    assert (await speak(tts, "hello ")).text == "hello"
    assert sandbox.cartesia.counters["upgrades"] == 2


async def test_an_end_that_does_not_come_is_not_waited_for_when_all_was_answered(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.3)
    sandbox.cartesia.faults.omit_done_times = 1
    assert (await speak(tts, "hello ")).text == "hello"
    assert (await speak(tts, "again ")).text == "again"
    assert sandbox.cartesia.counters["upgrades"] == 1


async def test_an_end_that_does_not_come_is_an_error_where_nothing_says_that_all_was_spoken(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.3)
    wire.answers = [{"type": "chunk", "data": base64.b64encode(bytes(100)).decode()}]
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY))
    with pytest.raises(ProviderError, match="no audio"):
        await speak(tts, "hello ")
    await tts.close()


async def test_a_silent_context_is_left_and_the_others_on_its_connection_go_on(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.4)
    sandbox.cartesia.config.speed = 2.0
    sandbox.cartesia.faults.mute_times, sandbox.cartesia.faults.mute_after_ms = 1, 100
    mute, heard = await asyncio.gather(
        speak(tts, "nobody hears this "), speak(tts, "but all of this is heard "), return_exceptions=True
    )
    assert isinstance(mute, ProviderError)
    assert isinstance(heard, Spoken)
    assert heard.text == "but all of this is heard"
    assert (await speak(tts, "hello ")).text == "hello"
    assert sandbox.cartesia.counters["upgrades"] == 2, "no new context goes where one fell silent"
    assert tts.counters["silent"] == 1


async def test_text_that_is_given_late_has_all_its_time(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is counted from the text, not from when somebody began to listen."""
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.5)
    sandbox.cartesia.config.first_audio = 350.0
    assert (await speak_slowly(tts, (0.35, "hello "))).text == "hello"


async def test_a_pause_in_the_thinking_is_no_silence_of_the_vendor(
    tts: CartesiaTts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.1)
    assert (await speak_slowly(tts, (0.25, "well, "), (0.4, "yes "))).text == "well, yes"


# ---- expired --------------------------------------------------------------------------------------------------------


async def test_text_that_comes_after_a_long_pause_gets_a_new_context(tts: CartesiaTts, sandbox: Sandbox) -> None:
    """A context lives for 1 s after its last audio, and the LLM may think for longer than that."""
    sandbox.cartesia.config.context_expiry_s = 0.65
    synthesis = await tts.open()
    reader = asyncio.create_task(Spoken().take(synthesis))
    await synthesis.say("let me see, ")
    await until(lambda: sandbox.cartesia.counters["contexts_expired"])
    await synthesis.say("yes we can ")
    await synthesis.finish()
    spoken = await reader
    assert spoken.text == "let me see, yes we can"
    starts = [start for _, start in spoken.words]
    assert starts == sorted(starts)
    assert starts[3] == pytest.approx(700, abs=60), "words of the second context count from the beginning of all"
    assert sandbox.cartesia.counters["refused_messages"] == 0
    assert [socket.contexts for socket in tts._sockets] == [0]


async def test_the_end_of_a_context_that_has_expired_is_no_error(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.config.context_expiry_s = 0.65
    synthesis = await tts.open()
    reader = asyncio.create_task(Spoken().take(synthesis))
    await synthesis.say("let me see ")
    await until(lambda: sandbox.cartesia.counters["contexts_expired"])
    await synthesis.finish()
    assert (await reader).text == "let me see"
    assert sandbox.cartesia.counters["refused_messages"] == 0


async def test_a_slow_vendor_is_not_taken_for_an_expired_one(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "EXPIRY_S", 0.05)
    sandbox.cartesia.config.first_audio = 300.0
    assert (await speak_slowly(tts, (0.0, "let me see, "), (0.2, "yes "))).text == "let me see, yes"
    assert sandbox.cartesia.counters["contexts"] == 1


async def test_text_that_an_expired_context_did_not_take_is_said_in_a_new_one(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "EXPIRY_S", 60.0)  # as if the vendor's clock were another one
    sandbox.cartesia.config.context_expiry_s = 0.05
    synthesis = await tts.open()
    reader = asyncio.create_task(Spoken().take(synthesis))
    await synthesis.say("let me see, ")
    await until(lambda: sandbox.cartesia.counters["contexts_expired"])
    await synthesis.say("yes, ")
    await synthesis.say("we can ")
    await synthesis.finish()
    spoken = await reader
    assert spoken.text == "let me see, yes, we can"
    assert [word for word, _ in spoken.words] == ["let", "me", "see,", "yes,", "we", "can"]
    assert sandbox.cartesia.counters["refused_messages"] >= 1


async def test_only_the_end_of_an_expired_context_was_refused(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "EXPIRY_S", 60.0)
    sandbox.cartesia.config.context_expiry_s = 0.05
    synthesis = await tts.open()
    reader = asyncio.create_task(Spoken().take(synthesis))
    await synthesis.say("let me see ")
    await until(lambda: sandbox.cartesia.counters["contexts_expired"])
    await synthesis.finish()
    assert (await reader).text == "let me see"
    assert sandbox.cartesia.counters["contexts"] == 1


# ---- refused --------------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_refused_at_once(options: CartesiaOptions, sandbox: Sandbox) -> None:
    tts = CartesiaTts(replace(options, api_key="wrong-secret"))
    with pytest.raises(ProviderError, match="HTTP 401") as caught:
        await tts.warm()
    assert "wrong-secret" not in str(caught.value) + repr(caught.value.__cause__)
    assert sandbox.cartesia.counters["upgrades"] == 1


async def test_a_full_vendor_is_asked_again(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia, "RETRIES_S", (0.02, 0.02))
    sandbox.cartesia.faults.refuse_times, sandbox.cartesia.faults.refuse_status = 2, 429
    assert (await speak(tts, "hello ")).text == "hello"
    assert tts._breaker.counters["failed"] == 0, "nobody was without a connection"
    sandbox.cartesia.faults.refuse_times = 3
    await tts.close()
    with pytest.raises(ProviderError, match="HTTP 429"):
        await tts.open()
    assert sandbox.cartesia.counters["upgrades"] == 6
    assert tts._breaker.counters["failed"] == 1


async def test_a_slow_accept_is_waited_for_once_by_all(
    tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia, "OPEN_S", 0.3)
    sandbox.cartesia.faults.delay_times, sandbox.cartesia.faults.delay_ms = 1, 700
    began = asyncio.get_running_loop().time()
    results = await asyncio.gather(*(tts.open() for _ in range(6)), return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 0.6
    assert all(isinstance(result, ProviderError) and "no connection within" in str(result) for result in results)
    await until(lambda: tts.counters["connected"])  # it serves those who come after
    assert sandbox.cartesia.counters["upgrades"] == 1
    tts._breaker.succeeded()
    assert (await speak(tts, "hello ")).text == "hello"


@pytest.mark.parametrize(("status", "retry_after_s"), [(401, None), (402, None), (403, None), (429, 9.0)])
async def test_what_one_call_finds_out_no_other_asks_again(
    options: CartesiaOptions, sandbox: Sandbox, status: int, retry_after_s: float | None
) -> None:
    breaker = Breaker("tts cartesia")
    tts = CartesiaTts(options, breaker)
    sandbox.cartesia.faults.refuse_times, sandbox.cartesia.faults.refuse_status = 1, status
    sandbox.cartesia.faults.retry_after_s = retry_after_s
    with pytest.raises(ProviderError, match=f"HTTP {status}"):
        await tts.open()
    for opening in (tts.open(), tts.warm()):
        with pytest.raises(ProviderError, match="left alone") as caught:
            await opening
    assert caught.value.retry_after_s == pytest.approx(retry_after_s or 5.0, abs=1.0)
    assert sandbox.cartesia.counters["upgrades"] == 1
    await tts.close()


async def test_a_vendor_that_fails_is_left_alone_and_tried_again(options: CartesiaOptions, sandbox: Sandbox) -> None:
    clock = [0.0]
    breaker = Breaker("tts cartesia", clock=lambda: clock[0])
    tts = CartesiaTts(options, breaker)
    sandbox.cartesia.faults.context_error_times = 3
    for _ in range(3):
        with pytest.raises(ProviderError, match="internal_error"):
            await speak(tts, "hello ")
    with pytest.raises(ProviderError, match="left alone"):
        await tts.open()
    clock[0] = 6.0
    assert (await speak(tts, "hello ")).text == "hello"
    assert breaker.state is BreakerState.CLOSED
    await tts.close()


async def test_a_lost_connection_is_one_failure_however_many_were_speaking(tts: CartesiaTts, sandbox: Sandbox) -> None:
    contexts = [await tts.open() for _ in range(6)]
    for socket in list(sandbox.cartesia.sockets):
        await socket.close(1011)
    for context in contexts:
        with pytest.raises(ProviderError):
            await Spoken().take(context)
    assert tts._breaker.counters["failed"] == 1
    assert (await speak(tts, "hello ")).text == "hello"


async def test_one_companys_wrong_voice_says_nothing_of_the_vendor(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.faults.context_error_times, sandbox.cartesia.faults.context_error_status = 4, 404
    for _ in range(4):
        with pytest.raises(ProviderError) as caught:
            await speak(tts, "hello ")
        assert caught.value.status == 404
    assert (await speak(tts, "hello ")).text == "hello"
    assert tts._breaker.counters["failed"] == 0


async def test_a_message_of_an_unknown_type_is_counted_and_survived(wire: Wire) -> None:
    wire.answers = [{"type": "tomorrow"}, {"type": "done"}]
    other = CartesiaTts(CartesiaOptions(wire.url, KEY))
    await speak(other, "hello")
    assert other.counters["unknown"] == 1
    await other.close()


async def test_a_context_too_many_waits_for_its_turn(tts: CartesiaTts, sandbox: Sandbox) -> None:
    """Nothing of its text is lost, and nothing comes before what was said first."""
    sandbox.cartesia.config.max_contexts, sandbox.cartesia.config.speed = 1, 8.0
    first = await tts.open()
    await first.say("a sentence of a second or so ")
    await first.finish()
    reading = asyncio.create_task(Spoken().take(first))
    await until(lambda: sandbox.cartesia.counters["sent_chunk"])
    second = await tts.open()
    waiting = asyncio.create_task(Spoken().take(second))
    for text in ("one, ", "two, ", "three "):
        await second.say(text)
        await asyncio.sleep(0.03)
    await second.finish()
    assert (await waiting).text == "one, two, three"
    assert (await reading).text == "a sentence of a second or so"
    assert tts._breaker.counters["failed"] == 0


async def test_a_context_too_many_waits_no_longer_than_a_caller(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.config.max_contexts, sandbox.cartesia.config.speed = 1, 1.0
    first = await tts.open()
    await first.say("a sentence that takes a while, two seconds and more ")
    await first.finish()
    reading = asyncio.create_task(Spoken().take(first))
    await until(lambda: sandbox.cartesia.counters["sent_chunk"])
    began = asyncio.get_running_loop().time()
    with pytest.raises(ProviderError, match="concurrency_limited") as caught:
        await speak(tts, "hello ")
    assert asyncio.get_running_loop().time() - began < 1.4
    assert caught.value.status == 429
    assert (await reading).text == "a sentence that takes a while, two seconds and more"


async def test_an_error_that_names_no_context_ends_each_of_them(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.faults.error_times, sandbox.cartesia.faults.error_after = 1, 0
    results = await asyncio.gather(speak(tts, "one "), speak(tts, "two "), return_exceptions=True)
    assert all(isinstance(result, ProviderError) and result.status == 500 for result in results), results


async def test_garbage_is_counted_and_survived(tts: CartesiaTts, sandbox: Sandbox) -> None:
    sandbox.cartesia.faults.garbage_times = 1
    assert (await speak(tts, "hello ")).text == "hello"
    assert tts.counters["garbage"] == 1


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartesia, "RETRIES_S", (0.02, 0.02))
    with pytest.raises(ProviderError, match=r"no connection to ws://127\.0\.0\.1:1"):
        await CartesiaTts(CartesiaOptions("ws://127.0.0.1:1", KEY)).open()


# ---- on the wire ----------------------------------------------------------------------------------------------------


class Wire:
    """A server of the test's own: notes what it gets, answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.answers: list[str | dict[str, Any]] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.headers = dict(request.headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            document = json.loads(message.data)
            self.got.append(document)
            if not document.get("continue", True):
                for answer in self.answers:
                    if isinstance(answer, dict):
                        answer = json.dumps({"context_id": document["context_id"], **answer})
                    await socket.send_str(answer)
        return socket


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    server, app = Wire(), web.Application()
    app.router.add_get("/tts/websocket", server.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_every_message_of_a_context_has_the_same_fields(wire: Wire) -> None:
    wire.answers = [{"type": "done", "done": True}]
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY, model="sonic-3", voice_id="v-1", language="en"))
    synthesis = await tts.open(SpeakingVoice("v-2", "de"))
    await synthesis.say("Hello, ")
    await synthesis.say("world.")
    await synthesis.finish()
    await Spoken().take(synthesis)
    await tts.close()
    first, second, last = wire.got
    assert first == {
        "model_id": "sonic-3",
        "voice": {"id": "v-2"},
        "language": "de",
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
        "context_id": first["context_id"],
        "max_buffer_delay_ms": 0,
        "add_timestamps": True,
        "transcript": "Hello, ",
        "continue": True,
    }
    assert second == {**first, "transcript": "world."}
    assert last == {**first, "transcript": "", "continue": False}
    assert wire.headers["Authorization"] == f"Bearer {KEY}"
    assert wire.headers["Cartesia-Version"] == "2026-08-14"
    assert KEY not in json.dumps(wire.got)


async def test_messages_of_any_shape_are_survived(wire: Wire) -> None:
    pcm = base64.b64encode(b"\x01\x00\x02\x00").decode()
    wire.answers = [
        "{garbage", "[1]", "null", '"x"', '{"type":"chunk"}', '{"type":"done","context_id":"nobody"}',
        {"type": "chunk", "data": "not base64!"},
        {"type": "chunk", "data": None},
        {"type": "timestamps", "word_timestamps": {"words": ["a"], "start": ["x"]}},
        {"type": "timestamps", "word_timestamps": 7},
        {"type": "timestamps"},
        {"type": "tomorrow"},
        {"type": "chunk", "data": pcm},
        {"type": "done"},
    ]  # fmt: skip
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY))
    assert (await speak(tts, "hello")).pcm == b"\x01\x00\x02\x00"
    assert tts.counters["garbage"] >= 6
    assert tts.counters["late"] >= 1
    await tts.close()


async def test_more_audio_than_anybody_takes_is_an_error(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartesia_wire, "LIMIT_MS", 187)  # 3 chunks
    chunk = {"type": "chunk", "data": base64.b64encode(bytes(1000)).decode()}
    wire.answers = [chunk] * 8
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY))
    synthesis = await tts.open()
    await synthesis.say("hello")
    await synthesis.finish()
    await until(lambda: tts.counters["late"])
    with pytest.raises(ProviderError, match="of audio in one context"):
        await Spoken().take(synthesis)
    await tts.close()


async def test_an_error_names_what_the_vendor_said_and_no_more(wire: Wire) -> None:
    wire.answers = [{"type": "error", "status_code": 402, "error_code": "quota", "message": "m" * 5000}]
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY))
    with pytest.raises(ProviderError) as caught:
        await speak(tts, "hello")
    assert (str(caught.value), caught.value.status) == ("Cartesia: quota", 402)
    await tts.close()


# ---- limits of the vendor -------------------------------------------------------------------------------------------


async def test_sockets_are_bounded(tts: CartesiaTts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartesia, "SOCKETS", 2)
    contexts = [await tts.open() for _ in range(2 * cartesia.CONTEXTS_A_SOCKET)]
    with pytest.raises(ProviderError, match="2 connections are full") as caught:
        await tts.open()
    assert caught.value.status == 429
    await contexts.pop().cancel()
    contexts.append(await tts.open())
    assert sandbox.cartesia.counters["upgrades"] == 2
    for context in contexts:
        await context.cancel()


# ---- text as it is thought ------------------------------------------------------------------------------------------


async def test_text_token_by_token_is_gathered_by_the_vendor(
    options: CartesiaOptions, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.5)
    tts = CartesiaTts(replace(options, buffer_ms=120))
    assert not tts.clauses
    synthesis = await tts.open()
    reading = asyncio.create_task(Spoken().take(synthesis))
    for token in ("we", " can", " be", " there,", " with", "in", " the", " hour"):
        await synthesis.say(token)
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.8)  # a pause in the thinking is no silence of the vendor
    await synthesis.finish()
    spoken = await reading
    assert spoken.text == "we can be there, within the hour"
    assert [word for word, _ in spoken.words] == ["we", "can", "be", "there,", "within", "the", "hour"]
    assert sandbox.cartesia.counters["refused_messages"] == 0
    await tts.close()
    assert CartesiaTts(options).clauses


async def test_one_answer_for_many_tokens_is_an_answer_to_all(options: CartesiaOptions) -> None:
    """With text in clauses there is one for each; without, none is owed by count."""
    for buffer_ms in (0, 120):
        tts = CartesiaTts(replace(options, buffer_ms=buffer_ms))
        synthesis = await tts.open()
        for token in ("we ", "can ", "be "):
            await synthesis.say(token)
        await asyncio.sleep(0.001)
        synthesis.answered()
        assert synthesis._spoken() is (buffer_ms > 0)
        await synthesis.cancel()
        await tts.close()


async def test_the_delay_is_in_each_message_of_the_context(wire: Wire) -> None:
    wire.answers = [{"type": "done", "done": True}]
    tts = CartesiaTts(CartesiaOptions(wire.url, KEY, buffer_ms=200))
    await speak(tts, "Hello", " there")
    assert [message["max_buffer_delay_ms"] for message in wire.got] == [200, 200, 200]
    await tts.close()
