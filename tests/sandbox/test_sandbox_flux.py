"""The emulated Flux keeps the guarantees of the vendor's state machine."""

from __future__ import annotations

import asyncio
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
import websockets

from agent.sandbox import Sandbox
from agent.sandbox.deepgram_query import Thresholds
from agent.sandbox.flux_turns import Turns
from agent.sandbox.latency import Dice
from agent.sandbox.profiles import FLUX
from agent.speech_engines import Samples, load_recogniser, load_voice

AUTH = {"Authorization": "Token dg-key"}
QUERY = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": "8000"}
VOICE = load_voice("tones")


def silence(seconds: float) -> Samples:
    return np.zeros(int(8000 * seconds), np.int16)


def speech(text: str) -> Samples:
    return VOICE.speak(text, 8000).samples


class Client:
    """A connection that keeps what came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []

    async def say(self, *parts: Samples) -> None:
        data = np.concatenate(parts).tobytes()
        for start in range(0, len(data), 1280):
            await self.socket.send_bytes(data[start : start + 1280])

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(orjson.dumps(message).decode())

    async def until(self, **fields: Any) -> dict[str, Any]:
        while True:
            message = await self.socket.receive(timeout=5)
            assert message.type == aiohttp.WSMsgType.TEXT, message
            self.messages.append(orjson.loads(message.data))
            if fields.items() <= self.messages[-1].items():
                return self.messages[-1]

    async def close(self) -> aiohttp.WSMessage:
        await self.send(type="CloseStream")
        while True:
            message = await self.socket.receive(timeout=5)
            if message.type != aiohttp.WSMsgType.TEXT:
                return message
            self.messages.append(orjson.loads(message.data))

    @property
    def turns(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == "TurnInfo"]

    @property
    def story(self) -> list[str]:
        """The events without the updates."""
        return [turn["event"] for turn in self.turns if turn["event"] != "Update"]


async def connect(sandbox: Sandbox, http: aiohttp.ClientSession, **changes: str) -> Client:
    return Client(await http.ws_connect(f"{sandbox.deepgram_url}/v2/listen", params=QUERY | changes, headers=AUTH))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "nova-3"}, "No such model"),
        ({"eot_threshold": "0.4"}, "eot_threshold"),
        ({"eot_threshold": "1.1"}, "eot_threshold"),
        ({"eager_eot_threshold": "0.2"}, "eager_eot_threshold"),
        ({"eager_eot_threshold": "0.8"}, "must not be above"),
        ({"eot_timeout_ms": "499"}, "eot_timeout_ms"),
        ({"eot_timeout_ms": "60001"}, "eot_timeout_ms"),
        ({"eot_timeout_ms": "5s"}, "eot_timeout_ms"),
        ({"language": "en"}, "language"),
        ({"endpointing": "300"}, "endpointing"),
        ({"interim_results": "true"}, "interim_results"),
        ({"utterance_end_ms": "1000"}, "utterance_end_ms"),
        ({"vad_events": "true"}, "vad_events"),
        ({"smart_format": "true"}, "smart_format"),
        ({"language_hint": "es"}, "language_hint"),
        ({"sample_rate": "22050"}, "sample_rate"),
        ({"keyterm": "word " * 501}, "Keyterm limit"),
    ],
)
async def test_refuses_a_wrong_query(
    sandbox: Sandbox, http: aiohttp.ClientSession, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(sandbox, http, **changes)
    assert refused.value.status == 400
    assert refused.value.headers is not None
    assert says in refused.value.headers["dg-error"]


async def test_a_turn_from_its_start_to_its_end(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.say(silence(0.5), speech("My kitchen tap is leaking."), silence(0.6))
    over = await client.until(event="EndOfTurn")
    await client.say(speech("Hello?"), silence(0.6))
    await client.until(event="EndOfTurn")
    assert client.messages[0]["type"] == "Connected"
    assert [message["sequence_id"] for message in client.messages] == list(range(len(client.messages)))
    assert client.story == ["StartOfTurn", "EndOfTurn"] * 2
    assert over["transcript"] == "My kitchen tap is leaking."
    assert over["trigger"] == "model"
    assert over["end_of_turn_confidence"] >= 0.7
    assert over["words"][0] == {"word": "My", "confidence": 1.0} | {
        name: over["words"][0][name] for name in ("start", "end")
    }
    assert over["words"][0]["start"] == pytest.approx(0.55, abs=0.03)
    assert over["words"][-1]["word"] == "leaking"
    spoken_end = 0.5 + len(speech("My kitchen tap is leaking.")) / 8000
    assert over["audio_window_end"] - spoken_end == pytest.approx(0.26, abs=0.06)
    assert over["audio_window_start"] == 0.0
    assert [turn["turn_index"] for turn in client.turns if turn["event"] == "StartOfTurn"] == [0, 1]
    assert client.turns[-1]["transcript"] == "Hello?"
    assert client.turns[-1]["audio_window_start"] == over["audio_window_end"]
    updates = [turn for turn in client.turns if turn["event"] == "Update" and turn["turn_index"] == 0]
    assert len(updates) >= 5
    ends = [turn["audio_window_end"] for turn in client.turns]
    assert ends == sorted(ends)
    assert "trigger" not in updates[0]


async def test_an_early_guess_is_kept_word_for_word(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, eager_eot_threshold="0.55", eot_threshold="0.8")
    await client.say(speech("My tap is leaking."), silence(0.6))
    over = await client.until(event="EndOfTurn")
    assert client.story == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    (eager,) = [turn for turn in client.turns if turn["event"] == "EagerEndOfTurn"]
    assert eager["transcript"] == over["transcript"] == "My tap is leaking."
    assert eager["audio_window_end"] < over["audio_window_end"]
    assert 0.55 <= eager["end_of_turn_confidence"] < 0.8


async def test_a_wrong_guess_is_taken_back(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, eager_eot_threshold="0.55", eot_threshold="0.9")
    await client.say(speech("My tap is leaking."), silence(0.28), speech("In the kitchen."), silence(0.8))
    over = await client.until(event="EndOfTurn")
    assert client.story == ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn"]
    assert over["transcript"] == "My tap is leaking. In the kitchen."


async def test_half_a_sentence_waits_longer(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.say(speech("It's the one in the"), silence(0.8), speech("kitchen."), silence(0.6))
    over = await client.until(event="EndOfTurn")
    assert client.story == ["StartOfTurn", "EndOfTurn"]
    assert over["transcript"] == "It's the one in the kitchen."


async def test_the_timeout_ends_a_turn_that_the_model_does_not(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, eot_threshold="1.0", eot_timeout_ms="2700")
    await client.say(speech("My tap is leaking."), silence(3.0))
    over = await client.until(event="EndOfTurn")
    assert over["trigger"] == "timeout"
    spoken_end = len(speech("My tap is leaking.")) / 8000
    assert over["audio_window_end"] - spoken_end == pytest.approx(2.7, abs=0.06)


async def test_a_turn_can_be_forced(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send(type="ForceEndTurn")
    await client.say(silence(0.3), speech("Still talking on and on"))
    await client.until(event="StartOfTurn")
    await client.send(type="ForceEndTurn")
    over = await client.until(event="EndOfTurn")
    assert over["trigger"] == "manual"
    assert over["transcript"] == "Still talking on and on"
    assert client.story == ["StartOfTurn", "EndOfTurn"]


async def test_silence_and_noise_begin_no_turn(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    noise = np.random.default_rng(4).normal(0, 2000, 12000).astype(np.int16)
    await client.say(silence(1.0), noise, silence(1.0))
    await client.close()
    assert client.story == []
    assert {turn["event"] for turn in client.turns} == {"Update"}


async def test_close_stream_ends_without_a_turn_and_without_a_status(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    client = await connect(sandbox, http)
    await client.say(speech("My tap is leaking everywhere"))
    await client.close()
    assert "EndOfTurn" not in client.story
    assert {message["type"] for message in client.messages} == {"Connected", "TurnInfo"}
    assert client.turns[-1]["transcript"].startswith("My tap is")
    query = "&".join(f"{name}={value}" for name, value in QUERY.items())
    async with websockets.connect(f"{sandbox.deepgram_url}/v2/listen?{query}", additional_headers=AUTH) as socket:
        await socket.recv()
        await socket.send('{"type":"CloseStream"}')
        await socket.wait_closed()
        assert socket.close_code == 1005  # RFC 6455: the close frame had none


async def test_there_is_no_keep_alive(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http)
    await client.send(type="KeepAlive")
    error = await client.until(type="Error")
    assert error["sequence_id"] == 1
    assert (await client.socket.receive(timeout=2)).type != aiohttp.WSMsgType.TEXT


async def test_pings_keep_it_open_and_nothing_does_not(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.flux_idle_s = 0.2
    client = await connect(sandbox, http)
    await client.until(type="Connected")
    for _ in range(5):
        await client.socket.ping()
        await asyncio.sleep(0.1)
    assert not client.socket.closed
    message = await client.socket.receive(timeout=1)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)


async def test_configure_changes_some_and_refuses_wrong(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    client = await connect(sandbox, http, keyterm="tap")
    await client.send(type="Configure", thresholds={"eot_threshold": 0.9})
    done = await client.until(type="ConfigureSuccess")
    assert done["thresholds"] == {"eot_threshold": 0.9, "eager_eot_threshold": None, "eot_timeout_ms": 5000}
    assert done["keyterms"] == ["tap"]
    await client.send(type="Configure", keyterms=["boiler"])
    assert (await client.until(type="ConfigureSuccess"))["keyterms"] == ["boiler"]
    for wrong in ({"thresholds": {"eot_threshold": 2}}, {"thresholds": {"eot": 0.7}}, {"keyterms": "tap"}):
        await client.send(type="Configure", **wrong)
        assert (await client.until(type="ConfigureFailure"))["description"]


async def moments(text: str, phase_ms: int) -> dict[str, float]:
    """When each kind of event is found, s after the end of the speech, with audio in chunks of 80 ms in real time."""
    said = speech(text)
    before = silence(0.4 + phase_ms / 1000)
    audio = np.concatenate([before, said, silence(2.4)])
    found: dict[str, float] = {}
    with ThreadPoolExecutor(1) as pool:
        turns = Turns(load_recogniser("tones"), pool, 8000, Thresholds(0.7, 0.4, 5000))
        for end in range(640, len(audio) + 1, 640):
            async for event in turns.feed(audio[end - 640 : end]):
                found.setdefault(event.kind, (end - len(before) - len(said)) / 8000)
    return found


async def test_turns_end_when_the_vendor_says_they_do() -> None:
    """Deepgram: 260 ms at the median. together.ai: 1.5 s at P95. Telnyx: eager ones 150 to 250 ms earlier."""
    dice = Dice(7)
    whole = [await moments("My tap is leaking.", phase) for phase in range(0, 80, 5)]
    half = [await moments("My tap is leaking in the", phase) for phase in range(0, 80, 40)]
    ends = [found["EndOfTurn"] + dice.seconds(FLUX) for found in whole for _ in range(20)]
    guesses = [found["EagerEndOfTurn"] + dice.seconds(FLUX) for found in whole for _ in range(20)]
    assert statistics.median(ends) == pytest.approx(0.26, abs=0.02)
    assert 0.15 <= statistics.median(ends) - statistics.median(guesses) <= 0.25
    assert statistics.median(guesses) > 0.05, "nobody knows before the speech is over"
    mix = sorted(ends + [found["EndOfTurn"] + dice.seconds(FLUX) for found in half for _ in range(18)])  # a tenth
    assert mix[len(mix) * 95 // 100] == pytest.approx(1.5, abs=0.1)


async def test_a_latency_holds_up_no_audio_and_keeps_the_order(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.deepgram.config.flux_latency = 400.0
    client = await connect(sandbox, http, eager_eot_threshold="0.4")
    await client.say(speech("My tap is leaking."), silence(0.6), speech("Hello there."), silence(0.6))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while sum(message.get("event") == "EndOfTurn" for message in client.messages) < 2:
        await client.until(type="TurnInfo")
    assert 0.3 < loop.time() - begun < 2 * 0.4, "the messages wait side by side"
    assert client.story == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"] * 2
    assert [message["sequence_id"] for message in client.messages] == list(range(len(client.messages)))
