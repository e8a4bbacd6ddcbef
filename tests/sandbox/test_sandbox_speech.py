"""The real engines: what a voice says on a telephone line, Moonshine understands."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import aiohttp
import numpy as np
import orjson
import pytest

from agent.sandbox import Sandbox, SandboxConfig, heard
from agent.speech_engines import Recogniser, Samples, Voice, VoiceName, audio, load_recogniser, load_voice

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

AGENT = (
    "We can have a plumber with you within thirty minutes to an hour.",
    "What's the postcode there?",
    "Thanks, what name shall I put it under?",
    "That's all booked, is there anything else?",
)
CALLER = (
    "Hello, my kitchen tap is leaking and water is going everywhere.",
    "Yes, that's fine.",
    "How much will it cost?",
    "Are you a machine?",
    "Twelve Park Road.",
    "My name is Sarah Jones.",
    "No, that's all, thank you. Bye.",
)


@cache
def voice(name: VoiceName) -> Voice:
    return load_voice(name)


@cache
def moonshine() -> Recogniser:
    return load_recogniser("moonshine")


def on_the_line(samples: Samples) -> Samples:
    """8 kHz through A-law, with silence around it, at Moonshine's rate."""
    line = audio.decode(audio.encode(samples, "pcm_alaw"), "alaw")
    line = np.concatenate([np.zeros(1200, np.int16), line, np.zeros(1200, np.int16)])
    return audio.to_int16(audio.resample(audio.to_float(line), 8000, 16000))


def understood(name: VoiceName, text: str) -> str:
    words = moonshine().transcribe(on_the_line(voice(name).speak(text, 8000).samples))
    return " ".join(word.text for word in words)


def plain(text: str) -> list[str]:
    return "".join(c for c in text.lower().replace("-", " ") if c.isalnum() or c in " '").split()


def word_errors(said: str, got: str) -> int:
    """Words to change, add or take away."""
    want, have = plain(said), plain(got)
    row = list(range(len(have) + 1))
    for i, word in enumerate(want, 1):
        before, row = row, [i]
        for j, other in enumerate(have, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other)))
    return row[-1]


@pytest.mark.parametrize(("name", "most"), [("hibari", 0.05), ("hibari-low", 0.08), ("pico", 0.35)])
def test_word_error_rate(name: VoiceName, most: float) -> None:
    sentences = AGENT + CALLER
    errors = {text: word_errors(text, understood(name, text)) for text in sentences}
    rate = sum(errors.values()) / sum(len(plain(text)) for text in sentences)
    assert rate <= most, errors


POSTCODES = "M1 4BT,SW1 2AA,SW9 8JX,N7 6QT,SE15 4QP,E8 3RD,M20 2LN,NW3 5TB,EC1 4HB,M14 6HX".split(",")
DIGITS = dict(zip("0123456789", "oh one two three four five six seven eight nine".split(), strict=True))


@pytest.mark.parametrize("name", ["hibari", "hibari-low"])
def test_postcodes_spelled_slowly_are_understood(name: VoiceName) -> None:
    texts = {
        postcode: understood(name, "It's " + ", ".join(DIGITS.get(c, c) for c in postcode.replace(" ", "")) + ".")
        for postcode in POSTCODES
    }
    assert sum(heard.find_postcode(text) == postcode for postcode, text in texts.items()) >= 9, texts


@pytest.mark.parametrize("name", ["hibari", "hibari-low"])
def test_postcodes_by_the_phonetic_alphabet_are_understood(name: VoiceName) -> None:
    texts = {postcode: understood(name, f"It's {heard.say_postcode(postcode)}.") for postcode in POSTCODES}
    assert sum(heard.find_postcode(text) == postcode for postcode, text in texts.items()) >= 8, texts


