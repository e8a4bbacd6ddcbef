"""A picture of a call: both sides on one time line, what was said, how long the caller waited, what was interrupted.

Needs matplotlib (the extra `local`); nothing here opens a window.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Literal

from fastaudio.drawing import DECISIONS, FAINT, INK, PAPER, SIDES, draw_wave
from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Who = Literal["caller", "agent"]

ROW_SECONDS = 30.0
"""The most of the call that one row shows; a longer call has more rows, of equal length."""
MAX_ROWS = 20
"""A call of more than ten minutes is drawn with longer rows instead of more of them."""
_OTHER_MARK = "#5a67d8"
_LABEL_ROWS = 2
"""Labels that would overlap go one below the other, in so many rows."""
WIDTH_INCHES = 15.0


class PictureError(RuntimeError):
    """The picture cannot be drawn; the text says why."""


@dataclass(frozen=True, slots=True)
class PictureTurn:
    """Something said, from `start_s` to `end_s`."""

    who: Who
    start_s: float
    end_s: float
    text: str
    latency_ms: float | None = None
    """How long the caller waited for it; drawn in front of what the agent says."""


@dataclass(frozen=True, slots=True)
class PictureMark:
    """Something that happened at `at_s`: `hold`, `resume` and `barge-in` have colours of their own."""

    at_s: float
    kind: str
    label: str = ""
    """Written at the mark, such as "stopped after 180 ms"; `kind` where it is empty."""


@dataclass(frozen=True, slots=True)
class CallPicture:
    """What there is to draw. The tracks are 16-bit PCM on one time line, whose second 0 is that of the turns."""

    rate: int
    caller: bytes
    agent: bytes
    turns: Sequence[PictureTurn]
    marks: Sequence[PictureMark] = ()
    title: str = ""

    @property
    def seconds(self) -> float:
        """How long the longer track is."""
        return max(len(self.caller), len(self.agent)) / 2 / self.rate


@dataclass(frozen=True, slots=True)
class Row:
    """Where a part of the call is in the picture: fractions of its width and height, from the left and the top."""

    first_s: float
    last_s: float
    left: float
    right: float
    top: float
    bottom: float


def canvas(height_inches: float) -> Figure:
    """An empty picture of the common width. Raises `PictureError` without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError(f"a picture needs matplotlib: {how_to_install('local')}") from error
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def draw_call(file: Path | IO[bytes], call: CallPicture) -> list[Row]:
    """Draw `call` as a PNG; returns where its rows are. Raises `PictureError` without matplotlib or without audio."""
    if call.seconds <= 0:
        raise PictureError("there is no audio to draw")
    rows = min(MAX_ROWS, math.ceil(call.seconds / ROW_SECONDS))
    row_s = float(max(5, math.ceil(call.seconds / rows)))
    figure = canvas(0.9 + 3.1 * rows)
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    # Before anything is drawn: labels are kept inside by where they come to stand.
    figure.subplots_adjust(
        left=0.06, right=0.985, hspace=0.25, top=1 - 0.55 / figure.get_figheight(), bottom=0.5 / figure.get_figheight()
    )
    for row, area in enumerate(axes):
        _draw_row(area, call, row * row_s, (row + 1) * row_s)
    axes[-1].set_xlabel("seconds", color=INK)
    figure.suptitle(
        call.title or "A call",
        color=INK,
        fontsize=13,
        x=0.06,
        ha="left",
        parse_math=False,
        y=1 - 0.22 / figure.get_figheight(),
    )
    figure.text(
        0.985, 1 - 0.3 / figure.get_figheight(), _summary(call), color=INK, fontsize=9, ha="right", parse_math=False
    )
    figure.savefig(file, dpi=110, format="png")
    boxes = [area.get_position() for area in axes]
    return [
        Row(row * row_s, (row + 1) * row_s, float(box.x0), float(box.x1), 1 - float(box.y1), 1 - float(box.y0))
        for row, box in enumerate(boxes)
    ]


def _summary(call: CallPicture) -> str:
    latencies = [turn.latency_ms for turn in call.turns if turn.latency_ms is not None]
    turns = sum(turn.who == "caller" for turn in call.turns)
    parts = [f"{call.seconds:.0f} s", f"{turns} turns of the caller"]
    if latencies:
        parts.append(f"answers after {median(latencies):.0f} ms (median), {max(latencies):.0f} ms (worst)")
    return ", ".join(parts)


