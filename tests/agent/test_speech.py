"""What the caller hears of a speech whose vendor breaks off, word by word, through the media core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import numpy as np
import pytest

import fastaudio
from agent.call import seam
from agent.call.speech import Speech
from agent.providers import breaker, cartesia_wire
from agent.providers.base import (
    DEFAULT_VOICE,
    Audio,
    ProviderError,
    SpeakingVoice,
    TextToSpeech,
    TtsEvent,
    Words,
)
from agent.providers.breaker import Breaker
from agent.providers.cartesia import CartesiaOptions, CartesiaTts
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig
from agent.speech_engines.tones import ToneRecogniser

KEY = "car-secret-key"
EARS = ToneRecogniser()
TEXTS = ("we can be there, ", "within the hour, ", "and it costs ninety pounds ")
ALL = "".join(TEXTS).strip()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    limit = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < limit, "it did not happen"
        await asyncio.sleep(0.005)


class Line:
    """A caller who keeps what is heard."""

    def __init__(self, call: fastaudio.Call, reader: asyncio.StreamReader) -> None:
        self.call = call
        self.heard = bytearray()
        self._task = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            head = await reader.readexactly(3)
            payload = await reader.readexactly(int.from_bytes(head[1:], "big"))
            if head[0] == 0x10:
                self.heard += payload

    @property
    def text(self) -> str:
        return " ".join(word.text for word in EARS.transcribe(np.frombuffer(bytes(self.heard), "<i2")))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def a_line(engine: fastaudio.Engine) -> AsyncIterator[Line]:
    uuid = uuid4()
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    writer.write(b"\x01\x00\x10" + uuid.bytes)
    await until(lambda: any(call.uuid == uuid for call in engine.calls.values()))
    line = Line(next(call for call in engine.calls.values() if call.uuid == uuid), reader)
    try:
        yield line
    finally:
        await line.close()
        line.call.hangup(0)
        writer.close()


@pytest.fixture
async def engine() -> AsyncIterator[fastaudio.Engine]:
    async with fastaudio.Engine("127.0.0.1", 0) as running:
        yield running


@pytest.fixture
async def tts(sandbox: Sandbox) -> AsyncIterator[CartesiaTts]:
    running = CartesiaTts(CartesiaOptions(sandbox.cartesia_url, KEY, voice_id="v-1"), Breaker("tts cartesia"))
    yield running
    await running.close()


async def speak(line: Line, tts: TextToSpeech, *texts: str, voice: SpeakingVoice | None = None) -> Speech:
    speech = Speech(line.call, tts, voice or SpeakingVoice())
    for text in texts or TEXTS:
        await speech.say(text)
    await speech.end()
    return speech


async def heard(line: Line, speech: Speech) -> str:
    """All of it, when it was played to its end."""
    await speech.finished()
    await asyncio.sleep(0.1)
    return line.text


async def broken(
    engine: fastaudio.Engine, speed: float, *positions_ms: int, code: int = 1011, chunk_ms: int = 50
) -> tuple[str, str, bool]:
    """A call whose vendor breaks off after so much audio on the first connection, the second and so on.

    Returns what was heard, what the agent believes was heard, and whether it gave up.
    """
    config = SandboxConfig(engines="tones", cartesia=CartesiaConfig(speed=speed, chunk_ms=chunk_ms))
    async with Sandbox(config) as sandbox, a_line(engine) as line:
        faults = sandbox.cartesia.faults
        tts = CartesiaTts(CartesiaOptions(sandbox.cartesia_url, KEY, voice_id="v-1"))

        async def break_off() -> None:
            for position_ms in positions_ms:
                faults.close_times, faults.close_after_ms, faults.close_code = 1, position_ms, code
                await until(lambda: not faults.close_times, 20.0)

        breaking = asyncio.create_task(break_off())
        await asyncio.sleep(0)
        speech = await speak(line, tts)
        result = await heard(line, speech)
        breaking.cancel()
        await tts.close()
        return result, speech.heard_text(), speech.failed


def all_of_it(said: str, believed: str, failed: bool) -> bool:
    """Whether each word was heard once, in order.

    Tones of a letter that is cut in two are read as that letter once, twice or not at all, by where the cut is.
    """
    words, wanted = said.split(), ALL.split()
    cut = [(word, right) for word, right in zip(words, wanted, strict=False) if word != right]
    return len(words) == len(wanted) and len(cut) <= 1 and all(map(_cut_within, cut)) and believed == ALL and not failed


def _cut_within(pair: tuple[str, str]) -> bool:
    word, right = pair
    places = range(len(right))
    return any(word == right[:at] + middle + right[at + 1 :] for at in places for middle in ("", 2 * right[at]))


@pytest.mark.parametrize("speed", [100.0, 4.0, 1.2])
async def test_no_word_is_said_twice_or_left_out_wherever_the_vendor_breaks_off(
    engine: fastaudio.Engine, speed: float
) -> None:
    """Each 150 ms of audio, by a lost connection or a close; quick vendors, and such as hardly keep up."""
    codes = (0, 1000, 1001, 1008, 1011)
    positions = range(0, 3000, 150)
    results = await asyncio.gather(*(broken(engine, speed, ms, code=codes[ms // 150 % 5]) for ms in positions))
    assert {ms: result for ms, result in zip(positions, results, strict=True) if not all_of_it(*result)} == {}


@pytest.mark.parametrize("speed", [100.0, 1.2])
async def test_a_vendor_that_breaks_off_again_and_again(engine: fastaudio.Engine, speed: float) -> None:
    places = [(900, 250), (1000, 50, 50), (2650, 0), (2700, 100), (150, 300, 450, 300), (0, 0, 600), (2500, 50, 150)]
    results = await asyncio.gather(*(broken(engine, speed, *each) for each in places))
    assert {each: result for each, result in zip(places, results, strict=True) if not all_of_it(*result)} == {}


async def test_only_whole_words_go_out_while_the_caller_has_enough_to_hear(engine: fastaudio.Engine) -> None:
    """So that a break is mended between two words; before the caller has nothing left, half of one goes out too."""
    words = Words(("one", "two"), (50, 700), (600, 1500))
    async with a_line(engine) as line:
        speech = await speak(line, Scripted([words, Audio(bytes(16 * 1200))]), "one two")
        await until(lambda: speech.audio_ms)
        assert speech.audio_ms == 700
        await until(lambda: speech.audio_ms > 700)
        unheard_ms = speech.unheard_ms
        assert unheard_ms is not None
        assert unheard_ms <= 310
        await speech.cancel()


async def test_the_first_audio_is_not_kept_for_the_sake_of_a_break(
    engine: fastaudio.Engine, sandbox: Sandbox, tts: CartesiaTts
) -> None:
    """Half a word that comes slowly goes out as it comes."""
    sandbox.cartesia.config.speed, sandbox.cartesia.config.chunk_ms = 1.0, 20
    async with a_line(engine) as line:
        speech = await speak(line, tts, "incomprehensibilities")
        await until(lambda: speech.first_audio_ns)
        await until(lambda: speech.unheard_ms is not None, 0.1)
        await asyncio.sleep(0.4)
        assert speech.audio_ms > 250
        await speech.cancel()


async def test_a_silent_vendor_is_left_for_another_connection(
    engine: fastaudio.Engine, sandbox: Sandbox, tts: CartesiaTts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cartesia_wire, "SILENT_S", 0.5)
    sandbox.cartesia.config.chunk_ms = 50
    sandbox.cartesia.faults.mute_times, sandbox.cartesia.faults.mute_after_ms = 1, 400
    async with a_line(engine) as line:
        speech = await speak(line, tts)
        assert all_of_it(await heard(line, speech), speech.heard_text(), speech.failed)
    assert tts.counters["silent"] == 1


async def test_a_vendor_that_does_not_come_back_is_given_up_in_time(
    engine: fastaudio.Engine, sandbox: Sandbox, tts: CartesiaTts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was whole is heard, and the call is told; also where other calls are served, so that no breaker opens."""
    monkeypatch.setattr(breaker, "FAILURES", 1000)
    sandbox.cartesia.config.chunk_ms = 50
    sandbox.cartesia.faults.context_error_times, sandbox.cartesia.faults.context_error_after_ms = 1, 1000
    async with a_line(engine) as line:
        speech = Speech(line.call, tts)
        await speech.say(TEXTS[0])
        await until(lambda: not sandbox.cartesia.faults.context_error_times)
        sandbox.cartesia.faults.context_error_times, sandbox.cartesia.faults.context_error_after_ms = 99, 0
        for text in TEXTS[1:]:
            await speech.say(text)
        await speech.end()
        began = asyncio.get_running_loop().time()
        said = await heard(line, speech)
        assert 2.5 < asyncio.get_running_loop().time() - began < 6.0
        assert sandbox.cartesia.counters["contexts_broken"] < 20
        assert speech.failed
        assert ALL.startswith(said)
        assert said == speech.heard_text()