@pytest.mark.parametrize("name", ["hibari", "hibari-low", "pico"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_level_and_band(name: VoiceName, rate: int) -> None:
    spoken = voice(name).speak(CALLER[0], rate)
    sound = audio.to_float(spoken.samples)
    assert spoken.sample_rate == rate
    assert 20 * np.log10(audio.active_rms(sound, rate)) == pytest.approx(-20, abs=0.5)
    assert np.abs(sound).max() < 0.99
    assert abs(float(sound.mean())) < 0.002
    assert np.abs(sound[: rate // 100]).max() < 0.05
    assert np.abs(sound[-rate // 100 :]).max() < 0.05
    assert 2.5 < spoken.seconds < 6.0


@pytest.mark.parametrize("name", ["hibari", "hibari-low", "pico"])
def test_word_times_lie_within_the_speech(name: VoiceName) -> None:
    spoken = voice(name).speak(CALLER[0], 8000)
    assert [word.text for word in spoken.words] == CALLER[0].split()
    starts = [word.start for word in spoken.words]
    assert starts == sorted(starts)
    assert starts[0] < 0.1
    assert spoken.seconds - 0.15 < spoken.words[-1].end <= spoken.seconds


@pytest.mark.parametrize("name", ["hibari", "hibari-low", "pico"])
def test_nothing_to_say_is_silence(name: VoiceName) -> None:
    for text in ("", " ", "..."):
        assert voice(name).speak(text, 8000).seconds < 0.5


def test_noise_is_no_text() -> None:
    rng = np.random.default_rng(2)
    assert moonshine().transcribe(rng.normal(0, 400, 32000).astype(np.int16)) == ()
    thump = (np.exp(-np.arange(8000) / 300) * 9000 * np.sin(np.arange(8000) / 20)).astype(np.int16)
    assert moonshine().transcribe(thump) == ()
    assert moonshine().transcribe(np.zeros(16000, np.int16)) == ()


def test_word_confidence_is_a_probability() -> None:
    words = moonshine().transcribe(on_the_line(voice("hibari").speak(CALLER[0], 8000).samples))
    assert all(0.0 < word.confidence <= 1.0 for word in words)
    assert np.mean([word.confidence for word in words]) > 0.7


async def test_a_caller_is_heard_by_the_emulated_deepgram() -> None:
    """In real time, in chunks of 80 ms: the final comes soon after the endpoint."""
    async with (
        Sandbox(SandboxConfig(engines="tones"), recogniser=moonshine()) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        query = "model=nova-3&encoding=linear16&sample_rate=8000&interim_results=true&endpointing=300&smart_format=true"
        headers = {"Authorization": "Token any"}
        sound = voice("hibari-low").speak(CALLER[0], 8000).samples
        data = np.concatenate([np.zeros(4000, np.int16), sound, np.zeros(12000, np.int16)]).tobytes()
        async with http.ws_connect(f"{sandbox.deepgram_url}/v1/listen?{query}", headers=headers) as socket:
            loop = asyncio.get_running_loop()
            begun = loop.time()

            async def talk() -> None:
                for index, start in enumerate(range(0, len(data), 1280)):
                    await asyncio.sleep(begun + index * 0.08 - loop.time())
                    await socket.send_bytes(data[start : start + 1280])

            async with asyncio.TaskGroup() as group:
                group.create_task(talk())
                interims = 0
                while True:
                    result = orjson.loads((await socket.receive(timeout=10)).data)
                    if result["speech_final"]:
                        break
                    interims += bool(result["channel"]["alternatives"][0]["transcript"])
                late = loop.time() - begun - (0.5 + len(sound) / 8000)
        text = result["channel"]["alternatives"][0]["transcript"]
        assert word_errors(CALLER[0], text) <= 1, text
        assert interims >= 2
        assert 0.2 < late < 0.9
        words = result["channel"]["alternatives"][0]["words"]
        assert words[0]["start"] == pytest.approx(0.55, abs=0.15)
        assert words[-1]["end"] == pytest.approx(0.5 + len(sound) / 8000, abs=0.25)


def test_two_processes_fold_the_weights_once(tmp_path: Path) -> None:
    code = "from agent.speech_engines.moonshine_weights import weights; print(weights())"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    one, other = (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    results = [process.communicate(timeout=240) for process in (one, other)]
    assert one.returncode == other.returncode == 0, results
    assert results[0][0] == results[1][0]
    assert sum("Preparing Moonshine" in errors for _, errors in results) == 1
    made = Path(results[0][0].strip())
    assert sorted(file.name for file in made.iterdir()) == ["encoder.onnx", "first.onnx", "step.onnx"]
    assert [path.name for path in made.parent.iterdir() if path.is_dir()] == [made.name]
