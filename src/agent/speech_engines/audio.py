"""Arithmetic on PCM: rates, levels, G.711."""

from __future__ import annotations

from functools import cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines.types import Samples

SPEECH_DBFS = -20.0
"""Level of speech that `level` brings a voice to: the RMS of its active frames, of full scale."""


def resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Change the sample rate, by a polyphase filter that cuts at the lower rate's half (no aliasing)."""
    if rate == wanted or not len(samples):
        return samples
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return np.asarray(resample_poly(samples, wanted // common, rate // common), dtype=np.float32)


def active_rms(samples: NDArray[np.float32], sample_rate: int) -> float:
    """RMS of the 20 ms frames that are within 30 dB of the loudest: the level of speech without its pauses."""
    size = sample_rate // 50
    count = len(samples) // size
    if count == 0:
        return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
    powers = np.mean(np.square(samples[: count * size].reshape(count, size)), axis=1)
    return float(np.sqrt(powers[powers >= powers.max() * 1e-3].mean()))


def level(samples: NDArray[np.float32], sample_rate: int, dbfs: float = SPEECH_DBFS) -> Samples:
    """Bring speech in -1..1 to `dbfs`, lower where a peak would clip, as 16-bit samples."""
    rms = active_rms(samples, sample_rate)
    if rms == 0.0:
        return np.zeros(len(samples), np.int16)
    gain = min(10 ** (dbfs / 20) / rms, 0.97 / float(np.abs(samples).max()))
    return to_int16(samples * np.float32(gain))


def to_int16(samples: NDArray[np.float32]) -> Samples:
    """-1..1 as 16-bit samples, clipped."""
    return np.asarray(np.clip(np.rint(samples * 32768.0), -32768, 32767), dtype=np.int16)


def to_float(samples: Samples) -> NDArray[np.float32]:
    """16-bit samples as -1..1."""
    return samples.astype(np.float32) / np.float32(32768.0)


def trim_silence(samples: NDArray[np.float32], sample_rate: int, keep_ms: int = 20) -> NDArray[np.float32]:
    """Cut the silence (40 dB below the peak) off both ends, but for `keep_ms`."""
    if not len(samples):
        return samples
    loud = np.flatnonzero(np.abs(samples) > float(np.abs(samples).max()) * 0.01)
    if not len(loud):
        return samples[:0]
    keep = sample_rate * keep_ms // 1000
    return samples[max(0, loud[0] - keep) : loud[-1] + keep]


def encode(samples: Samples, encoding: str) -> bytes:
    """PCM in a wire format: pcm_s16le, pcm_f32le, pcm_mulaw or pcm_alaw. Raises `KeyError` for another."""
    match encoding:
        case "pcm_s16le":
            return samples.astype("<i2").tobytes()
        case "pcm_f32le":
            return to_float(samples).astype("<f4").tobytes()
        case "pcm_mulaw":
            return _mulaw_codes()[samples.view(np.uint16)].tobytes()
        case "pcm_alaw":
            return _alaw_codes()[samples.view(np.uint16)].tobytes()
        case _:
            raise KeyError(encoding)


def decode(data: bytes, encoding: str) -> Samples:
    """Samples of a wire format: linear16, mulaw or alaw. Raises `KeyError` for another."""
    match encoding:
        case "linear16":
            return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        case "mulaw":
            return _mulaw_values()[np.frombuffer(data, np.uint8)]
        case "alaw":
            return _alaw_values()[np.frombuffer(data, np.uint8)]
        case _:
            raise KeyError(encoding)


@cache
def _mulaw_values() -> Samples:
    """G.711 mu-law: the sample of each code (ITU-T G.711, table 2a)."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 132 << ((code & 0x70) >> 4)) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_values() -> Samples:
    """G.711 A-law: the sample of each code (ITU-T G.711, table 1a)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code & 0x70) >> 4).astype(np.int32)
    mantissa = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _nearest_codes(values: Samples) -> NDArray[np.uint8]:
    """For each 16-bit sample, seen as unsigned, the code whose value is nearest."""
    order = np.lexsort((-np.arange(256), values))  # of two codes of one value the positive one
    sorted_values = values[order].astype(np.int32)
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    after = np.clip(np.searchsorted(sorted_values, samples), 1, 255)
    closer_before = samples - sorted_values[after - 1] <= sorted_values[after] - samples
    return order[np.where(closer_before, after - 1, after)].astype(np.uint8)


@cache
def _mulaw_codes() -> NDArray[np.uint8]:
    return _nearest_codes(_mulaw_values())


@cache
def _alaw_codes() -> NDArray[np.uint8]:
    return _nearest_codes(_alaw_values())