async def test_a_connection_that_is_refused_for_a_moment_is_asked_for_again(
    engine: fastaudio.Engine, sandbox: Sandbox, tts: CartesiaTts
) -> None:
    """Before the first word, and behind a break in the middle."""
    sandbox.cartesia.config.chunk_ms = 50
    faults = sandbox.cartesia.faults
    faults.refuse_times, faults.refuse_status = 1, 500
    async with a_line(engine) as line:
        speech = await speak(line, tts, "hello there")
        assert await heard(line, speech) == "hello there"
        faults.close_times, faults.close_after_ms, faults.refuse_times = 1, 400, 1
        speech = await speak(line, tts)
        assert await heard(line, speech) == f"hello there {ALL}"
        assert not speech.failed
    assert sandbox.cartesia.counters["refused_by_fault"] == 2


async def test_a_voice_that_the_vendor_does_not_have_is_replaced(
    engine: fastaudio.Engine, sandbox: Sandbox, tts: CartesiaTts
) -> None:
    sandbox.cartesia.config.voices = ("v-1",)
    async with a_line(engine) as line:
        speech = await speak(line, tts, "hello there", voice=SpeakingVoice("gone", "en"))
        assert await heard(line, speech) == "hello there"
        assert not speech.failed
        sandbox.cartesia.config.voices = ("v-2",)
        speech = await speak(line, tts, "hello there")
        await speech.finished()
        assert speech.failed
    assert sandbox.cartesia.counters["refused_messages"] < 10


