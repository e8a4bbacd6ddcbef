"""Level and voice activity: against `audioop`, numpy, the `webrtcvad` binding and plain Python."""

from __future__ import annotations

import random
import struct
import warnings
from typing import TYPE_CHECKING

import pytest
import webrtcvad

from fastaudio import _core, _reference

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop", reason="audioop went from Python 3.13: pip install audioop-lts")

FRAMES = 500
NOISE = random.Random(1)
BATCH = struct.pack(f"<{160 * FRAMES}h", *(round(NOISE.gauss(0, 2000)) for _ in range(160 * FRAMES)))
SLICES = [BATCH[at : at + 320] for at in range(0, len(BATCH), 320)]
FRAME = SLICES[0]


def test_rms_of_a_batch(compare: Compare) -> None:
    rms = audioop.rms
    assert _core.rms_batch(BATCH, 160) == [rms(frame, 2) for frame in SLICES]
    compare(
        f"rms of a frame, batch of {FRAMES}",
        lambda: _core.rms_batch(BATCH, 160),
        "audioop.rms once a frame",
        lambda: [rms(frame, 2) for frame in SLICES],
        of=FRAMES,
        goal=5,
    )


def test_rms_of_a_frame(compare: Compare) -> None:
    compare("rms of a frame", lambda: _core.rms(FRAME), "audioop.rms", lambda: audioop.rms(FRAME, 2))
    compare("rms of a frame", lambda: _core.rms(FRAME), "_reference", lambda: _reference.rms(FRAME))


def test_rms_against_numpy(compare: Compare) -> None:
    numpy = pytest.importorskip("numpy")

    def frame() -> int:
        samples = numpy.frombuffer(FRAME, dtype=numpy.int16).astype(numpy.float64)
        return int(numpy.sqrt(numpy.mean(samples * samples)))

    def batch() -> object:
        samples = numpy.frombuffer(BATCH, dtype=numpy.int16).astype(numpy.float64).reshape(-1, 160)
        return numpy.sqrt(numpy.mean(samples * samples, axis=1)).astype(int)

    assert frame() == _core.rms(FRAME)
    compare("rms of a frame", lambda: _core.rms(FRAME), "numpy, a frame", frame)
    compare(f"rms of a frame, batch of {FRAMES}", lambda: _core.rms_batch(BATCH, 160), "numpy, batch", batch, of=FRAMES)


@pytest.mark.parametrize("mode", [2])
def test_vad(compare: Compare, mode: int) -> None:
    ours, binding = _core.Vad("webrtc", 8000, mode), webrtcvad.Vad(mode)

    compare(
        "WebRTC VAD and rms of a frame",
        lambda: [ours.frame(frame, 800, 300) for frame in SLICES],
        "webrtcvad binding, VAD alone",
        lambda: [binding.is_speech(frame, 8000) for frame in SLICES],
        of=FRAMES,
    )
    twin = _reference.Vad("webrtc", 8000, mode)
    compare(
        "WebRTC VAD and rms of a frame",
        lambda: [ours.frame(frame, 800, 300) for frame in SLICES],
        "_reference",
        lambda: [twin.frame(frame, 800, 300) for frame in SLICES],
        of=FRAMES,
    )
    default = _core.Vad("adaptive", 8000)
    quiet = struct.pack("<160h", *(round(NOISE.gauss(0, 40)) for _ in range(160)))
    compare(
        "default detector, a quiet frame",
        lambda: default.frame(quiet, 800, 300),
        "webrtcvad binding, VAD alone",
        lambda: binding.is_speech(quiet, 8000),
    )
