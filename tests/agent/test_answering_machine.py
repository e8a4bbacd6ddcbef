"""A machine that rings is told from a person: by its tones, and by what announcements say."""

from __future__ import annotations

import numpy as np
import pytest

from agent.call.answering_machine import KINDS, MONOLOGUE_MS, PHRASES, Machine, MachineWatch
from agent.sandbox.caller.sounds import make_sound
from agent.speech_engines.tones import ToneVoice

CHUNK_MS = 80


def heard(sound: np.ndarray, rate: int = 8000, noise: float = 20.0) -> tuple[Machine | None, float]:
    """What is found in a sound on a noisy line, and after how many seconds."""
    line = sound.astype(np.float64) + np.random.default_rng(1).normal(0.0, noise, len(sound))
    pcm = np.clip(np.rint(line), -32768, 32767).astype("<i2").tobytes()
    watch, size = MachineWatch(rate), 2 * rate * CHUNK_MS // 1000
    for start in range(0, len(pcm), size):
        if (found := watch.audio(pcm[start : start + size])) is not None:
            return found, (start + size) / 2 / rate
    return None, 0.0


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize(("name", "within_s"), [("fax", 4.2), ("modem", 1.8)])
def test_calling_tones_are_found(name: str, within_s: float, rate: int) -> None:
    found, after_s = heard(make_sound(name, 20.0, rate), rate)
    assert found is Machine.FAX
    assert after_s <= within_s


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_quiet_fax_on_a_noisy_line_is_found(rate: int) -> None:
    found, _ = heard(make_sound("fax", 10.0, rate) // 6, rate, noise=60.0)
    assert found is Machine.FAX


@pytest.mark.parametrize("hertz", [350.0, 440.0, 1000.0, 1209.0, 1477.0, 1750.0, 2200.0])
def test_other_tones_are_none_of_a_machine(hertz: float) -> None:
    time = np.arange(8 * 8000) / 8000
    assert heard(4000 * np.sin(2 * np.pi * hertz * time))[0] is None


@pytest.mark.parametrize(("low", "high"), [(500, 1500), (700, 1400), (350, 2300), (600, 1700)])
def test_a_long_vowel_is_no_machine(low: int, high: int) -> None:
    """Two formants look like one tone between them to the nearest samples: 500 and 1500 Hz like 1100 Hz."""
    time_s = np.arange(2 * 8000) / 8000
    vowel = 4000 * (np.sin(2 * np.pi * low * time_s) + np.sin(2 * np.pi * high * time_s))
    assert heard(vowel)[0] is None


@pytest.mark.parametrize(
    "pair", [(941.0, 1336.0), (900.0, 1290.0), (1000.0, 1600.0), (1900.0, 2290.0), (600.0, 1550.0)]
)
def test_two_tones_at_once_are_no_machine(pair: tuple[float, float]) -> None:
    """Keys, and pairs in whose middle a machine's tone would be."""
    time = np.arange(4 * 8000) / 8000
    assert heard(sum(3000 * np.sin(2 * np.pi * hertz * time) for hertz in pair))[0] is None  # type: ignore[arg-type]


def test_one_short_whistle_is_no_machine() -> None:
    sound = np.concatenate([make_sound("fax", 3.0, 8000), np.zeros(5 * 8000, np.int16)])
    assert heard(sound)[0] is None


def test_speech_noise_and_coughs_are_no_machine() -> None:
    speech = ToneVoice().speak("My kitchen tap is leaking and there is water all over the floor, oh dear.", 8000)
    assert heard(speech.samples)[0] is None
    assert heard(make_sound("cough", 1.0, 8000))[0] is None
    assert heard(np.random.default_rng(2).normal(0, 3000, 80_000))[0] is None
    assert heard(np.zeros(80_000))[0] is None


def test_a_tone_is_searched_for_at_the_beginning_alone() -> None:
    late = np.concatenate([np.zeros(30 * 8000, np.int16), make_sound("modem", 5.0, 8000)])
    assert heard(late)[0] is None


def test_an_announcement_is_known_by_several_phrases() -> None:
    watch = MachineWatch(8000)
    assert watch.words("Thank you for calling Acme Energy.", 1000) is None
    assert watch.words("This call is being recorded for training purposes.", 4000) is None
    assert watch.words("Press one for billing.", 6000) is Machine.ANNOUNCEMENT
    assert watch.words("Please hold the line.", 8000) is None, "it is told once"


@pytest.mark.parametrize(
    "text",
    [
        "My boiler says press one, and when I press two it says error, so I press three.",
        "I was told to hold the line and then I was cut off.",
        "Can I leave a message? No? OK, then please call me back.",
        "Hello, my kitchen tap is leaking.",
    ],
)
def test_a_person_is_no_announcement(text: str) -> None:
    assert MachineWatch(8000).words(text, 1000) is None


def test_each_phrase_counts_once() -> None:
    watch = MachineWatch(8000)
    assert all(watch.words("Press one.", 1000 * n) is None for n in range(KINDS + 2))
    assert len(PHRASES) > KINDS


def test_a_monologue_that_lets_nobody_in_is_no_conversation() -> None:
    watch = MachineWatch(8000)
    found = [watch.words("and so on and so on and so on", float(ms)) for ms in range(0, MONOLOGUE_MS + 1, 2000)]
    assert found[-1] is Machine.ANNOUNCEMENT
    assert found[:-1] == [None] * (len(found) - 1)


def test_who_lets_the_agent_finish_may_talk_for_long() -> None:
    watch = MachineWatch(8000)
    for ms in range(0, 4 * MONOLOGUE_MS, 2000):
        assert watch.words("and so on and so on and so on", float(ms)) is None
        if ms % 40_000 == 0:
            watch.agent_finished()
