"""How loud is a frame, is it speech, when did speech begin and end, and does it interrupt the agent."""

from __future__ import annotations

import sys
from array import array
from math import isqrt
from typing import Literal

import webrtcvad

from fastaudio._reference.adaptive import Adaptive
from fastaudio._reference.types import Buffer
from fastaudio._reference.wire import AUDIO_KINDS

Detector = Literal["rms", "webrtc", "rms+webrtc", "adaptive"]
DETECTORS: tuple[Detector, ...] = ("rms", "webrtc", "rms+webrtc", "adaptive")

START_WINDOW, START_NEED = 5, 3
"""Local speech starts when 3 of the last 5 frames are voiced."""

NATIVE_RATES = (8000, 16000)
"""Samples a second at which every detector hears; elsewhere there is the level alone."""

HISTORY = 64
"""Frames that windowed rules look back on."""


def samples_of(pcm: Buffer) -> array[int]:
    """Signed 16-bit samples, little-endian on the wire; an odd last byte is left out."""
    data = bytes(pcm)
    samples = array("h", data[: len(data) & ~1])
    if sys.byteorder == "big":  # pragma: no cover - the wire is little-endian
        samples.byteswap()
    return samples


def rms(pcm: Buffer) -> int:
    """Root mean square of 16-bit samples, rounded down, 0..32768; 0 when there are none. `audioop.rms(pcm, 2)`."""
    samples = samples_of(pcm)
    return isqrt(sum(s * s for s in samples) // len(samples)) if samples else 0


def rms_batch(pcm: Buffer, frame_samples: int) -> list[int]:
    """Root mean square of each whole frame in a run of frames.

    Raises:
        ValueError: `frame_samples` is 0.

    """
    if frame_samples == 0:
        raise ValueError("frame_samples must be at least 1")
    data, size = bytes(pcm), 2 * frame_samples
    return [rms(data[at : at + size]) for at in range(0, len(data) // size * size, size)]


class Run:
    """Voiced and unvoiced frames, the newest last: what every windowed rule is made of."""

    def __init__(self) -> None:
        self.frames: list[bool] = []

    def push(self, voiced: bool) -> None:
        self.frames = [*self.frames, voiced][-HISTORY:]

    def voiced(self, window: int) -> int:
        """Voiced frames among the last `window`."""
        return sum(self.frames[-window:])

    def oldest(self, window: int) -> int:
        """How many frames ago the oldest voiced frame of the last `window` was, 0 for the newest."""
        recent = self.frames[-window:]
        return len(recent) - 1 - recent.index(True)


class Gate:
    """Local speech with hysteresis: starts when 3 of 5 frames are voiced.

    Stops after `stop_frames` in which neither a voice is nor what goes on after one.
    """

    def __init__(self, stop_frames: int = 10) -> None:
        self._run = Run()
        self._stop_frames = max(1, stop_frames)
        self._silent = 0  # frames since speech last went on
        self.speaking = False

    def frame(self, voiced: bool, goes_on: bool = False) -> tuple[str, int] | None:
        """("start", how many frames before this one speech began) or ("stop", frames of silence behind its end)."""
        self._run.push(voiced)
        self._silent = 0 if voiced or goes_on else self._silent + 1
        if not self.speaking and self._run.voiced(START_WINDOW) >= START_NEED:
            self.speaking = True
            return "start", self._run.oldest(START_WINDOW)
        if self.speaking and self._silent >= self._stop_frames:
            self.speaking = False
            self._run.frames = []
            return "stop", self._silent
        return None


class Vad:
    """Is a frame of 20 ms speech: by its level, by WebRTC's detector (`webrtcvad`), by both, or by its own rules."""

    def __init__(self, detector: str = "rms+webrtc", rate: int = 8000, webrtc_mode: int = 2) -> None:
        """`rate` is 8000 or 16000 samples a second, for "rms" that of any audio kind.

        `webrtc_mode`: 0..3, 3 the most reluctant to call a frame speech.

        Raises:
            ValueError: An argument is out of range.

        """
        if detector not in DETECTORS:
            raise ValueError(f"no detector {detector!r}; there are {', '.join(DETECTORS)}")
        if rate not in (AUDIO_KINDS if detector == "rms" else NATIVE_RATES) or not 0 <= webrtc_mode <= 3:
            raise ValueError("argument out of range")
        self._detector = detector
        self._rate = rate
        self._webrtc = webrtcvad.Vad(webrtc_mode) if "webrtc" in detector else None
        self._adaptive = Adaptive(rate) if detector == "adaptive" else None

    def frame(self, pcm: Buffer, loud_rms: int, quiet_rms: int) -> tuple[int, bool, bool, bool, bool, bool]:
        """(rms, speech against `loud_rms`, against `quiet_rms`, it goes on, steady, convincing with the frames before).

        WebRTC's detector adapts to what it is given, so it matters that it runs only where a level is reached.

        Raises:
            ValueError: `pcm` is not one frame of 20 ms.

        """
        data = bytes(pcm)
        if len(data) != self._rate // 50 * 2:
            raise ValueError(f"a frame has {self._rate // 50 * 2} bytes, not {len(data)}")
        level = rms(data)
        if self._adaptive is not None:
            heard = self._adaptive.frame(samples_of(data), level)
            return level, heard.voiced, heard.speech, heard.goes_on, heard.steady, heard.convincing
        if self._detector == "webrtc":
            loud_rms = quiet_rms = 0
        loud, quiet = level >= loud_rms, level >= quiet_rms
        if self._webrtc is not None and (loud or quiet):
            speech = bool(self._webrtc.is_speech(data, self._rate))
            loud, quiet = loud and speech, quiet and speech
        return level, loud, quiet, quiet, True, True

    def gap(self) -> None:
        """A frame of the caller did not come."""
        if self._adaptive is not None:
            self._adaptive.gap()

    def played(self, rms: int) -> None:
        """Once a tick: the level of what was played in it, 0 for silence."""
        if self._adaptive is not None:
            self._adaptive.played(rms)

    def interrupted(self) -> None:
        """The agent was interrupted: what came just now is the caller's voice."""
        if self._adaptive is not None:
            self._adaptive.interrupted()


class BargeIn:
    """When the caller interrupts: a pure state machine over voiced frames and ticks.

    idle --first sign while the agent plays--> held --speech lasts--> barged --the agent decides--> idle;
    held --it was a cough--> idle (resume); barged --no word from the agent for `limit_ticks`--> idle (flush).
    """

    def __init__(
        self,
        *,
        detector: str = "rms+webrtc",
        rms: int = 800,
        barge_ms: int = 300,
        unbroken: bool = False,
        **options: int,
    ) -> None:
        """The rules; each windowed one is "so many of the last so many frames are voiced".

        Args:
            detector: Whose frames they are: the adaptive one's are vowels, and fewer of them are enough.
            rms: Level of speech while the agent speaks, of 32768 (the call's detector uses it).
            barge_ms: Length of the barge-in window, taken as frames of 20 ms, 1..64 of them.
            unbroken: The classic rule: every frame of the window; else 60 % of them, 45 % for `adaptive`.
            options: `enabled`, `hold_window`, `hold_need`, `barge_window`, `barge_need`, `release_ticks`,
                `decide_ticks` (0: never), `limit_ticks`, `rewind_ms` (0..200).

        Raises:
            ValueError: A window is not 1..64, a need not 1..window, or another value out of range.
            TypeError: An option that does not exist.

        """
        percent, hold = (45, 3) if detector == "adaptive" else (60, 4)
        window = min(max(barge_ms // 20, 1), HISTORY)
        self.rms = rms
        self.enabled = options.pop("enabled", 1)
        self.hold_window = options.pop("hold_window", min(window, 5))
        self.hold_need = options.pop("hold_need", min(window, hold))
        self.barge_window = options.pop("barge_window", window)
        self.barge_need = options.pop("barge_need", window if unbroken else -(-window * percent // 100))
        self.release_ticks = options.pop("release_ticks", 10)
        self.decide_ticks = options.pop("decide_ticks", 50)
        self.limit_ticks = options.pop("limit_ticks", 75)
        self.rewind_ms = options.pop("rewind_ms", 0)
        if options:
            raise TypeError(f"unknown barge-in options: {', '.join(options)}")
        for width, need in ((self.hold_window, self.hold_need), (self.barge_window, self.barge_need)):
            if not 1 <= need <= width <= HISTORY:
                raise ValueError("argument out of range")
        if self.rewind_ms > 200 or self.release_ticks == 0 or self.limit_ticks == 0:
            raise ValueError("argument out of range")
        self.state: Literal["idle", "held", "barged"] = "idle"
        self._run = Run()
        self._ticks = 0  # in this state
        self._quiet = 0  # ticks since a voiced frame
        self._steady = self._convincing = False

    def frame(self, voiced: bool, steady: bool = True, convincing: bool = True) -> None:
        """One frame of the caller; `steady`: it may begin a hold, `convincing`: it may decide anything."""
        self._run.push(voiced)
        self._steady = steady
        self._convincing = convincing
        if voiced:
            self._quiet = 0

    def tick(self, playing: bool) -> Literal["hold", "resume", "barge_in", "flush"] | None:
        """One tick, after the frames that came before it; `playing`: an utterance is open or waits."""
        self._ticks += 1
        self._quiet += 1
        if self.state == "idle":
            if not self.enabled or not playing or not self._steady or not self._convincing:
                return None
            if self._run.voiced(self.hold_window) < self.hold_need:
                return None
            self._enter("held")
            self._quiet = 1
            return "hold"
        if self.state == "held":
            return self._tick_held()
        if self._ticks < self.limit_ticks:
            return None
        self.reset()
        return "flush"

    def _tick_held(self) -> Literal["resume", "barge_in"] | None:
        if self._convincing and self._run.voiced(self.barge_window) >= self.barge_need:
            self._enter("barged")
            return "barge_in"
        if self._quiet > self.release_ticks:
            self.reset()
            return "resume"
        if self.decide_ticks and self._ticks >= self.decide_ticks:  # neither speech nor silence, and it goes on
            self._enter("barged")
            return "barge_in"
        return None

    def reset(self) -> None:
        """The agent has decided: what was heard so far counts no more."""
        self._enter("idle")
        self._run = Run()

    def wait_for_agent(self) -> None:
        """The agent held playback by itself: its word is awaited, within the limit."""
        self._enter("barged")

    def _enter(self, state: Literal["idle", "held", "barged"]) -> None:
        self.state = state
        self._ticks = 0
