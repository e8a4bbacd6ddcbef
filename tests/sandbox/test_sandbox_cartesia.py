"""The emulated Cartesia buffers, speaks, refuses and expires as the vendor does."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from agent.sandbox import Sandbox
from agent.speech_engines import audio, load_recogniser

HEADERS = {"Authorization": "Bearer car-key", "cartesia-version": "2026-08-14"}
FIELDS: dict[str, Any] = {
    "model_id": "sonic-3",
    "voice": {"id": "79a125e8-cd45-4c13-8a67-188112f4dd22"},
    "language": "en",
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
    "context_id": "turn-1",
    "max_buffer_delay_ms": 0,
}
EAR = load_recogniser("tones")


class Client:
    """A connection that keeps what came, each with the time since the first message sent."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._begun = 0.0

    async def send(self, transcript: str, *, more: bool = True, **changes: Any) -> None:
        fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
        await self.raw({**fields, "transcript": transcript, "continue": more})

    async def raw(self, message: Any) -> None:
        self._begun = self._begun or asyncio.get_running_loop().time()
        await self.socket.send_str(message if isinstance(message, str) else orjson.dumps(message).decode())

    async def event(self, timeout: float = 3.0) -> dict[str, Any]:
        message = await self.socket.receive(timeout=timeout)
        assert message.type == aiohttp.WSMsgType.TEXT, message
        event: dict[str, Any] = orjson.loads(message.data)
        event["at"] = asyncio.get_running_loop().time() - self._begun
        self.events.append(event)
        return event

    async def until(self, kind: str, context_id: str | None = None) -> dict[str, Any]:
        while True:
            event = await self.event()
            if event["type"] == kind and context_id in (None, event.get("context_id")):
                return event

    async def quiet(self, seconds: float) -> bool:
        """Whether nothing but flush_done comes for so long."""
        try:
            while True:
                assert (await self.event(seconds))["type"] == "flush_done"
        except TimeoutError:
            return True

    def of(self, kind: str, context_id: str = "turn-1") -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind and event.get("context_id") == context_id]

    def sound(self, context_id: str = "turn-1") -> bytes:
        return b"".join(base64.b64decode(event["data"]) for event in self.of("chunk", context_id))

    def text(self, context_id: str = "turn-1") -> str:
        samples = np.frombuffer(self.sound(context_id), "<i2").astype(np.int16)
        return " ".join(word.text for word in EAR.transcribe(samples))


async def connect(sandbox: Sandbox, http: aiohttp.ClientSession) -> Client:
    return Client(await http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket", headers=HEADERS))


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"cartesia-version": "2026-08-14"}, "", 401),
        (HEADERS | {"Authorization": "Bearer wrong"}, "", 401),
        (HEADERS | {"Authorization": "Token car-key"}, "", 401),
        ({"Authorization": "Bearer car-key"}, "", 400),
        (HEADERS | {"cartesia-version": "2020-01-01"}, "", 400),
        (HEADERS, "?cartesia_version=1999-01-01", 400),
    ],
)
async def test_refuses_an_upgrade(
    sandbox: Sandbox, http: aiohttp.ClientSession, headers: dict[str, str], query: str, status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket{query}", headers=headers)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-API-Key": "car-key", "cartesia-version": "2024-06-10"}, ""),
        ({"X-API-Key": "car-key"}, "?cartesia_version=2026-03-01"),
        ({}, "?cartesia_version=2026-08-14&access_token=car-key"),
        ({}, "?cartesia_version=2024-11-13&api_key=car-key"),
    ],
)
async def test_takes_each_way_to_say_key_and_version(
    sandbox: Sandbox, http: aiohttp.ClientSession, headers: dict[str, str], query: str
) -> None:
    async with http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket{query}", headers=headers) as socket:
        assert not socket.closed


