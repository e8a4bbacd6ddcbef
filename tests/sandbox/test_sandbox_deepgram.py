"""The emulated Deepgram refuses, answers, closes and expires as the vendor does."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from agent.sandbox import Sandbox
from agent.speech_engines import Samples, audio, load_voice

AUTH = {"Authorization": "Token dg-key"}
QUERY = {
    "model": "nova-3",
    "language": "en-GB",
    "encoding": "linear16",
    "sample_rate": "8000",
    "channels": "1",
    "interim_results": "true",
    "endpointing": "300",
    "utterance_end_ms": "1000",
    "vad_events": "true",
    "smart_format": "true",
}
VOICE = load_voice("tones")


def url(sandbox: Sandbox) -> str:
    return f"{sandbox.deepgram_url}/v1/listen"


def silence(seconds: float, rate: int = 8000) -> Samples:
    return np.zeros(int(rate * seconds), np.int16)


def speech(text: str, rate: int = 8000) -> Samples:
    return VOICE.speak(text, rate).samples


class Client:
    """A connection that keeps what came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []

    async def say(self, *parts: Samples, chunk: int = 1280) -> None:
        data = np.concatenate(parts).tobytes()
        for start in range(0, len(data), chunk):
            await self.socket.send_bytes(data[start : start + chunk])

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(orjson.dumps(message).decode())

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self.socket.receive(timeout=5)
            assert message.type == aiohttp.WSMsgType.TEXT, message
            self.messages.append(orjson.loads(message.data))
            if self.messages[-1]["type"] == kind:
                return self.messages[-1]

    async def rest(self) -> aiohttp.WSMessage:
        """Read to the close."""
        while True:
            message = await self.socket.receive(timeout=5)
            if message.type != aiohttp.WSMsgType.TEXT:
                return message
            self.messages.append(orjson.loads(message.data))

    async def finish(self) -> list[dict[str, Any]]:
        await self.send(type="CloseStream")
        await self.rest()
        return self.messages

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [message for message in self.of("Results") if message["is_final"]]


def text(result: dict[str, Any]) -> str:
    return str(result["channel"]["alternatives"][0]["transcript"])


async def connect(sandbox: Sandbox, http: aiohttp.ClientSession, **changes: str | None) -> Client:
    query = {name: value for name, value in (QUERY | changes).items() if value is not None}
    return Client(await http.ws_connect(url(sandbox), params=query, headers=AUTH))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keywords": "plumber:2"}, "Keywords are not supported for Nova-3. Please use `keyterm` instead."),
        ({"utterance_end_ms": "999"}, "utterance_end_ms"),
        ({"interim_results": "false"}, "utterance_end_ms"),
        ({"interim_results": None}, "utterance_end_ms"),
        ({"encoding": "pcm"}, "encoding"),
        ({"sample_rate": None}, "sample_rate"),
        ({"sample_rate": "8k"}, "sample_rate"),
        ({"sample_rate": "4000"}, "sample_rate"),
        ({"smart_format": "True"}, "smart_format"),
        ({"vad_events": "1"}, "vad_events"),
        ({"endpointing": "true"}, "endpointing"),
        ({"endpointing": "-1"}, "endpointing"),
        ({"model": "nova-4"}, "No such model"),
        ({"model": "flux-general-en"}, "No such model"),
        ({"language": "english"}, "No such model"),
        ({"keyterm": "word " * 501}, "Keyterm limit"),
        ({"encoding": "opus"}, "does not decode"),
        ({"channels": "2"}, "one channel"),
    ],
)
async def test_refuses_a_wrong_query(
    sandbox: Sandbox, http: aiohttp.ClientSession, changes: dict[str, str | None], says: str
) -> None:
    query = {name: value for name, value in (QUERY | changes).items() if value is not None}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(url(sandbox), params=query, headers=AUTH)
    assert refused.value.status == 400
    assert refused.value.headers is not None
    assert says in refused.value.headers["dg-error"]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with http.get(url(sandbox).replace("ws:", "http:"), params=query, headers=AUTH | upgrade) as answer:
        body = await answer.json()
        assert body.keys() == {"err_code", "err_msg", "request_id"}
        assert body["err_msg"] == answer.headers["dg-error"]
        assert body["request_id"] == answer.headers["dg-request-id"]


@pytest.mark.parametrize("header", [{}, {"Authorization": "Token wrong"}, {"Authorization": "Bearer dg-key"}])
async def test_refuses_a_wrong_key(sandbox: Sandbox, http: aiohttp.ClientSession, header: dict[str, str]) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(url(sandbox), params=QUERY, headers=header)
    assert refused.value.status == 401


