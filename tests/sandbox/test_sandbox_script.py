"""The engines of `engines: script`: a conversation that is always the same, for load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from agent.providers.base import Transcript
from agent.providers.nova import NovaOptions, NovaStt
from agent.sandbox import Sandbox, SandboxConfig, rehearsed
from agent.speech_engines import load_recogniser, load_voice
from agent.speech_engines.decoder import ScriptDecoder
from benchmarks.agent.certificate import make_certificate

LOUD = (3000 * np.sin(np.arange(8000) / 8)).astype("<i2").tobytes()
"""A second."""


@pytest.fixture
async def scripted() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxConfig(engines="script")) as sandbox:
        yield sandbox


async def test_each_stretch_of_speech_is_the_next_line(scripted: Sandbox) -> None:
    stt = NovaStt(NovaOptions(scripted.deepgram_url, "key"))
    await stt.connect()
    heard: list[Transcript] = []
    position = 0
    for _ in range(3):
        for piece in (LOUD, bytes(16000)):
            for start in range(0, len(piece), 1280):
                stt.hear(position, piece[start : start + 1280])
                position += 80
    async with asyncio.timeout(10):
        async for event in stt.events():
            if isinstance(event, Transcript) and event.final and event.text:
                heard.append(event)
                if len(heard) == 3:
                    break
    await stt.close()
    assert tuple(each.text for each in heard) == rehearsed.LINES[:3]
    assert all(each.speech_final for each in heard)
    assert [round(each.start_ms, -3) for each in heard] == [0, 2000, 4000]
    assert all(800 < each.end_ms - each.start_ms < 1400 for each in heard)


async def test_a_line_grows_while_it_is_spoken_and_is_whole_at_its_end() -> None:
    decoder = ScriptDecoder(("one two three", "four five"), 8000)

    async def words(ms: int, start: float, *, ended: bool) -> str:
        return " ".join(word.text for word in await decoder.later(np.zeros(8 * ms, np.int16), start, ended=ended))

    assert await words(100, 1.0, ended=False) == ""
    assert await words(300, 1.0, ended=False) == "one"
    assert await words(3000, 1.0, ended=False) == "one two"  # the last word is there when the speech is over
    assert await words(3000, 1.0, ended=True) == "one two three"
    assert await words(300, 1.0, ended=False) == "one"  # it was not over
    assert await words(4000, 1.0, ended=True) == "one two three"
    assert await words(500, 7.0, ended=True) == "four five"
    assert await words(500, 9.0, ended=True) == "one two three"
    assert await words(300, 11.0, ended=False) == "four"  # and is cut here
    assert await words(300, 11.3, ended=False) == ""  # the last word is there when the speech is over
    assert await words(300, 11.3, ended=True) == "five"
    placed = await decoder.later(np.zeros(6000, np.int16), 20.0, ended=True)
    assert [(word.start, word.end) for word in placed] == [(20.0, 20.25), (20.25, 20.5), (20.5, 20.75)]


async def test_the_answer_is_looked_up_by_the_words(scripted: Sandbox, http: aiohttp.ClientSession) -> None:
    async def asked(content: str) -> str:
        body = {"model": "openai/gpt-oss-20b", "messages": [{"role": "user", "content": content}]}
        async with http.post(
            f"{scripted.groq_url}/chat/completions", json=body, headers={"Authorization": "Bearer key"}
        ) as response:
            return str((await response.json())["choices"][0]["message"]["content"])

    assert await asked(rehearsed.LINES[3]) == rehearsed.EXCHANGES[3][1].text
    assert scripted.groq.counters["off_script"] == 0
    assert await asked(" ".join(rehearsed.LINES[3:5])) == rehearsed.LOST.text
    assert scripted.groq.counters["off_script"] == 1


def test_engines_by_name() -> None:
    voice = load_voice("script")
    assert voice.speak("Hello there.", 8000) is voice.speak("Hello there.", 8000)
    words = load_recogniser("script", rehearsed.LINES).transcribe(np.zeros(8000, np.int16))
    assert " ".join(word.text for word in words) == rehearsed.LINES[0]
    assert words[-1].end == pytest.approx(1.0)


async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    certificate = tmp_path / "both.pem"
    make_certificate(certificate)
    async with Sandbox(SandboxConfig(engines="script", certificate=certificate)) as sandbox:
        assert sandbox.deepgram_url.startswith("wss://")
        assert sandbox.cartesia_url.startswith("wss://")
        assert sandbox.groq_url.startswith("https://")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"{sandbox.groq_url}/models")
        async with http.get(f"{sandbox.groq_url}/models", ssl=False, headers={"Authorization": "Bearer k"}) as answer:
            assert answer.status == 200
