"""The greeting: the time of day where the company is, its own words, and the audio that is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from agent.call import greeting as greetings
from agent.call import greeting_folder
from agent.call.company import CompanyContext
from agent.call.greeting import Greetings
from agent.call.greeting_folder import GreetingFolder
from agent.call.speech import Speech
from agent.conversations import Conversation, Phrases
from agent.conversations import conversation as conversations
from agent.providers.base import DEFAULT_VOICE, Audio, ProviderError, SpeakingVoice, TtsEvent, Words
from agent.tools.registry import ToolRegistry

SPOKEN = Conversation("own", "Own", "en-GB", "", "", Phrases(), ToolRegistry([]))


class OneSynthesis:
    def __init__(self, owner: CountingTts) -> None:
        self._owner = owner

    async def say(self, text: str) -> None:
        self._owner.said.append(text)

    async def finish(self) -> None:
        pass

    async def events(self) -> AsyncIterator[TtsEvent]:
        for event in self._owner.answer:
            if isinstance(event, ProviderError):
                raise event
            yield event

    async def cancel(self) -> None:
        self._owner.cancelled += 1


class CountingTts:
    """Counts what it is asked to say; answers what it is told to."""

    clauses = True

    def __init__(self, *answer: TtsEvent | ProviderError) -> None:
        self.answer = answer
        self.said: list[str] = []
        self.voices: list[SpeakingVoice] = []
        self.cancelled = 0

    async def warm(self) -> None:
        pass

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> OneSynthesis:
        self.voices.append(voice)
        return OneSynthesis(self)


@pytest.mark.parametrize(
    ("hour", "minute", "part"),
    [
        (0, 0, "morning"),
        (11, 59, "morning"),
        (12, 0, "afternoon"),
        (17, 59, "afternoon"),
        (18, 0, "evening"),
        (23, 59, "evening"),
    ],
)
def test_the_time_of_day(hour: int, minute: int, part: str) -> None:
    assert Phrases().time_of_day(datetime(2026, 11, 23, hour, minute)) == part


@pytest.mark.parametrize(
    ("zone", "moment", "part"),
    [
        ("Europe/London", datetime(2026, 11, 23, 11, 59, tzinfo=UTC), "morning"),
        ("Europe/London", datetime(2026, 7, 23, 11, 0, tzinfo=UTC), "afternoon"),  # summer time: noon
        ("Europe/London", datetime(2026, 7, 23, 10, 59, tzinfo=UTC), "morning"),
        ("Europe/London", datetime(2026, 10, 25, 0, 59, tzinfo=UTC), "morning"),  # the night the clocks go back
        ("America/New_York", datetime(2026, 11, 23, 17, 0, tzinfo=UTC), "afternoon"),
        ("Asia/Kolkata", datetime(2026, 11, 23, 12, 29, tzinfo=UTC), "afternoon"),  # half-hour zone: 17:59
        ("Asia/Kolkata", datetime(2026, 11, 23, 12, 30, tzinfo=UTC), "evening"),
    ],
)
def test_the_time_of_day_is_the_companys(
    zone: str, moment: datetime, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return moment.astimezone(tz)  # type: ignore[arg-type]

    monkeypatch.setattr(conversations, "datetime", Clock)
    assert SPOKEN.greeting(CompanyContext(company_name="Acme", timezone=zone)) == f"Hello, Acme, good {part}."


def test_a_companys_own_greeting() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    own = CompanyContext(company_name="Acme", greeting="Good {time_of_day}, you're through to Acme.")
    assert SPOKEN.greeting(own, noon) == "Good afternoon, you're through to Acme."
    assert SPOKEN.greeting(CompanyContext(greeting="Hiya {caller}"), noon) == "Hiya {caller}"


async def test_the_audio_is_made_once_for_each_text_and_voice() -> None:
    tts = CountingTts(Words(("Hello",), (0,)), Audio(b"\x01\x00"))
    kept = Greetings(tts)
    for _ in range(3):
        await kept.prepare("Hello, Acme.", DEFAULT_VOICE)
    assert len(tts.said) == 1
    await kept.prepare("Hello, Acme.", SpeakingVoice("other"))
    assert tts.voices == [DEFAULT_VOICE, SpeakingVoice("other")]


async def test_calls_that_come_together_have_it_made_once() -> None:
    tts = CountingTts(Audio(b"\x01\x00"))
    kept = Greetings(tts)
    await asyncio.gather(*(kept.prepare("Hello, Acme.", DEFAULT_VOICE) for _ in range(20)))
    assert len(tts.said) == 1


async def test_the_oldest_audio_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greetings, "KEPT", 3)
    tts = CountingTts(Audio(b"\x01\x00"))
    kept = Greetings(tts)
    for name in "abcde":
        await kept.prepare(name, DEFAULT_VOICE)
    assert len(kept._kept) == 3
    await kept.prepare("e", DEFAULT_VOICE)
    assert len(tts.said) == 5, "the newest is still there"
    await kept.prepare("a", DEFAULT_VOICE)
    assert len(tts.said) == 6, "the oldest is not"


async def test_audio_that_failed_is_not_kept() -> None:
    tts = CountingTts(Audio(b"\x01\x00"), ProviderError("TTS", "broken"))
    kept = Greetings(tts)
    with pytest.raises(ProviderError, match="broken"):
        await kept.prepare("Hello.", DEFAULT_VOICE)
    assert tts.cancelled == 1
    tts.answer = ()
    with pytest.raises(ProviderError, match="no audio"):
        await kept.prepare("Hello.", DEFAULT_VOICE)
    tts.answer = (Audio(b"\x01\x00"),)
    await kept.prepare("Hello.", DEFAULT_VOICE)
    assert len(tts.said) == 3


# ---- kept on disk ---------------------------------------------------------------------------------------------------


class Heard:
    """Stands for a speech: what a greeting was said with."""

    def __init__(self) -> None:
        self.recorded: list[tuple[bytes, Words | None, str]] = []
        self.live: list[str] = []

    async def say(self, text: str) -> None:
        self.live.append(text)

    async def say_recorded(self, pcm: bytes, words: Words | None, text: str) -> None:
        self.recorded.append((pcm, words, text))

    async def end(self) -> None:
        pass


async def kept(folder: GreetingFolder, voice: SpeakingVoice, text: str) -> None:
    """Make a greeting, and wait until it is on disk."""
    tts = CountingTts(Words(("Hello",), (7,)), Audio(b"\x01\x02" * 500))
    await Greetings(tts, folder).prepare(text, voice)
    async with asyncio.timeout(5):
        while folder.read(voice, text) is None:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)


async def test_a_greeting_of_before_is_heard_after_a_restart_while_the_voice_is_away(tmp_path: Path) -> None:
    folder = GreetingFolder(tmp_path / "greetings", "sonic-3", "emma", 8000)
    voice = SpeakingVoice("", "en")
    await kept(folder, voice, "Hello")
    away = CountingTts(ProviderError("TTS", "is away"))
    announced, sudden = Greetings(away, folder), Greetings(away, folder)
    await announced.prepare("Hello", SpeakingVoice("emma", "en"))
    for greetings_ in (announced, sudden):
        speech = Heard()
        await greetings_.say(cast(Speech, speech), "Hello", voice)
        assert (speech.recorded, speech.live) == ([(b"\x01\x02" * 500, Words(("Hello",), (7,)), "Hello")], [])
    assert away.said == []
    with pytest.raises(ProviderError):
        await announced.prepare("Good evening", voice)


@pytest.mark.parametrize(
    "other",
    [{"model": "sonic-4"}, {"sample_rate": 16000}, {"default_voice_id": "fred"}],
)
async def test_another_model_rate_or_voice_is_another_greeting(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = GreetingFolder(tmp_path, "sonic-3", "emma", 8000)
    await kept(folder, DEFAULT_VOICE, "Hello")
    assert replace(folder, **other).read(DEFAULT_VOICE, "Hello") is None
    assert folder.read(DEFAULT_VOICE, "Hello!") is None


def test_half_a_file_is_no_greeting_and_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = GreetingFolder(tmp_path, "sonic-3", "emma", 8000)
    folder.write(DEFAULT_VOICE, "Hello", bytes(1000), Words(("Hello",), (0,)))
    timed = Words(("Good", "day"), (0, 300), (280, 600))
    folder.write(DEFAULT_VOICE, "Good day", bytes(1000), timed)
    assert folder.read(DEFAULT_VOICE, "Good day") == (bytes(1000), timed)
    folder._file(DEFAULT_VOICE, "Good day").unlink()
    file = next(tmp_path.glob("*.greeting"))
    file.write_bytes(file.read_bytes()[:-10])
    assert folder.read(DEFAULT_VOICE, "Hello") is None
    file.write_bytes(b"[]\n")
    assert folder.read(DEFAULT_VOICE, "Hello") is None
    assert "made anew" in caplog.text
    os.utime(file, (1, 1))
    monkeypatch.setattr(greeting_folder, "FILES", 3)
    for number in range(3):
        folder.write(DEFAULT_VOICE, f"Hello {number}", bytes(10), Words((), ()))
    assert len(list(tmp_path.iterdir())) == 3
    assert not file.exists()
    folder.write(DEFAULT_VOICE, "too long", bytes(16 * 30_001), Words((), ()))
    assert folder.read(DEFAULT_VOICE, "too long") is None
