"""The sounds that detectors are tried on: a set that is made here, or recordings from a directory.

A set of recordings is a `dev.npz` with `speech` and `off` (utterances back to back), `agent`, `echo0` (its line echo at
0 dB, aligned) and `noise_<name>`, and a `dev.json` that says of each utterance whether it is `long` or `short`; all at
8 kHz. What is made here has the same parts. Its speech is synthetic, cleaner and evener than people's: a detector that
fails on it is bad, one that passes is not yet good.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines import Voice, VoiceName, load_voice
from agent.speech_engines.audio import active_rms, to_float

RATE = 8000
LEVEL = 2600.0
"""Active RMS of speech, of 32768: -22 dBFS."""
TRACK_S = 30
Sound = NDArray[np.float64]

LONG = (
    "Sorry, can I stop you there for a moment?",
    "No, that is not what I asked for.",
    "My boiler has been leaking since this morning.",
    "Could you tell me how much the callout is?",
    "Actually, I would rather speak to a person, please.",
    "Hang on, the address is wrong.",
    "Seven four one nine two zero.",
    "Yes, tomorrow afternoon would be fine.",
    "Is anyone able to come tonight?",
    "One moment, let me find the number.",
)
SHORT = ("Hello?", "Sorry?", "No.", "Wait.", "Seven.", "Stop.")
AGENT = (
    "Thank you for calling. I can have someone with you within the hour, and the callout fee is sixty pounds. "
    "The rest is quoted on site, before any work is done. May I take your postcode, please? "
)


@dataclass(frozen=True)
class Utterance:
    """Speech from its onset on."""

    samples: Sound
    short: bool
    """One word of less than 0.6 s or so."""


@dataclass(frozen=True)
class Sounds:
    """A set. `noises` are at the level of speech (0 dB) or, where that has no meaning, at their own."""

    name: str
    utterances: list[Utterance]
    noises: dict[str, Sound]
    agent: Sound
    echo: Sound
    """The agent's echo at 0 dB, aligned with it."""


def recorded(directory: Path) -> Sounds:
    """Load a set of recordings. Raises OSError, or KeyError when a part is missing."""
    arrays = np.load(directory / "dev.npz")
    classes = [one["cls"] for one in json.loads((directory / "dev.json").read_text())["speech"]]
    ends = arrays["off"]
    speech = arrays["speech"].astype(np.float64)
    return Sounds(
        name=f"recordings in {directory.name}",
        utterances=[Utterance(speech[ends[i] : ends[i + 1]], kind == "short") for i, kind in enumerate(classes)],
        noises={name[6:]: arrays[name].astype(np.float64) for name in arrays.files if name.startswith("noise_")},
        agent=arrays["agent"].astype(np.float64),
        echo=arrays["echo0"].astype(np.float64),
    )


def made(voices: tuple[VoiceName, ...] = ("hibari", "hibari-low", "pico"), seed: int = 1) -> Sounds:
    """Make a set with the speech engines of the extra `local`. Raises EngineMissing without them."""
    numbers = np.random.default_rng(seed)
    speakers = [load_voice(name) for name in voices]
    utterances = [Utterance(_say(voice, text), False) for voice in speakers for text in LONG]
    utterances += [Utterance(_say(voice, text), True) for voice in speakers for text in SHORT]
    agent = _repeated(_say(speakers[0], AGENT))
    return Sounds(
        name="made here",
        utterances=utterances,
        noises=dict(_noises(numbers, [one.samples for one in utterances if not one.short])),
        agent=agent,
        echo=_through_a_hybrid(agent),
    )