async def test_takes_the_key_as_a_sub_protocol(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(url(sandbox), params=QUERY, protocols=("token", "dg-key")) as socket:
        assert socket.protocol == "token"


async def test_refuses_one_stream_too_many(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.max_streams = 1
    first = await connect(sandbox, http)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(sandbox, http)
    assert refused.value.status == 429
    await first.finish()
    await asyncio.sleep(0.05)
    await (await connect(sandbox, http)).finish()


async def test_nova_2_takes_keywords_and_ignores_unknown_parameters(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    client = await connect(sandbox, http, model="nova-2", keywords="plumber:2", colour="red")
    await client.finish()
    assert sandbox.deepgram.counters["unknown_parameters"] == 1


async def test_closes_when_nothing_comes(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.idle_s = 0.1
    client = await connect(sandbox, http)
    message = await client.rest()
    assert message.type == aiohttp.WSMsgType.CLOSE
    assert message.data == 1011
    assert message.extra is not None
    assert message.extra.startswith("Deepgram did not receive audio data or a text message within the timeout window.")
    assert message.extra.endswith("net0001")


async def test_keep_alive_keeps_it_open_and_is_not_answered(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.idle_s = 0.2
    client = await connect(sandbox, http)
    for _ in range(6):
        await client.send(type="KeepAlive")
        await asyncio.sleep(0.1)
    assert [message["type"] for message in await client.finish()] == ["Metadata"]


async def test_keep_alive_in_a_binary_frame_is_audio(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.socket.send_bytes(b'{"type":"KeepAlive"}')
    await client.finish()
    assert client.of("Metadata")[0]["duration"] == pytest.approx(10 / 8000, abs=0.001)
    assert sandbox.deepgram.counters["text_sent_as_audio"] == 1


async def test_an_empty_binary_frame_ends_the_stream(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.socket.send_bytes(b"")
    message = await client.rest()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)


@pytest.mark.parametrize("message", ['{"type":"Hello"}', "not json", '["KeepAlive"]', '{"kind":"KeepAlive"}'])
async def test_unknown_text_is_a_schema_error(sandbox: Sandbox, http: aiohttp.ClientSession, message: str) -> None:
    client = await connect(sandbox, http)
    await client.socket.send_str(message)
    error = await client.until("Error")
    assert error["variant"] == "SchemaError"
    assert error["message"] == message
    await client.finish()


async def test_an_utterance_as_the_vendor_reports_it(
    sandbox: Sandbox, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The audio comes at once: without this a final overtakes the interims of a host that is busy.
    monkeypatch.setattr("agent.speech_engines.listener._QUICK_S", 5.0)
    client = await connect(sandbox, http)
    sound = [silence(0.5), speech("Hello, my kitchen tap is leaking everywhere."), silence(1.6)]
    await client.say(*sound)
    ended = await client.until("UtteranceEnd")
    await client.finish()

    (started,) = client.of("SpeechStarted")
    assert started["channel"] == [0, 1]
    assert started["timestamp"] == pytest.approx(0.5, abs=0.03)

    final = next(result for result in client.finals if text(result))
    assert text(final) == "Hello, my kitchen tap is leaking everywhere."
    assert final["speech_final"] is True
    assert final["from_finalize"] is False
    assert final["channel_index"] == [0, 1]
    words = final["channel"]["alternatives"][0]["words"]
    assert words[0].keys() == {"word", "start", "end", "confidence", "punctuated_word"}
    assert (words[0]["word"], words[0]["punctuated_word"]) == ("hello", "Hello,")
    assert words[0]["start"] == pytest.approx(0.55, abs=0.03)
    spoken_end = 0.5 + len(sound[1]) / 8000
    assert words[-1]["end"] == pytest.approx(spoken_end - 0.05, abs=0.03)
    assert final["start"] + final["duration"] == pytest.approx(spoken_end + 0.3, abs=0.05)
    assert final["metadata"]["model_info"]["arch"] == "nova-3"
    assert ended["last_word_end"] == words[-1]["end"]

    interims = [result for result in client.of("Results") if not result["is_final"] and text(result)]
    assert len(interims) == 2
    assert all(text(final).startswith(text(interim)[:-1]) for interim in interims)
    assert all(interim["speech_final"] is False for interim in interims)

    finals = client.finals
    assert finals[0]["start"] == 0.0
    for one, other in pairwise(finals):
        assert other["start"] == pytest.approx(one["start"] + one["duration"], abs=0.002)
    order = [message["type"] for message in client.messages]
    assert order.index("SpeechStarted") < order.index("Results")
    assert order[-1] == "Metadata"


async def test_metadata_and_close_come_last(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    sound = np.concatenate([speech("Still talking"), silence(0.1)])
    await client.say(sound)
    await client.send(type="CloseStream")
    message = await client.rest()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    assert text(client.finals[-1]) == "Still talking"
    metadata = client.messages[-1]
    assert metadata["type"] == "Metadata"
    assert metadata["sha256"] == hashlib.sha256(sound.tobytes()).hexdigest()
    assert metadata["duration"] == pytest.approx(len(sound) / 8000, abs=0.001)
    assert metadata["channels"] == 1
    assert metadata["created"].endswith("Z")


async def test_silence_gives_empty_finals(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.silence_final_s = 1.0
    client = await connect(sandbox, http)
    await client.say(silence(2.5))
    await client.finish()
    assert len(client.finals) >= 3
    assert all(text(result) == "" for result in client.of("Results"))
    assert not client.of("SpeechStarted")
    assert not client.of("UtteranceEnd")


async def test_no_interims_and_events_unless_asked(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(
        sandbox, http, interim_results=None, utterance_end_ms=None, vad_events=None, smart_format=None
    )
    await client.say(speech("One moment, please: it's leaking in here."), silence(1.5))
    await client.finish()
    assert {message["type"] for message in client.messages} == {"Results", "Metadata"}
    assert all(result["is_final"] for result in client.of("Results"))
    first = client.finals[0]
    assert text(first) == "one moment please it's leaking in here"
    assert "punctuated_word" not in first["channel"]["alternatives"][0]["words"][0]


async def test_endpointing_decides_speech_final(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sound = [speech("One two"), silence(0.5), speech("three four"), silence(1.2)]
    short = await connect(sandbox, http)
    await short.say(*sound)
    await short.finish()
    assert [text(result) for result in short.finals if result["speech_final"]] == ["One two", "three four"]
    off = await connect(sandbox, http, endpointing="false")
    await off.say(*sound)
    await off.finish()
    assert not any(result["speech_final"] for result in off.of("Results"))
    assert " ".join(text(result) for result in off.finals).split() == "One two three four".split()


async def test_utterance_end_needs_its_silence(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.say(speech("One two"), silence(0.8), speech("three"), silence(1.3))
    await client.finish()
    assert len(client.of("UtteranceEnd")) == 1
    assert client.of("UtteranceEnd")[0]["last_word_end"] > 1.5


async def test_long_speech_is_final_in_parts_without_losing_a_word(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.deepgram.config.longest_final_s = 3.0
    story = "so the boiler went off last night and now there is no hot water in the whole house and it is freezing cold"
    client = await connect(sandbox, http)
    await client.say(speech(story), silence(1.0))
    await client.finish()
    parts = [result for result in client.finals if text(result)]
    assert len(parts) >= 2
    assert [result["speech_final"] for result in parts] == [False] * (len(parts) - 1) + [True]
    assert " ".join(text(result) for result in parts) == story


async def test_finalize_answers_only_when_audio_is_buffered(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, interim_results=None, utterance_end_ms=None, vad_events=None)
    await client.send(type="Finalize")
    await client.say(speech("Right now"), chunk=160)
    await client.send(type="Finalize")
    result = await client.until("Results")
    assert (text(result), result["is_final"], result["from_finalize"]) == ("Right now", True, True)
    assert len(client.messages) == 1
    await client.send(type="Finalize")
    await client.finish()
    assert [message["type"] for message in client.messages[1:]] == ["Metadata"]


@pytest.mark.parametrize(("encoding", "rate"), [("mulaw", 8000), ("alaw", 8000), ("linear16", 16000)])
async def test_encodings_and_rates(sandbox: Sandbox, http: aiohttp.ClientSession, encoding: str, rate: int) -> None:
    client = await connect(sandbox, http, encoding=encoding, sample_rate=str(rate))
    sound = np.concatenate([silence(0.2, rate), speech("Good morning", rate), silence(0.5, rate)])
    wire = "pcm_s16le" if encoding == "linear16" else f"pcm_{encoding}"
    data = audio.encode(sound, wire)
    for start in range(0, len(data), 1001):  # odd lengths: a sample may be cut in two
        await client.socket.send_bytes(data[start : start + 1001])
    await client.finish()
    assert "Good morning" in [text(result) for result in client.finals]


async def test_configure_replaces_the_key_terms(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, keyterm="tap")
    await client.send(type="Configure", keyterms=["boiler", "stopcock"])
    assert (await client.until("ConfigureSuccess"))["keyterms"] == ["boiler", "stopcock"]
    await client.finish()
    old = await connect(sandbox, http, model="nova-2")
    await old.send(type="Configure", keyterms=["boiler"])
    assert (await old.until("ConfigureFailure"))["code"] == "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
    await old.finish()


async def test_too_many_key_terms_wedge_the_stream(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.wedged_close_s = 0.1
    client = await connect(sandbox, http)
    await client.send(type="Configure", keyterms=["word"] * 501)
    await client.say(speech("Nobody hears this"), silence(1.0))
    message = await client.rest()
    assert client.messages == []
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
    assert message.extra is not None
    assert message.extra.endswith("net0000")


async def test_the_final_has_its_latency(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.final_latency = 250.0
    client = await connect(sandbox, http, interim_results=None, utterance_end_ms=None)
    await client.say(speech("Hi"), silence(0.4))
    begun = asyncio.get_running_loop().time()
    await client.until("Results")
    assert 0.24 < asyncio.get_running_loop().time() - begun < 1.5
    await client.finish()
