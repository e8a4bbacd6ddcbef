"""Greetings spoken for the console by the emulated vendor: a WAV that says the text, few at once, and every refusal."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator

import numpy as np
import pytest

from agent.call.rehearsal import AT_ONCE, MAX_CHARS, Rehearsal, RehearsalError
from agent.providers.base import DEFAULT_VOICE, SpeakingVoice
from agent.providers.cartesia import CartesiaOptions, CartesiaTts
from agent.providers.cartesia_wire import CartesiaSynthesis
from agent.sandbox import Sandbox
from agent.speech_engines.tones import ToneRecogniser

RATE = 8000


@pytest.fixture
async def tts(sandbox: Sandbox) -> AsyncIterator[CartesiaTts]:
    running = CartesiaTts(CartesiaOptions(sandbox.cartesia_url, "car-secret-key", voice_id="v-1", sample_rate=RATE))
    yield running
    await running.close()


async def test_a_greeting_is_a_wav_that_says_it(tts: CartesiaTts) -> None:
    sound = await Rehearsal(tts, RATE).say("good morning,\n this is the plumber", "", "en-IE")
    with wave.open(io.BytesIO(sound)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, RATE)
        samples = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
    heard = " ".join(word.text for word in ToneRecogniser().transcribe(samples))
    assert heard == "good morning, this is the plumber"


class Voices(CartesiaTts):
    """Notes who is asked for; holds each synthesis until told."""

    def __init__(self, options: CartesiaOptions) -> None:
        super().__init__(options)
        self.asked: list[SpeakingVoice] = []
        self.go = asyncio.Event()

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> CartesiaSynthesis:
        self.asked.append(voice)
        await self.go.wait()
        return await super().open(voice)


@pytest.fixture
async def slow(sandbox: Sandbox) -> AsyncIterator[Voices]:
    running = Voices(CartesiaOptions(sandbox.cartesia_url, "car-secret-key", voice_id="v-1"))
    yield running
    await running.close()


async def test_few_are_spoken_at_once_and_the_rest_are_told(slow: Voices) -> None:
    rehearsal = Rehearsal(slow, 8000)
    first = [asyncio.create_task(rehearsal.say("hello", "fred", "en-IE")) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(RehearsalError, match="try again in a moment"):
        await rehearsal.say("hello", "", "")
    slow.go.set()
    assert all([(await each).startswith(b"RIFF") for each in first])
    assert (await rehearsal.say("hello", "", "")).startswith(b"RIFF"), "there is room again"
    assert slow.asked[:AT_ONCE] == [SpeakingVoice("fred", "en")] * AT_ONCE


async def test_a_voice_that_does_not_answer_is_given_up(slow: Voices) -> None:
    rehearsal = Rehearsal(slow, 8000, limit_s=0.05)
    for _ in range(AT_ONCE + 1):
        with pytest.raises(RehearsalError, match="does not answer"):
            await rehearsal.say("hello", "", "")


async def test_a_vendor_that_refuses_is_told_in_words(sandbox: Sandbox) -> None:
    tts = CartesiaTts(CartesiaOptions(sandbox.cartesia_url, "wrong", voice_id="v-1"))
    with pytest.raises(RehearsalError, match="the voice cannot speak it"):
        await Rehearsal(tts, 8000).say("hello", "", "")
    await tts.close()


@pytest.mark.parametrize("text", ["", " \n", "a" * (MAX_CHARS + 1)])
async def test_nothing_and_too_much_are_refused(tts: CartesiaTts, text: str) -> None:
    with pytest.raises(RehearsalError, match="1 to 500 characters"):
        await Rehearsal(tts, RATE).say(text, "", "")
