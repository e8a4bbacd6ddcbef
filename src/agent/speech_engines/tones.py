"""A voice and a recogniser that carry text in tones: exact, and far cheaper than speech.

Each character is 50 ms of two tones, so that a sentence lasts about as long as when it is spoken. Every tone is a
harmonic of 125 Hz between 375 and 3250 Hz, with a hum at 125 and 250 Hz below: for a level, periodicity or
WebRTC detector it is a voice with that pitch, and it passes a telephone line and G.711.

Characters alternate between two sets of low tones. So a doubled letter is two characters, while silence put into
the middle of one (a held playback) does not make it two, and no clock has to be kept: audio may begin, stop, lose
frames and gain silence anywhere, and what is whole is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines import audio
from agent.speech_engines.types import Samples, Speech, Word

RATE = 8000
CHARACTER = 400
"""Samples of one character: 50 ms."""

_PITCH = 125
_START, _END, _SHIFT, _ESCAPE = range(4)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,?!'-:;£&()/+@%\"#$*=_"
_FIRST = 4
assert _FIRST + len(_ALPHABET) <= 64

_LOW = np.arange(3, 19) * _PITCH
"""Low tones: even ones for even characters, odd ones for odd characters."""
_HIGH = np.arange(19, 27) * _PITCH

_WINDOW = 192
"""24 ms: harmonics of 125 Hz do not leak into each other through a Hann window of this length."""
_HOP = 40
_QUIET = 60.0
"""RMS below which a window is taken for silence."""
_DOMINANCE = 0.6
"""Least share of the power of all code tones in a window that its strongest pair must have."""


def _symbols(text: str) -> Iterator[tuple[int, int]]:
    """Code of `text`: pairs of a symbol and the index of the character that it completes (-1: none)."""
    yield _START, -1
    for index, character in enumerate(text):
        code = _ALPHABET.find(character)
        if code >= 0:
            yield _FIRST + code, index
        elif character.lower() != character and _ALPHABET.find(character.lower()) >= 0:
            yield _SHIFT, -1
            yield _FIRST + _ALPHABET.index(character.lower()), index
        elif character.isspace():
            yield _FIRST + _ALPHABET.index(" "), index
        else:
            yield _ESCAPE, -1
            for digit in f"{ord(character):x}":
                yield _FIRST + _ALPHABET.index(digit), -1
            yield _ESCAPE, index
    yield _END, -1


def _read(symbols: list[tuple[int, float, float]]) -> Iterator[tuple[str, float, float]]:
    """Characters with their start and end in seconds; the inverse of `_symbols`, on whatever was heard of it."""
    shift = False
    escape: str | None = None
    begun = 0.0
    for symbol, start, end in symbols:
        if symbol in (_START, _END):
            shift, escape = False, None
            yield " ", start, end
        elif symbol == _SHIFT:
            shift, begun = True, start
        elif symbol == _ESCAPE:
            if escape is None:
                escape, begun = "", start
            else:
                code = int(escape, 16) if escape and set(escape) <= set("0123456789abcdef") else 0xFFFD
                yield chr(code) if code <= 0x10FFFF else "\ufffd", begun, end
                escape = None
        elif symbol < _FIRST + len(_ALPHABET):
            character = _ALPHABET[symbol - _FIRST]
            if escape is not None:
                escape += character
            else:
                yield (character.upper(), begun, end) if shift else (character, start, end)
                shift = False


@lru_cache(maxsize=128)
def _sound(symbol: int, odd: bool) -> NDArray[np.float32]:
    """The sound of a symbol; each begins and ends at phase 0, so that neighbours join without a click."""
    time = np.arange(CHARACTER) / RATE
    tones = (
        (1.0, float(_LOW[2 * (symbol // 8) + odd])),
        (0.7, float(_HIGH[symbol % 8])),
        (0.4, float(_PITCH)),
        (0.4, float(2 * _PITCH)),
    )
    sound = np.sum([gain * np.sin(2 * np.pi * tone * time) for gain, tone in tones], axis=0)
    ramp = np.sin(np.linspace(0, np.pi / 2, 16)) * 0.8 + 0.2
    sound[:16] *= ramp
    sound[-16:] *= ramp[::-1]
    if symbol == _FIRST + _ALPHABET.index(" "):
        sound *= 0.4
    return np.asarray(sound, dtype=np.float32)


class ToneVoice:
    """Text to tones, 20 characters a second."""

    name = "tones"

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Carry `text` in tones; white space at its ends has no sound."""
        text = " ".join(text.split())
        if not text:
            return Speech(np.zeros(0, np.int16), sample_rate, ())
        sounds: list[NDArray[np.float32]] = []
        ends: dict[int, int] = {}
        for position, (symbol, index) in enumerate(_symbols(text)):
            sounds.append(_sound(symbol, position % 2 == 1))
            if index >= 0:
                ends[index] = position + 1
        samples = audio.resample(np.concatenate(sounds), RATE, sample_rate)
        seconds = CHARACTER / RATE
        words: list[Word] = []
        index = 0
        for word in text.split(" "):
            start = ends[index - 1] if index else 1
            words.append(Word(word, start * seconds, ends[index + len(word) - 1] * seconds))
            index += len(word) + 1
        return Speech(audio.level(samples, sample_rate), sample_rate, tuple(words))


