"""The barge-in detectors by themselves: for recordings, for tests, and for media that come another way."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from fastaudio import _core
from fastaudio.options import TICK_MS, BargeInOptions, Detector, core_detector

if TYPE_CHECKING:
    from fastaudio.silero import Confirmation, Finding

Buffer: TypeAlias = bytes | bytearray | memoryview
State: TypeAlias = Literal["idle", "hold", "resume", "barge_in"]


class BargeInDetector:
    """What a call's media thread runs, one frame at a time: is the caller interrupting.

    Not for several threads at once. A frame costs 0.3 to 0.8 microseconds, the most while somebody speaks, and 1.5
    where WebRTC's detector hears it; with `silero` some hundred while a hold is being confirmed, and some thousand at
    the hold itself.
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
        finding = self._second.judge(state, caller) if self._second is not None else None
        if finding == "contradicted":
            self._core.resume()
            self._core.enable(False)
            return "resume"
        if finding == "over":
            self._core.enable(True)
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
        from fastaudio import silero  # what it needs is an extra

        self._model = silero.Silero(rate)
        self._new = silero.Confirmation
        self._before: deque[bytes] = deque(maxlen=silero.PREROLL_MS // TICK_MS)
        self._was_held = False
        self._confirmation: Confirmation | None = None

    def judge(self, state: State, caller: Buffer) -> Finding | None:
        """What it finds in this frame, for which the core says `state`."""
        held = state in ("hold", "barge_in")
        self._before.append(bytes(caller))
        new = b""
        if state == "hold" and not self._was_held:
            self._confirmation = self._new(self._model, len(self._before) * TICK_MS)
            new = b"".join(self._before)
        elif self._confirmation is not None and (held or self._confirmation.contradicted):
            new = self._before[-1]
        else:
            self._confirmation = None  # the core has resumed by itself
        finding = self._confirmation.feed(new) if self._confirmation is not None else None
        if finding in ("confirmed", "over"):
            self._confirmation = None
        self._was_held = held
        return finding