async def test_without_word_times_it_goes_on_where_it_was_silent(engine: fastaudio.Engine) -> None:
    """Between two clauses there is a pause in the sound and a comma in the text; exact it cannot be."""
    clauses = ("one two three four, ", "five six seven")
    buzz = (3000 * np.sign(np.sin(np.arange(16_000) / 8))).astype("<i2").tobytes()
    first_ms, pause_ms = int(len(clauses[0].strip()) * seam.LETTER_MS), 200
    pcm = buzz[: 16 * first_ms] + bytes(16 * pause_ms) + buzz[: 16 * 400]
    vendor = Scripted([Audio(pcm[start : start + 800]) for start in range(0, len(pcm), 800)], breaks=True)
    async with a_line(engine) as line:
        speech = await speak(line, vendor, *clauses)
        await speech.finished()
    assert vendor.said == ["one two three four, five six seven", "five six seven"]
    assert speech.audio_ms - first_ms - pause_ms == pytest.approx(-pause_ms / 2, abs=pause_ms / 2)
    assert not speech.failed


class Scripted:
    """A vendor that gives these events to the first text, and then breaks off or says nothing; later ones have none."""

    clauses = True

    def __init__(self, events: list[TtsEvent], *, breaks: bool = False) -> None:
        self.events = events
        self.breaks = breaks
        self.said: list[str] = []

    async def warm(self) -> None:
        """Nothing to do."""

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> ScriptedSynthesis:
        return ScriptedSynthesis(self)


class ScriptedSynthesis:
    def __init__(self, vendor: Scripted) -> None:
        self._vendor = vendor
        self._text = ""
        self._finished, self._cancelled = asyncio.Event(), asyncio.Event()

    async def say(self, text: str) -> None:
        self._text += text

    async def finish(self) -> None:
        self._finished.set()

    async def events(self) -> AsyncIterator[TtsEvent]:
        await self._finished.wait()
        self._vendor.said.append(self._text.strip())
        if len(self._vendor.said) > 1:
            return
        for event in self._vendor.events:
            yield event
        if self._vendor.breaks:
            raise ProviderError("Scripted", "the connection is gone")
        await self._cancelled.wait()

    async def cancel(self) -> None:
        self._cancelled.set()
