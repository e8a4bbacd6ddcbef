"""The barge-in detectors by themselves: for recordings, for tests, and for media that come another way."""

from __future__ import annotations

from typing import Literal, TypeAlias

from fastaudio import _core
from fastaudio.options import BargeInOptions, Detector

Buffer: TypeAlias = bytes | bytearray | memoryview
State: TypeAlias = Literal["idle", "hold", "resume", "barge_in"]


class BargeInDetector:
    """What a call's media thread runs, one frame at a time: is the caller interrupting.

    Not for several threads at once. A frame costs one to three microseconds.
    """

    def __init__(
        self,
        detector: Detector = "adaptive",
        rate: int = 8000,
        *,
        webrtc_mode: int = 2,
        options: BargeInOptions | None = None,
    ) -> None:
        """Make a detector.

        Args:
            detector: `rms`, `webrtc`, `rms+webrtc` or `adaptive`.
            rate: 8000 or 16000 samples a second.
            webrtc_mode: 0..3, 3 the most reluctant to call a frame speech.
            options: When speech is an interruption; the defaults of `BargeInOptions`.

        Raises:
            ValueError: An argument is out of range.
            FastAudioError: The detector needs webrtcvad-wheels, which is not installed.

        """
        self.rate = rate
        self.frame_bytes = rate // 50 * 2
        """Bytes of a frame: 20 ms of 16-bit PCM, mono, little-endian."""
        self._core = _core.Interruption(detector, rate, webrtc_mode, (options or BargeInOptions()).as_core())

    def feed(self, caller: Buffer, played: Buffer | None = None) -> State:
        """Take 20 ms and say where things stand.

        `hold` lasts from the first sign of speech until it is decided; `resume` is one frame long: it was none;
        `barge_in` lasts until the caller has been quiet for `release_ms`. `played` is what the agent said in the same
        20 ms, None when that is not known: the adaptive detector then cannot tell its echo from a caller.

        Raises:
            ValueError: `caller` or `played` is not `frame_bytes` long.

        """
        return self._core.feed(caller, played)
