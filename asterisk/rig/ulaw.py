"""PCMU to linear PCM and back, and the level of a packet, by table (ITU-T G.711)."""

from __future__ import annotations

import array
import functools
import math

SILENCE = 0xFF
"""The octet of a zero sample."""


def _linear(octet: int) -> int:
    octet = ~octet & 0xFF
    magnitude = (((octet & 0x0F) << 3) + 0x84 << (octet >> 4 & 0x07)) - 0x84
    return -magnitude if octet & 0x80 else magnitude


LINEAR = tuple(_linear(octet) for octet in range(256))
"""The linear sample, of 16 bits, of each octet."""

_SQUARES = tuple(sample * sample for sample in LINEAR)


@functools.cache
def _octets() -> bytes:
    """The octet of each sample, by its unsigned value."""
    table = bytearray(65536)
    for sample in range(-32768, 32768):
        magnitude = min(abs(sample), 32635) + 0x84
        exponent = magnitude.bit_length() - 8
        octet = exponent << 4 | (magnitude >> (exponent + 3) & 0x0F)
        table[sample & 0xFFFF] = ~(octet | (0x80 if sample < 0 else 0)) & 0xFF
    return bytes(table)


def encode(pcm: bytes) -> bytes:
    """PCMU of little-endian 16-bit samples."""
    samples = array.array("H", pcm)
    table = _octets()
    return bytes(table[sample] for sample in samples)


def decode(payload: bytes) -> bytes:
    """Little-endian 16-bit samples of PCMU."""
    return array.array("h", (LINEAR[octet] for octet in payload)).tobytes()


def level(payload: bytes) -> float:
    """RMS of a packet, of 32768; 0 for an empty one."""
    return math.sqrt(sum(_SQUARES[octet] for octet in payload) / len(payload)) if payload else 0.0
