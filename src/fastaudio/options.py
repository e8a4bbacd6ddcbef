"""How calls are set up, and when a caller interrupts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fastaudio import _core

Rate = Literal[8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000]
"""Samples a second of AudioSocket's audio kinds 0x10 to 0x18 (Asterisk: include/asterisk/res_audiosocket.h)."""

Detector = Literal["rms", "webrtc", "rms+webrtc", "adaptive", "silero"]
"""Ways to tell speech: by level, by WebRTC's detector, by both, by pitch above noise and the agent's own echo; and that
last one with each hold confirmed by Silero's model (extra `silero`), beside the media thread."""

TICK_MS = 20
"""A frame, a block of the capture and a tick of the clock: 20 ms."""


@dataclass(frozen=True, slots=True)
class BargeInOptions:
    """When the caller interrupts.

    `rms`: level of speech, of 32768 (classic range 500..1200). `ms`: how long it must last (classic 200..400).
    `unbroken`: the classic rule, without a gap; else 60 % of the frames. `rewind_ms`: how far before the held sample
    a false alarm resumes, 0..200. `limit_ms`: how long a barge-in waits for flush or resume before it is a flush.
    """

    enabled: bool = True
    rms: int = 800
    ms: int = 300
    unbroken: bool = False
    rewind_ms: int = 0
    release_ms: int = 200
    limit_ms: int = 1500

    def as_core(self) -> dict[str, Any]:
        """The same in the core's units of 20 ms."""
        return {
            "enabled": int(self.enabled),
            "rms": self.rms,
            "barge_ms": self.ms,
            "unbroken": self.unbroken,
            "rewind_ms": self.rewind_ms,
            "release_ticks": max(1, self.release_ms // TICK_MS),
            "limit_ticks": max(1, self.limit_ms // TICK_MS),
        }


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are set up.

    `rate`: samples a second, the same both ways; None takes that of the caller's first audio, and 8000 when none comes
    within 200 ms. Every detector hears 8000 and 16000; at other rates, and with None, there is `rms` alone, whose level
    means the same at any rate. `lead_frames`: 0..3 frames sent ahead while speaking. `playback_ms` and
    `capture_ms`: what the rings hold at least, rounded up to a power of two of frames. `listen_rms`: level of speech
    while the agent listens; `stop_ms`: silence after which local speech has ended, 20..2000.
    """

    rate: Rate | None = 8000
    lead_frames: int = 2
    playback_ms: int = 2560
    capture_ms: int = 2560
    detector: Detector = "adaptive"
    webrtc_mode: int = 2
    listen_rms: int = 300
    stop_ms: int = 200
    barge_in: BargeInOptions = field(default_factory=BargeInOptions)

    def create(self, number: int) -> _core.Call:
        """Allocate a call; raises ValueError when an option is out of range."""
        if self.rate is not None and self.rate not in get_args(Rate):
            rates = ", ".join(str(rate) for rate in get_args(Rate))
            raise ValueError(f"rate is {self.rate}; AudioSocket has {rates} (or None: the caller's)")
        if self.detector != "rms" and self.rate not in (8000, 16000):
            at = "the caller's rate (None)" if self.rate is None else f"a rate of {self.rate}"
            raise ValueError(f'detector {self.detector!r} hears 8000 and 16000; with {at}, use detector="rms"')
        return _core.Call(
            number,
            rate=self.rate or 0,
            playback_slots=_frames(self.playback_ms, 32),
            capture_blocks=_frames(self.capture_ms, 128),
            lead=self.lead_frames,
            listen_rms=self.listen_rms,
            stop_ms=self.stop_ms,
            detector=core_detector(self.detector),
            webrtc_mode=self.webrtc_mode,
            bargein=self.barge_in.as_core(),
        )


def core_detector(detector: Detector) -> str:
    """The part of a detector that the media thread runs."""
    return "adaptive" if detector == "silero" else detector


def _frames(ms: int, least: int) -> int:
    frames = least
    while frames * TICK_MS < ms:
        frames *= 2
    return frames
