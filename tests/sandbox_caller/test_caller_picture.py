"""The picture of a call: drawn for short and long calls, with everything that belongs to it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from agent.ops.picture import CallPicture, PictureError, PictureMark, PictureTurn, draw_call

pytest.importorskip("matplotlib")


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)


def picture(seconds: float, turns: tuple[PictureTurn, ...] = (), marks: tuple[PictureMark, ...] = ()) -> CallPicture:
    loud = b"\x00\x20\x00\xe0" * round(seconds * 4000)
    return CallPicture(8000, loud, loud[: len(loud) // 2], turns, marks, "$ A $^$ call")


def inked(path: Path, colour: tuple[float, float, float]) -> int:
    """How many pixels have just this colour."""
    import numpy as np
    from matplotlib.image import imread

    pixels = np.asarray(imread(path))[:, :, :3]
    return int((np.abs(pixels - np.array(colour) / 255).max(axis=2) < 0.02).sum())


def test_longer_calls_have_more_rows(tmp_path: Path) -> None:
    heights = []
    for seconds in (0.5, 29, 61, 2000):
        draw_call(tmp_path / "call.png", picture(seconds))
        heights.append(size(tmp_path / "call.png")[1])
    assert heights[0] == heights[1] < heights[2] < heights[3] < 8000


def test_both_sides_and_the_marks_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "call.png"
    caller, agent, barge_in, hold = (47, 111, 181), (194, 87, 26), (197, 48, 48), (183, 121, 31)
    turns = (
        PictureTurn("agent", 0.2, 2.0, "Hello, good morning. " * 20),
        PictureTurn("caller", 1.8, 4.0, ""),
        PictureTurn("agent", 4.4, 6.0, "£65 & <b> $\\frac{ or $6", 400.0),
        PictureTurn("agent", 9.9, 99.0, "beyond the end", -20.0),
    )
    marks = (PictureMark(1.9, "hold"), PictureMark(2.1, "barge-in", "stopped after 200 ms"), PictureMark(3.0, "$^$"))
    draw_call(path, picture(10))
    assert inked(path, caller) > 1000
    assert inked(path, agent) > 1000
    assert inked(path, barge_in) == inked(path, hold) == 0
    draw_call(path, picture(10, turns, marks))
    assert inked(path, barge_in) > 20
    assert inked(path, hold) > 20


def test_a_call_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no audio"):
        draw_call(tmp_path / "call.png", CallPicture(8000, b"", b"", ()))
