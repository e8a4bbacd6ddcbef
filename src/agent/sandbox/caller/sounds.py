"""Sounds that a caller makes without words: a cough, a clatter, and what fax machines and modems send.

The tones are those of ITU-T T.30 (CNG: 1100 Hz for half a second, then 3 s of silence) and V.25 (answer tone: 2100 Hz).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines import Samples
from agent.speech_engines.audio import to_int16

_LEVEL = 0.12
"""Of full scale, as loud as speech on a telephone."""
_CNG_HZ, _CNG_ON_S, _CNG_PERIOD_S = 1100.0, 0.5, 3.5
_ANSWER_HZ = 2100.0


def make_sound(name: str, seconds: float, rate: int) -> Samples:
    """Make the sound of that name (of `script.SOUNDS`), `seconds` long, at `rate` samples a second."""
    time = np.arange(round(seconds * rate)) / rate
    match name:
        case "fax":
            sound = np.sin(2 * np.pi * _CNG_HZ * time) * (time % _CNG_PERIOD_S < _CNG_ON_S)
        case "modem":
            sound = np.sin(2 * np.pi * _ANSWER_HZ * time)
        case "cough":
            sound = _noise(len(time), rate) * np.exp(-time / (0.25 * seconds)) * np.minimum(1.0, time / 0.01)
        case "clatter":
            sound = _noise(len(time), rate) * np.exp(-(time % (seconds / 4)) / 0.02)
        case _:
            raise ValueError(f"there is no sound {name!r}")
    return to_int16((_LEVEL * sound).astype(np.float32))


def _noise(samples: int, rate: int) -> NDArray[np.float64]:
    """Noise without the lowest tones, which no telephone carries; always the same."""
    noise = np.random.default_rng(rate).normal(0.0, 1.0, samples + 1)
    return np.diff(noise)