def _say(voice: Voice, text: str) -> Sound:
    """Speech at the usual level, cut at its onset: the first 10 ms that are within 30 dB of it."""
    samples = voice.speak(text, RATE).samples
    sound = samples.astype(np.float64)
    sound *= LEVEL / (32768 * max(active_rms(to_float(samples), RATE), 1e-6))
    blocks = sound[: len(sound) // 80 * 80].reshape(-1, 80)
    onset = int(np.argmax(np.sqrt((blocks**2).mean(axis=1)) > LEVEL / 32))
    return sound[80 * onset :]


def _repeated(sound: Sound) -> Sound:
    return np.tile(sound, -(-TRACK_S * RATE // len(sound)))[: TRACK_S * RATE]


def _through_a_hybrid(sound: Sound) -> Sound:
    """A telephone's hybrid: 6 ms later, smeared over 4 ms, at the level that it had."""
    response = np.zeros(80)
    response[48:80] = np.exp(-np.arange(32) / 6) * np.cos(np.arange(32) * 0.9)
    echo = np.convolve(sound, response)[: len(sound)]
    return _at(echo, float(np.sqrt((sound**2).mean())))


def _at(sound: Sound, rms: float) -> Sound:
    return sound * (rms / float(np.sqrt((sound**2).mean())))


def _noises(numbers: np.random.Generator, speech: list[Sound]) -> Iterator[tuple[str, Sound]]:
    length = TRACK_S * RATE
    white = numbers.normal(0, 1, length)
    yield "white", _at(white, LEVEL)
    yield "babble", _at(_babble(numbers, speech), LEVEL)
    yield "traffic", _at(_traffic(white), LEVEL)
    yield "music", _at(_music(numbers), LEVEL)
    yield "keyboard", _at(_events(numbers, _key, 0.18), 800)
    yield "cough", _at(_events(numbers, _cough, 1.6), 900)
    yield "thump_breath", _at(_events(numbers, _thump, 1.7), 500) + _at(_breath(white), 300)


def _babble(numbers: np.random.Generator, speech: list[Sound]) -> Sound:
    """Eight people at once."""
    total = np.zeros(TRACK_S * RATE)
    for _ in range(8):
        line = np.concatenate([speech[i] for i in numbers.permutation(len(speech))])
        total += np.roll(np.resize(line, len(total)), int(numbers.integers(len(total))))
    return total


def _traffic(white: Sound) -> Sound:
    """Low noise that swells as cars go by."""
    low = np.convolve(white, np.exp(-np.arange(60) / 12), "same")
    swell: Sound = 1 + 0.8 * np.sin(2 * np.pi * np.arange(len(low)) / (7.3 * RATE))
    return low * swell


def _music(numbers: np.random.Generator) -> Sound:
    """A melody over chords, as lines play it to those who hold: five harmonics a note."""
    total = np.zeros(TRACK_S * RATE)
    scale = 261.6 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    for at in range(0, len(total) - 4 * RATE, RATE // 4):
        time = np.arange(RATE // 2) / RATE
        note = sum(np.sin(2 * np.pi * numbers.choice(scale) * k * time) / k for k in range(1, 6))
        total[at : at + len(time)] += note * np.exp(-3 * time)
    for at in range(0, len(total) - 4 * RATE, 2 * RATE):
        time = np.arange(2 * RATE) / RATE
        chord = sum(np.sin(2 * np.pi * scale[i] / 2 * k * time) / k for i in (0, 2, 4) for k in (1, 2, 3))
        total[at : at + len(time)] += 0.5 * chord
    return total


def _events(numbers: np.random.Generator, event: Callable[[np.random.Generator], Sound], every_s: float) -> Sound:
    """One event after another, at random times around `every_s` apart, each as loud as it comes."""
    total = np.zeros(TRACK_S * RATE)
    at = RATE // 2
    while at < len(total) - RATE:
        one = event(numbers)
        total[at : at + len(one)] += one * numbers.uniform(0.5, 1.5)
        at += int(RATE * every_s * numbers.uniform(0.6, 1.6))
    return total


def _key(numbers: np.random.Generator) -> Sound:
    return numbers.normal(0, 1, 160) * np.exp(-np.arange(160) / 25)


def _cough(numbers: np.random.Generator) -> Sound:
    """A burst of 100 ms, then what the vocal folds add, dying away over 150 ms."""
    burst = numbers.normal(0, 1, 800) * np.exp(-np.arange(800) / 500)
    time = np.arange(1200) / RATE
    pitch = numbers.uniform(110, 220)
    tail = 0.5 * sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8)) * np.exp(-time / 0.06)
    return np.concatenate([burst, tail + numbers.normal(0, 0.1, 1200) * np.exp(-time / 0.06)])


def _thump(numbers: np.random.Generator) -> Sound:
    """A knock on a table, which rings."""
    time = np.arange(2400) / RATE
    hz = numbers.uniform(70, 140)
    return np.sin(2 * np.pi * hz * time) * np.exp(-time / 0.04) + 0.2 * _padded(_key(numbers), 2400)


def _padded(sound: Sound, length: int) -> Sound:
    return np.concatenate([sound, np.zeros(length - len(sound))])


def _breath(white: Sound) -> Sound:
    """Noise that comes and goes every three seconds."""
    rise: Sound = np.clip(np.sin(2 * np.pi * np.arange(len(white)) / (3 * RATE)), 0, 1) ** 2
    return np.diff(white, prepend=0.0) * rise
