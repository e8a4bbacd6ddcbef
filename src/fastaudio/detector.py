"""The barge-in detectors by themselves: for recordings, for tests, and for media that come another way."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from fastaudio import _core
from fastaudio.options import TICK_MS, BargeInOptions, Detector, core_detector

if TYPE_CHECKING:
    from fastaudio.silero import Confirmation

Buffer: TypeAlias = bytes | bytearray | memoryview
State: TypeAlias = Literal["idle", "hold", "resume", "barge_in"]


class BargeInDetector:
    """What a call's media thread runs, one frame at a time: is the caller interrupting.

    Not for several threads at once. A frame costs one to three microseconds; with `silero` some hundred while a hold
    is being confirmed, and some thousand at the hold itself.
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
            detector: `rms`, `webrtc`, `rms+webrtc`, `adaptive`, or `silero`: `adaptive`, each hold confirmed by Silero.
            rate: 8000 or 16000 samples a second.
            webrtc_mode: 0..3, 3 the most reluctant to call a frame speech.
            options: When speech is an interruption; the defaults of `BargeInOptions`.

        Raises:
            ValueError: An argument is out of range.
            FastAudioError: The detector needs a package that is not installed: webrtcvad-wheels, or the extra `silero`.

        """
        self.rate = rate
        self.frame_bytes = rate // 50 * 2
        """Bytes of a frame: 20 ms of 16-bit PCM, mono, little-endian."""
        bargein = (options or BargeInOptions()).as_core()
        self._core = _core.Interruption(core_detector(detector), rate, webrtc_mode, bargein)
        self._second = _SecondOpinion(rate) if detector == "silero" else None

    def feed(self, caller: Buffer, played: Buffer | None = None) -> State:
        """Take 20 ms and say where things stand.

        `hold` lasts from the first sign of speech until it is decided; `resume` is one frame long: it was none;
        `barge_in` lasts until the caller has been quiet for `release_ms`. `played` is what the agent said in the same
        20 ms, None when that is not known: the adaptive detector then cannot tell its echo from a caller.

        Raises:
            ValueError: `caller` or `played` is not `frame_bytes` long.

        """
        state = self._core.feed(caller, played)
        if self._second is not None and self._second.contradicts(state, caller):
            self._core.resume()
            return "resume"
        return state

    @property
    def gate(self) -> int:
        """The level (RMS) that speech must exceed now: of 32768, or 0 when the detector goes by other things.

        For the adaptive detector the line's noise, or the echo of what is being played where that is louder.
        """
        return self._core.gate


class _SecondOpinion:
    """Silero on each hold, as a call has it, but that nothing waits for another thread."""

    def __init__(self, rate: int) -> None:
        from fastaudio import silero

        self._model = silero.Silero(rate)
        self._new = silero.Confirmation
        self._before: deque[bytes] = deque(maxlen=silero.PREROLL_MS // TICK_MS)
        self._last: State = "idle"
        self._confirmation: Confirmation | None = None

    def contradicts(self, state: State, caller: Buffer) -> bool:
        """Whether this frame makes it certain that the hold was for no speech."""
        held = state in ("hold", "barge_in")
        speech: bool | None = None
        if state == "hold" and self._last not in ("hold", "barge_in"):
            self._before.append(bytes(caller))  # the frame that decided lies before the hold
            self._confirmation = self._new(self._model, len(self._before) * TICK_MS)
            speech = self._confirmation.feed(b"".join(self._before))
        else:
            if self._confirmation is not None and held:
                speech = self._confirmation.feed(caller)
            self._before.append(bytes(caller))
        if speech is not None or not held:
            self._confirmation = None
        self._last = "resume" if speech is False else state
        return speech is False
