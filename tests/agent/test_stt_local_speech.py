"""The local STT with the real recogniser: what a voice says on a telephone line reaches the call as words."""

from __future__ import annotations

import asyncio

import pytest

from agent.providers.base import Transcript
from agent.providers.stt_local import LocalEars, LocalStt
from agent.speech_engines import audio, load_voice
from tests.agent.hearing import line
from tests.sandbox.test_sandbox_speech import word_errors

pytestmark = pytest.mark.speech

SAID = ("My kitchen tap is leaking.", "How much will it cost?")


async def test_two_calls_at_once_are_heard() -> None:
    voice = load_voice("hibari-low")
    ears = LocalEars(2)
    await asyncio.wrap_future(ears.prepare())  # a call waits for the model only so long
    async with line(LocalStt(ears, 8000)) as one, line(LocalStt(ears, 8000)) as other:
        for call, text in ((one, SAID[0]), (other, SAID[1])):
            samples = audio.decode(audio.encode(voice.speak(text, 8000).samples, "pcm_alaw"), "alaw")
            call.silence(400)
            call.hear(samples.astype("<i2").tobytes())
            call.silence(1500)
        await one.until(lambda: one.finals() and other.finals(), seconds=60)
        for call, text in ((one, SAID[0]), (other, SAID[1])):
            got = " ".join(final.text for final in call.finals())
            assert word_errors(text, got) <= 1, got
            assert call.finals()[-1].speech_final
            assert call.finals()[0].start_ms == pytest.approx(400, abs=250)
            for final in call.finals():
                assert " ".join(word.text for word in final.words) == final.text
                assert (final.words[0].start_ms, final.words[-1].end_ms) == (final.start_ms, final.end_ms)
            assert any(isinstance(event, Transcript) and not event.final for event in call.events)
    await ears.close()
