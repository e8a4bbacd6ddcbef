"""The picture of `python -m fastaudio bargein`: the caller and the agent on one time line, and what was decided.

Needs the extra `plot`; importing it raises ImportError without.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fastaudio.drawing import DECISIONS, FAINT, INK, PAPER, SIDES, draw_wave
from fastaudio.options import TICK_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastaudio.bargein_command import Analysis, Episode

ROW_SECONDS: Final = 15.0
"""The most that one row shows; a longer recording has more rows, of equal length."""
MAX_ROWS: Final = 16
"""A recording of more than four minutes is drawn with longer rows instead of more of them."""
LEVELS_DB: Final = (-60, 0)
_LEVEL, _GATE = "#52606d", "#7b2cbf"
_BANDS: Final[dict[str, tuple[str, float]]] = {
    "hold": ("#f0a202", 0.45),
    "barge-in": (DECISIONS["barge-in"], 0.22),
    "uncounted": ("#9aa5b1", 0.3),
}
"""Colour and strength."""


def draw(path: Path, analysis: Analysis, title: str) -> None:
    """Draw `analysis` as a PNG file at `path`. Raises ValueError without audio, OSError when it cannot be written."""
    seconds = analysis.recording.frames * TICK_MS / 1000
    if seconds <= 0:
        raise ValueError("there is no audio in it")
    rows = min(MAX_ROWS, math.ceil(seconds / ROW_SECONDS))
    row_s = math.ceil(seconds / rows) if seconds > 3 else seconds
    both = analysis.recording.played is not None
    heights = [1.5, 1.0, 0.9] if both else [1.5, 0.9]
    height = 1.15 + (2.9 if both else 2.2) * rows
    figure = Figure(figsize=(15, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 1, left=0.06, right=0.985, top=1 - 0.72 / height, bottom=0.5 / height, hspace=0.16)
    for row in range(rows):
        areas = (
            grid[row]
            .subgridspec(len(heights), 1, height_ratios=heights, hspace=0.04)
            .subplots(sharex=True, squeeze=False)[:, 0]
        )
        _draw_row(list(areas), analysis, row * row_s, (row + 1) * row_s)
        if row == rows - 1:
            areas[-1].set_xlabel("seconds", color=INK)
    figure.text(0.06, 1 - 0.26 / height, title, color=INK, fontsize=12, va="center", parse_math=False)
    figure.legend(
        handles=_legend(analysis), loc="center left", bbox_to_anchor=(0.055, 1 - 0.54 / height), ncols=8, frameon=False,
        fontsize=9, handlelength=1.6, columnspacing=1.6, labelcolor=INK,
    )  # fmt: skip
    figure.savefig(path, dpi=110, format="png")


def _draw_row(areas: list[Axes], analysis: Analysis, first_s: float, last_s: float) -> None:
    recording = analysis.recording
    shown = [episode for episode in analysis.episodes if episode.hold_ms / 1000 < last_s]
    for area in areas:
        area.set_xlim(first_s, last_s)
        area.tick_params(length=0, colors=INK, labelbottom=area is areas[-1])
        area.xaxis.get_major_locator().set_params(nbins=20)  # type: ignore[call-arg]
        for side in ("top", "right", "left", "bottom"):
            area.spines[side].set_visible(False)
        for episode in shown:
            _draw_episode(area, episode, recording.frames * TICK_MS)
    waves = [("caller", recording.caller)] + ([("agent", recording.played)] if recording.played is not None else [])
    for area, (who, track) in zip(areas, waves, strict=False):
        area.set_ylim(-0.62, 0.62)
        area.set_yticks([0.0], [who])
        area.get_yticklabels()[0].set(color=SIDES[who], fontweight="bold")
        area.axhline(0.0, color=FAINT, linewidth=0.5)
        draw_wave(area, track, recording.rate, 0.0, SIDES[who], first_s, last_s)
    _draw_levels(areas[-1], analysis, first_s, last_s)


def _draw_episode(area: Axes, episode: Episode, end_ms: int) -> None:
    """A band while it was held, another while it was a barge-in, a line where the agent went on."""
    ends = [at for at in (episode.barge_in_ms, episode.resume_ms, end_ms) if at is not None]
    _draw_band(area, episode, "hold", episode.hold_ms, min(ends))
    if episode.barge_in_ms is not None:
        until = next((at for at in (episode.resume_ms, episode.end_ms) if at is not None), end_ms)
        _draw_band(area, episode, "barge-in", episode.barge_in_ms, until)
    if episode.resume_ms is not None and episode.over_agent:
        area.axvline(episode.resume_ms / 1000, color=DECISIONS["resume"], linewidth=1.4)


def _draw_band(area: Axes, episode: Episode, kind: str, first_ms: int, last_ms: int) -> None:
    colour, alpha = _BANDS[kind if episode.over_agent else "uncounted"]
    area.axvspan(first_ms / 1000, last_ms / 1000, color=colour, alpha=alpha, linewidth=0)


def _draw_levels(area: Axes, analysis: Analysis, first_s: float, last_s: float) -> None:
    """The caller's level and the gate that it must pass, in dB below full scale."""
    first, last = (round(at * 1000 / TICK_MS) for at in (first_s, last_s))
    times = [number * TICK_MS / 1000 for number in range(first, first + len(analysis.levels[first:last]))]
    area.set_ylim(LEVELS_DB[0], LEVELS_DB[1])
    area.set_yticks([-50, -30, -10], ["-50", "-30", "-10 dB"])
    area.tick_params(axis="y", labelsize=7.5)
    area.grid(axis="y", color=FAINT, linewidth=0.3)
    area.plot(times, _decibels(analysis.levels[first:last]), color=_LEVEL, linewidth=0.9, drawstyle="steps-post")
    if any(analysis.gates):
        area.plot(times, _decibels(analysis.gates[first:last]), color=_GATE, linewidth=1.1, drawstyle="steps-post")


def _decibels(levels: list[int]) -> list[float]:
    return [20 * math.log10(level / 32768) if level else LEVELS_DB[0] for level in levels]


def _legend(analysis: Analysis) -> list[Patch | Line2D]:
    """What there is to be seen, and no more."""
    counted = [episode for episode in analysis.episodes if episode.over_agent]
    entries: list[Patch | Line2D] = []
    if counted:
        entries.append(_band("hold", "hold"))
    if any(episode.resume_ms is not None for episode in counted):
        entries.append(Line2D([], [], color=DECISIONS["resume"], linewidth=1.4, label="resume: it was no speech"))
    if any(episode.barge_in_ms is not None for episode in counted):
        entries.append(_band("barge-in", "barge-in"))
    if len(counted) < len(analysis.episodes):
        entries.append(_band("uncounted", "the caller, while nothing was played"))
    entries.append(Line2D([], [], color=_LEVEL, linewidth=0.9, label="the caller's level"))
    if any(analysis.gates):
        entries.append(Line2D([], [], color=_GATE, linewidth=1.1, label="the level that speech exceeds"))
    return entries


def _band(kind: str, label: str) -> Patch:
    colour, alpha = _BANDS[kind]
    return Patch(color=colour, alpha=alpha, linewidth=0, label=label)
