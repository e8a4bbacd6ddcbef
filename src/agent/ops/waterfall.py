"""A waterfall of a call: for each answer what was waited for, from the end of the caller's speech on, on one axis.

Needs matplotlib (the extra `local`); nothing here opens a window.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from agent.call.record import TurnRecord, TurnTimes
from agent.ops.picture import canvas
from fastaudio.drawing import FAINT, INK, SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TURNS: Final = 60
"""The most answers that are drawn: the first ones. A picture of more cannot be read."""
LANES: Final = (("stt", "endpoint"), ("llm", "clause"), ("tts", "gate", "wire"))
"""What is drawn on each of the three lanes of a turn: listening, thinking, speaking."""
COLOURS: Final = {
    "stt": "#2f6fb5", "endpoint": "#9cc2e8", "llm": "#6b46c1", "clause": "#c4b1f0",
    "tts": "#c2571a", "gate": "#f3cfa9", "wire": "#2f855a",
}  # fmt: skip
NAMES: Final = {
    "stt": "final transcript", "endpoint": "certain that the turn is over", "llm": "LLM: first word",
    "clause": "first clause", "tts": "TTS: first audio", "gate": "ready, waits for certainty", "wire": "to the wire",
}  # fmt: skip
_LANE: Final = 0.24
"""Height of a lane; a turn is 1 high."""


def draw_waterfall(file: Path | IO[bytes], turns: Sequence[TurnRecord], title: str = "") -> int:
    """Draw the answers of `turns` that have a latency as a PNG; returns how many were drawn.

    Raises `PictureError` without matplotlib. Nothing is written when no answer has a latency.
    """
    measured = [turn for turn in turns if turn.times.latency_ms is not None][:MAX_TURNS]
    if not measured:
        return 0
    head = 0.42 if title else 0.1
    figure = canvas(1.0 + head + 0.42 * len(measured))
    height = figure.get_figheight()
    area = figure.subplots()
    figure.subplots_adjust(left=0.27, right=0.93, top=1 - (head + 0.4) / height, bottom=0.5 / height)
    _draw_axes(area, measured)
    for row, turn in enumerate(measured):
        _draw_turn(area, row, turn.times)
    if title:
        figure.suptitle(title, color=INK, fontsize=13, x=0.02, y=1 - 0.18 / height, ha="left", parse_math=False)
    _draw_legend(area, 1 - head / height)
    figure.savefig(file, dpi=110, format="png")
    return len(measured)


def spans(times: TurnTimes) -> dict[str, tuple[int, int]]:
    """When each stage began and ended, ms from the end of the caller's speech; only what is known."""
    zero = times.speech_end
    certain = times.turn_end if times.turn_end is not None else times.first_audio
    ready = None if times.first_audio is None or certain is None else max(times.first_audio, certain)
    ends = {
        "stt": (zero, times.final_transcript),
        "endpoint": (zero if times.final_transcript is None else times.final_transcript, times.turn_end),
        "llm": (times.llm_request, times.first_token),
        "clause": (times.first_token, times.first_tts_text),
        "tts": (times.first_tts_text, times.first_audio),
        "gate": (times.first_audio, ready),
        "wire": (ready, times.first_frame),
    }
    if zero is None:
        return {}
    return {
        name: (begin - zero, end - zero)
        for name, (begin, end) in ends.items()
        if begin is not None and end is not None and end >= begin
    }


def _draw_turn(area: Axes, row: int, times: TurnTimes) -> None:
    found = spans(times)
    for lane, names in enumerate(LANES):
        top = row - 0.36 + lane * _LANE
        for name in names:
            if name in found:
                begin, end = found[name]
                area.barh(
                    top + _LANE / 2, max(end - begin, 1), _LANE * 0.86, left=begin, color=COLOURS[name], linewidth=0
                )
    latency = times.latency_ms
    assert latency is not None
    area.plot([latency, latency], [row - 0.42, row + 0.42], color=INK, linewidth=1.4)
    early = ", thought early" if times.early else ""
    area.annotate(
        f"{latency} ms{early}", (latency, row), xytext=(5, 0), textcoords="offset points", color=INK, fontsize=8.5,
        va="center",
    )  # fmt: skip


def _draw_axes(area: Axes, turns: Sequence[TurnRecord]) -> None:
    edges = [edge for turn in turns for span in spans(turn.times).values() for edge in span]
    latencies = [turn.times.latency_ms or 0 for turn in turns]
    last = max([100, *latencies, *edges])
    area.set_xlim(min([0, *edges]) - 0.01 * last, 1.14 * last)
    area.set_ylim(len(turns) - 0.4, -0.6)
    labels = [textwrap.shorten(turn.caller, 48, placeholder=" …") or "(nothing understood)" for turn in turns]
    area.set_yticks(range(len(turns)), labels)
    for tick in area.get_yticklabels():
        tick.set_color(SIDES["caller"])
        tick.set_fontsize(8.5)
        tick.set_parse_math(False)
    area.tick_params(length=0, colors=INK)
    area.set_xlabel("ms from the end of the caller's speech", color=INK)
    area.grid(axis="x", color=FAINT, alpha=0.35, linewidth=0.6)
    area.set_axisbelow(True)
    area.axvline(0, color=INK, linewidth=1)
    for side in ("top", "right", "left"):
        area.spines[side].set_visible(False)
    area.spines["bottom"].set_color(FAINT)


def _draw_legend(area: Axes, top: float) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=COLOURS[name], label=label) for name, label in NAMES.items()]
    assert area.figure is not None
    area.figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(0.015, top), ncols=len(patches), frameon=False, fontsize=8.5,
        handlelength=1.1, columnspacing=1.4, labelcolor=INK,
    )  # fmt: skip