class ToneRecogniser:
    """Tones back to text."""

    name = "tones"
    sample_rate = RATE

    def __init__(self) -> None:
        time = np.arange(_WINDOW) / RATE
        tones = np.concatenate([_LOW, _HIGH])
        probe = np.exp(-2j * np.pi * np.outer(time, tones)) * np.hanning(_WINDOW + 1)[:-1, None]
        self._cosine = probe.real.astype(np.float32)
        self._sine = probe.imag.astype(np.float32)

    def transcribe(self, samples: Samples) -> tuple[Word, ...]:
        """The words whose characters are in `samples` (8000 Hz); anything but tones gives none."""
        if len(samples) < _WINDOW:
            return ()
        words: list[Word] = []
        letters: list[tuple[str, float, float]] = []
        for letter in [*_read(self._symbols_in(samples)), (" ", 0.0, 0.0)]:
            if letter[0] != " ":
                letters.append(letter)
            elif letters:
                words.append(Word("".join(c for c, _, _ in letters), letters[0][1], letters[-1][2]))
                letters = []
        return tuple(words)

    def _symbols_in(self, samples: Samples) -> list[tuple[int, float, float]]:
        """Symbols with start and end in seconds."""
        windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), _WINDOW)[::_HOP]
        loud = np.mean(np.square(windows), axis=1) > _QUIET**2
        power = np.square(windows @ self._cosine) + np.square(windows @ self._sine)
        low, high = power[:, : len(_LOW)], power[:, len(_LOW) :]
        pair = low.max(axis=1) + high.max(axis=1)
        clear = loud & (pair > _DOMINANCE * power.sum(axis=1))
        clear &= np.minimum(low.max(axis=1), high.max(axis=1)) > 0.1 * pair
        # The tones must be most of the sound too: a person's voice has power between them.
        clear &= pair > 0.25 * np.mean(np.square(windows), axis=1) * (_WINDOW / 2) ** 2
        low_tone, high_tone = low.argmax(axis=1), high.argmax(axis=1)
        codes = np.where(clear, (low_tone * len(_HIGH) + high_tone), -1)

        found: list[tuple[int, float, float]] = []
        last = run = -1
        count = 0
        for index, code in enumerate(codes.tolist()):
            count = count + 1 if code == run else 1
            run = code
            if code < 0 or count < 2:
                continue
            centre = (index * _HOP + _WINDOW / 2) / RATE
            tone, high_index = divmod(code, len(_HIGH))
            if code == last:
                symbol, start, _ = found[-1]
                found[-1] = (symbol, start, centre + _WINDOW / 2 / RATE)
            else:
                found.append((8 * (tone // 2) + high_index, centre - 2 * _HOP / RATE, centre + _WINDOW / 2 / RATE))
                last = code
        return found
