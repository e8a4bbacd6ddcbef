"""What Asterisk sent to the caller, judged: sizes, pace, sequence, timestamps, and whose voice is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from . import ulaw
from .media import FRAME, TICK_S, Packet

Samples = npt.NDArray[np.float64]

JUMP_S = 0.08
"""After a gap of this length Asterisk goes on by the wall clock, with the marker bit (rtp: `calc_txstamp`), s."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Where timestamps do not continue: by how many samples more than expected, at which second, with a marker."""

    at_s: float
    samples: int
    marker: bool
    gap_s: float


@dataclass(slots=True)
class RtpReport:
    """One stream, counted. `interval_s` are the gaps between arrivals, in order of arrival."""

    packets: int = 0
    odd_sizes: int = 0
    other_payloads: int = 0
    lost: int = 0
    disordered: int = 0
    jumps: list[Jump] = field(default_factory=list)
    intervals_s: list[float] = field(default_factory=list)
    packets_per_s: float = 0.0

    def problems(self, *, jumps: int = 0) -> list[str]:
        """What is wrong with the stream; up to `jumps` jumps are explained by whoever asks.

        A jump counts as sound only with its marker bit and after a real gap of at least 80 ms.
        """
        found = []
        if not self.packets:
            found.append("no packets")
        if self.odd_sizes:
            found.append(f"{self.odd_sizes} packets are not of {FRAME} bytes")
        if self.other_payloads:
            found.append(f"{self.other_payloads} packets are not PCMU")
        if self.lost or self.disordered:
            found.append(f"sequence: {self.lost} lost, {self.disordered} out of order")
        bad = [jump for jump in self.jumps if not jump.marker or jump.gap_s < JUMP_S]
        if bad:
            found.append(f"timestamps break without a gap: {bad}")
        if len(self.jumps) > jumps:
            found.append(f"{len(self.jumps)} timestamp jumps, {jumps} explained: {self.jumps}")
        return found


def check(packets: Sequence[Packet]) -> RtpReport:
    """Count what a stream holds; the first packet is where its account begins."""
    report = RtpReport(packets=len(packets))
    previous: Packet | None = None
    for packet in packets:
        report.other_payloads += packet.payload_type != 0
        report.odd_sizes += len(packet.payload) != FRAME
        if previous is not None:
            step = (packet.sequence - previous.sequence) & 0xFFFF
            report.lost += step - 1 if 1 <= step < 0x8000 else 0
            report.disordered += step == 0 or step >= 0x8000
            gap_s = packet.at_s - previous.at_s
            report.intervals_s.append(gap_s)
            expected = (previous.timestamp + len(previous.payload)) & 0xFFFFFFFF
            samples = (packet.timestamp - expected + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            if samples:
                report.jumps.append(Jump(packet.at_s, samples, packet.marker, gap_s))
        previous = packet
    if len(packets) > 1:
        times = np.array([packet.at_s for packet in packets])
        slope = np.polyfit(np.arange(len(times)), times, 1)[0]
        report.packets_per_s = float(1 / slope)
    return report


def samples(packets: Sequence[Packet]) -> Samples:
    """The stream's audio, 8 kHz, first packet first; where timestamps do not continue, it goes on by arrival."""
    spoken = [packet for packet in packets if packet.payload_type == 0]
    if not spoken:
        return np.zeros(0)
    places: list[int] = []
    place = 0
    previous: Packet | None = None
    for packet in spoken:
        if previous is not None and packet.timestamp != (previous.timestamp + len(previous.payload)) & 0xFFFFFFFF:
            place = max(place, round((packet.at_s - spoken[0].at_s) * 8000))
        places.append(place)
        place += len(packet.payload)
        previous = packet
    audio = np.zeros(place)
    for begin, packet in zip(places, spoken, strict=True):
        audio[begin : begin + len(packet.payload)] = linear(ulaw.decode(packet.payload))
    return audio


def linear(pcm: bytes) -> Samples:
    """16-bit PCM as samples."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def find(pcm: bytes, heard: Samples) -> tuple[float, float]:
    """Where 16-bit `pcm` is best found in `heard`: the second, and the correlation there, from -1 to 1.

    Raises `ValueError` when `heard` is shorter than `pcm`, or `pcm` is silent.
    """
    wanted = linear(pcm)
    energy = float(np.sqrt(np.sum(wanted**2)))
    if len(wanted) > len(heard) or energy == 0:
        raise ValueError("there is nothing to look for, or nowhere to find it")
    size = 1 << (len(heard) + len(wanted) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    product = product[: len(heard) - len(wanted) + 1]
    sums = np.concatenate(([0.0], np.cumsum(heard**2)))
    local = np.sqrt(np.maximum(sums[len(wanted) :] - sums[: -len(wanted)], 0.0))
    # Where next to nothing is heard, a correlation says nothing.
    floor = 0.05 * energy
    correlation = np.where(local > floor, product / np.maximum(local, floor) / energy, 0.0)
    best = int(np.argmax(correlation))
    return best / 8000, float(correlation[best])


def tone_share(heard: Samples, hertz: float) -> float:
    """The share of the energy that lies at one frequency, from 0 to 1."""
    if len(heard) == 0 or not np.any(heard):
        return 0.0
    turn = np.exp(-2j * np.pi * hertz / 8000 * np.arange(len(heard)))
    return float(2 * abs(np.dot(heard, turn)) ** 2 / len(heard) / np.dot(heard, heard))


def on_pace(report: RtpReport, *, ppm: float) -> bool:
    """Whether packets came at 50 a second within `ppm`."""
    return abs(report.packets_per_s * TICK_S - 1) * 1e6 <= ppm