async def test_refuses_one_socket_too_many(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.config.max_sockets = 1
    first = await connect(sandbox, http)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(sandbox, http)
    assert refused.value.status == 429
    await first.socket.close()


async def test_clauses_are_spoken_at_once_and_in_order(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("We can have a plumber with you,")
    await client.send(" within the hour.")
    await client.send("", more=False)
    done = await client.until("done")
    assert client.text() == "We can have a plumber with you, within the hour."
    assert done | {"at": 0} == {"type": "done", "context_id": "turn-1", "done": True, "status_code": 206, "at": 0}
    for chunk in client.of("chunk"):
        assert chunk["done"] is False
        assert chunk["status_code"] == 206
        assert chunk["step_time"] >= 0
        assert "flush_id" in chunk
    sizes = {len(base64.b64decode(chunk["data"])) for chunk in client.of("chunk")}
    assert 1600 in sizes
    assert max(sizes) == 1600


async def test_one_message_is_a_whole_context(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    message = FIELDS | {"transcript": "Hello there."}
    await client.raw(message)  # `continue` is false unless it is said
    await client.until("done")
    assert client.text() == "Hello there."


async def test_fragments_are_joined_verbatim(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    for fragment in ("The call", "out fee is £", "89", ", ok", "ay", "?"):
        await client.send(fragment, max_buffer_delay_ms=2000)
    await client.send("", more=False, max_buffer_delay_ms=2000)
    await client.until("done")
    assert client.text() == "The callout fee is £89, okay?"


async def test_text_is_held_back_for_the_delay(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("Bear with", max_buffer_delay_ms=300)
    await asyncio.sleep(0.1)
    await client.send(" me", max_buffer_delay_ms=300)
    first = await client.until("chunk")
    assert 0.29 < first["at"] < 0.8
    await client.send("", more=False, max_buffer_delay_ms=300)
    await client.until("done")
    assert client.text() == "Bear with me"


async def test_the_default_delay_holds_text_back(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    assert sandbox.cartesia.config.default_buffer_ms == 3000
    sandbox.cartesia.config.default_buffer_ms = 250
    client = await connect(sandbox, http)
    await client.send("One moment please", max_buffer_delay_ms=None)
    assert 0.24 < (await client.event())["at"] < 0.8


@pytest.mark.parametrize("how", ["sentence", "flush", "end"])
async def test_what_ends_the_wait(sandbox: Sandbox, http: aiohttp.ClientSession, how: str) -> None:
    client = await connect(sandbox, http)
    if how == "sentence":
        await client.send("One moment please.", max_buffer_delay_ms=5000)
    elif how == "flush":
        await client.send("One moment", max_buffer_delay_ms=5000)
        await client.send("", max_buffer_delay_ms=5000, flush=True)
    else:
        await client.send("One moment", max_buffer_delay_ms=5000, more=False)
    assert (await client.until("chunk"))["at"] < 1.0


async def test_flush_counts_and_tells(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("First part", max_buffer_delay_ms=5000)
    await client.send("", max_buffer_delay_ms=5000, flush=True)
    assert (await client.until("flush_done"))["flush_id"] == 1
    await client.send("second part", max_buffer_delay_ms=5000)
    await client.send("", max_buffer_delay_ms=5000, flush=True)
    flushed = await client.until("flush_done")
    assert (flushed["flush_id"], flushed["flush_done"], flushed["done"]) == (2, True, False)
    assert {chunk["flush_id"] for chunk in client.of("chunk")} == {1, 2}


async def test_a_delay_of_0_answers_each_submission_with_flush_done(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    client = await connect(sandbox, http)
    await client.send("One,")
    await client.send(" two,")
    await client.send("", more=False)
    await client.until("done")
    assert len(client.of("flush_done")) == 2


@pytest.mark.parametrize("missing", ["model_id", "transcript", "voice", "output_format", "context_id"])
async def test_required_fields(sandbox: Sandbox, http: aiohttp.ClientSession, missing: str) -> None:
    client = await connect(sandbox, http)
    message = FIELDS | {"transcript": "Hello."}
    del message[missing]
    await client.raw(message)
    error = await client.event()
    assert (error["type"], error["status_code"], error["done"]) == ("error", 400, True)
    assert missing in error["message"]
    assert error["title"]
    assert error["request_id"]
    assert error.get("context_id") == (None if missing == "context_id" else "turn-1")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_id": "sonic-2"}, "sonic-2"),
        ({"voice": {"mode": "id"}}, "voice"),
        ({"transcript": 5}, "transcript"),
        ({"output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 8000}}, "container"),
        ({"output_format": {"container": "raw", "encoding": "mulaw", "sample_rate": 8000}}, "encoding"),
        ({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 11025}}, "sample_rate"),
        ({"max_buffer_delay_ms": 5001}, "max_buffer_delay_ms"),
        ({"max_buffer_delay_ms": -1}, "max_buffer_delay_ms"),
        ({"max_buffer_delay_ms": "0"}, "max_buffer_delay_ms"),
        ({"continue": "true"}, "continue"),
        ({"generation_config": {"speed": 2}}, "speed"),
        ({"generation_config": {"volume": 0.1}}, "volume"),
    ],
)
async def test_wrong_fields(sandbox: Sandbox, http: aiohttp.ClientSession, changes: dict[str, Any], says: str) -> None:
    client = await connect(sandbox, http)
    await client.raw(FIELDS | {"transcript": "Hello."} | changes)
    error = await client.event()
    assert (error["type"], error["status_code"]) == ("error", 400)
    assert says in error["message"]


@pytest.mark.parametrize("text", ["{", "[]", '"hello"'])
async def test_what_is_no_object(sandbox: Sandbox, http: aiohttp.ClientSession, text: str) -> None:
    client = await connect(sandbox, http)
    await client.raw(text)
    error = await client.event()
    assert (error["type"], error["status_code"]) == ("error", 400)
    assert "context_id" not in error


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "sonic-latest"},
        {"voice": "79a125e8-cd45-4c13-8a67-188112f4dd22"},
        {"output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100}},
        {"language": "fr"},
        {"language": None},
        {"max_buffer_delay_ms": 100},
        {"max_buffer_delay_ms": None},
        {"add_timestamps": True},
    ],
)
async def test_fields_must_be_equal_within_a_context(
    sandbox: Sandbox, http: aiohttp.ClientSession, changes: dict[str, Any]
) -> None:
    client = await connect(sandbox, http)
    await client.send("Hello,")
    await client.send("", more=False, **changes)
    error = await client.until("error")
    assert error["status_code"] == 400
    assert error["context_id"] == "turn-1"
    assert next(iter(changes)) in error["message"]


async def test_contexts_are_interleaved_on_one_socket(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.config.speed = 20.0
    client = await connect(sandbox, http)
    for name in ("a", "b", "c"):
        await client.send(f"This is the long text of context {name}.", more=False, context_id=name)
    for _ in range(3):
        await client.until("done")
    order = [event["context_id"] for event in client.events if event["type"] == "chunk"]
    assert order != sorted(order)
    for name in ("a", "b", "c"):
        assert client.text(name) == f"This is the long text of context {name}."


async def test_cancel_lets_the_running_generation_finish_and_drops_the_rest(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.config.speed = 10.0
    client = await connect(sandbox, http)
    await client.send("The first clause is being spoken,")
    await client.send(" the second is waiting.")
    await client.until("chunk")
    await client.raw({"context_id": "turn-1", "cancel": True})
    assert await client_rest(client)
    assert client.text() == "The first clause is being spoken,"
    assert sandbox.cartesia.counters["generations_dropped"] == 1
    assert sandbox.cartesia.counters["contexts_cancelled"] == 1
    await client.send("Once more.", more=False)
    assert "been cancelled" in (await client.until("error"))["message"]


async def client_rest(client: Client) -> bool:
    """Read until nothing comes for a while."""
    try:
        while True:
            assert (await client.event(0.3))["type"] in ("chunk", "flush_done")
    except TimeoutError:
        return True


async def test_cancel_of_text_in_the_buffer(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("Nobody hears", max_buffer_delay_ms=150)
    await client.raw({"context_id": "turn-1", "cancel": True})
    await client.raw({"context_id": "unknown", "cancel": True})
    assert await client.quiet(0.4)
    assert sandbox.cartesia.counters["generations"] == 0


async def test_a_context_expires_after_its_last_audio(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("Bear with me.")
    await client.until("flush_done")
    await asyncio.sleep(0.05)
    await client.send("Still here.")
    await client.until("flush_done")
    await asyncio.sleep(0.3)
    assert sandbox.cartesia.counters["contexts_expired"] == 1
    await client.send("Too late.", more=False)
    error = await client.until("error")
    assert (error["status_code"], error["context_id"]) == (400, "turn-1")
    assert "expired" in error["message"]
    await client.send("A new one.", more=False, context_id="turn-2")
    await client.until("done", "turn-2")


async def test_after_the_last_text_a_context_takes_no_more(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.config.speed = 5.0
    client = await connect(sandbox, http)
    await client.send("This is all that there is to say.", more=False)
    await client.send("And this.", more=False)
    assert (await client.until("error"))["status_code"] == 400
    await client.until("done")


async def test_the_concurrency_limit_counts_contexts_that_generate(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.config.max_contexts = 1
    sandbox.cartesia.config.speed = 10.0
    one, other = await connect(sandbox, http), await connect(sandbox, http)
    await one.send("This takes a little while to speak.", more=False)
    await one.until("chunk")
    await other.send("No room.", more=False)
    error = await other.event()
    assert (error["type"], error["status_code"], error["error_code"]) == ("error", 429, "concurrency_limited")
    assert error["context_id"] == "turn-1"
    await one.until("done")
    await other.send("Now there is.", more=False, context_id="turn-2")
    await other.until("done")


async def test_an_idle_socket_is_closed_and_only_generations_count(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.config.idle_s = 0.4
    client = await connect(sandbox, http)
    await asyncio.sleep(0.25)
    await client.send("Hello.", more=False)
    await client.until("done")
    await asyncio.sleep(0.25)
    await client.raw({"context_id": "none", "cancel": True})
    message = await client.socket.receive(timeout=0.3)
    assert message.type == aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_mulaw", "pcm_alaw", "pcm_f32le"])
async def test_formats(sandbox: Sandbox, http: aiohttp.ClientSession, encoding: str, rate: int) -> None:
    client = await connect(sandbox, http)
    output = {"container": "raw", "encoding": encoding, "sample_rate": rate}
    await client.send("What's the postcode there?", more=False, output_format=output)
    await client.until("done")
    sound = client.sound()
    match encoding:
        case "pcm_s16le":
            samples = audio.to_float(np.frombuffer(sound, "<i2").astype(np.int16))
        case "pcm_f32le":
            samples = np.frombuffer(sound, "<f4").astype(np.float32)
        case law:
            samples = audio.to_float(audio.decode(sound, law.removeprefix("pcm_")))
    heard = EAR.transcribe(audio.to_int16(audio.resample(samples, rate, 8000)))
    assert " ".join(word.text for word in heard) == "What's the postcode there?"


async def test_word_timestamps_go_on_over_submissions(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send("Hello there,", add_timestamps=True)
    await client.send(" how are you?", more=False, add_timestamps=True)
    await client.until("done")
    times = [event["word_timestamps"] for event in client.of("timestamps")]
    assert [word for each in times for word in each["words"]] == ["Hello", "there,", "how", "are", "you?"]
    starts = [start for each in times for start in each["start"]]
    ends = [end for each in times for end in each["end"]]
    assert starts == sorted(starts)
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    heard = EAR.transcribe(np.frombuffer(client.sound(), "<i2").astype(np.int16))
    assert starts == pytest.approx([word.start for word in heard], abs=0.03)
    plain = await connect(sandbox, http)
    await plain.send("Hello.", more=False)
    await plain.until("done")
    assert not plain.of("timestamps")


async def test_pace_and_first_audio_are_the_settings(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    config = sandbox.cartesia.config
    config.first_audio, config.speed, config.chunk_ms = 150.0, 4.0, 50
    client = await connect(sandbox, http)
    await client.send("Somebody will be with you within the hour.", more=False)
    await client.until("done")
    chunks = client.of("chunk")
    assert 0.145 < chunks[0]["at"] < 0.6
    pace = chunks[-1]["at"] - chunks[0]["at"]
    assert 0.95 < pace / ((len(chunks) - 1) * 0.05 / 4) < 1.6
    assert len(base64.b64decode(chunks[0]["data"])) == 800


async def test_a_connection_that_goes_away_leaves_nothing(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.config.speed = 1.0
    sandbox.cartesia.config.max_contexts = 1
    client = await connect(sandbox, http)
    await client.send("This would take some seconds to be spoken to its end.", more=False)
    await client.until("chunk")
    await client.socket.close()
    await asyncio.sleep(0.1)
    other = await connect(sandbox, http)
    await other.send("Hello.", more=False)
    assert (await other.event())["type"] == "chunk"