def _draw_row(area: Axes, call: CallPicture, first_s: float, last_s: float) -> None:
    """One row: the caller's side above the line, the agent's below, labels outside of both."""
    area.set_xlim(first_s, last_s)
    area.set_ylim(-2.8, 3.2)
    area.set_yticks([0.62, -0.62], ["caller", "agent"])
    for tick, who in zip(area.get_yticklabels(), ("caller", "agent"), strict=True):
        tick.set_color(SIDES[who])
        tick.set_fontweight("bold")
    area.tick_params(length=0, colors=INK)
    area.xaxis.get_major_locator().set_params(integer=True, nbins=20)  # type: ignore[call-arg]
    for side in ("top", "right", "left"):
        area.spines[side].set_visible(False)
    area.spines["bottom"].set_color(FAINT)
    area.axhline(0.0, color=FAINT, linewidth=0.6)
    for who, track, middle in (("caller", call.caller, 0.62), ("agent", call.agent, -0.62)):
        draw_wave(area, track, call.rate, middle, SIDES[who], first_s, last_s)
    _draw_turns(area, call.turns, first_s, last_s)
    _draw_marks(area, call.marks, first_s, last_s)


def _draw_turns(area: Axes, turns: Sequence[PictureTurn], first_s: float, last_s: float) -> None:
    per_char = (last_s - first_s) / 190
    taken: dict[tuple[str, int], float] = {}
    for turn in sorted(turns, key=lambda t: t.start_s):
        if turn.end_s < first_s or turn.start_s >= last_s:
            continue
        colour, up = SIDES[turn.who], turn.who == "caller"
        inner, outer = (0.05, 1.19) if up else (-0.05, -1.19)
        area.fill_betweenx([inner, outer], turn.start_s, turn.end_s, color=colour, alpha=0.10, linewidth=0)
        if turn.start_s < first_s:
            continue
        if turn.latency_ms is not None:
            _draw_latency(area, turn)
        width = max(24, round((min(turn.end_s, last_s) - turn.start_s) / per_char))  # as wide as what this row shows
        words = turn.text or "(not understood)"
        text = textwrap.fill(words, width, max_lines=3, placeholder=" …")
        longest = max(len(line) for line in text.splitlines())
        at = min(turn.start_s, last_s - longest * per_char)
        level = next((n for n in range(_LABEL_ROWS) if taken.get((turn.who, n), -1.0) <= at), _LABEL_ROWS - 1)
        if level:  # no room for three lines above the next label, or below it
            text = textwrap.fill(words, width, max_lines=2, placeholder=" …")
        taken[turn.who, level] = at + (longest + 2) * per_char
        height = 1.28 + 0.8 * level
        label = area.text(
            at, height if up else -height, text, color=colour, fontsize=8.5, linespacing=1.1,
            va="bottom" if up else "top", ha="left", parse_math=False,
        )  # fmt: skip
        _keep_inside(label, at, last_s)


def _draw_latency(area: Axes, turn: PictureTurn) -> None:
    """The wait in front of an answer: a bar on the middle line with its length written beside it."""
    assert turn.latency_ms is not None
    if turn.latency_ms <= 0:
        return
    begin = turn.start_s - turn.latency_ms / 1000
    area.plot([begin, turn.start_s], [0, 0], color=INK, linewidth=3.5, solid_capstyle="butt")
    area.text(
        begin - 0.1, -0.09, f"{turn.latency_ms:.0f} ms", color=INK, fontsize=8, ha="right", va="top",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )  # fmt: skip


def _draw_marks(area: Axes, marks: Sequence[PictureMark], first_s: float, last_s: float) -> None:
    """A dashed line through both sides, its label on top of the row."""
    taken: dict[int, float] = {}
    per_char = (last_s - first_s) / 190
    for mark in sorted(marks, key=lambda m: m.at_s):
        if not first_s <= mark.at_s < last_s:
            continue
        colour = DECISIONS.get(mark.kind, _OTHER_MARK)
        label = mark.label or mark.kind
        level = next((n for n in range(3) if taken.get(n, first_s) <= mark.at_s), 2)
        taken[level] = mark.at_s + (len(label) + 3) * per_char
        height = 2.95 - 0.34 * level
        area.plot([mark.at_s, mark.at_s], [-1.25, height + 0.2], color=colour, linewidth=1.1, linestyle=(0, (3, 2)))
        written = area.text(
            mark.at_s + 0.5 * per_char, height, label, color=colour, fontsize=8.5, va="center", ha="left",
            parse_math=False, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
        )  # fmt: skip
        _keep_inside(written, mark.at_s + 0.5 * per_char, last_s)


def _keep_inside(label: Text, at_s: float, last_s: float) -> None:
    """Move a label that would run out of its row to the left, as far as it needs."""
    assert label.axes is not None
    last_x = label.axes.transData.transform((last_s, 0.0))[0]
    over_x = label.get_window_extent().x1 - last_x
    if over_x > 0:
        per_second = last_x - label.axes.transData.transform((last_s - 1.0, 0.0))[0]
        label.set_x(at_s - over_x / per_second)
