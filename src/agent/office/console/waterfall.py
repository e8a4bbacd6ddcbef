"""What each answer waited for, as SVG: one axis for all answers of a call, so that they can be compared by eye.

Places are percentages, as in `plots.py`; `call.css` gives each stage its colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agent.call.record import TurnTimes
from agent.office.console.call_words import STAGES
from agent.office.console.plots import ticks
from agent.ops.waterfall import LANES, spans

LANE, GAP, PAD = 7, 2, 5
"""px: of a lane, between two, above and below them."""
HEIGHT = 2 * PAD + len(LANES) * LANE + (len(LANES) - 1) * GAP
_THOUGHT = ("llm", "clause", "tts")
NARROWEST_MS = 3
"""What took less is drawn as long as this: it is to be seen that it is there."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `first` to `last`, ms from the end of the caller's speech."""

    first: float
    last: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, turns: Sequence[TurnTimes]) -> Axis:
        """One that all answers fit on."""
        edges = [edge for times in turns for span in spans(times).values() for edge in span]
        longest = max([100, *edges, *(times.latency_ms or 0 for times in turns)])
        shortest = min([0, *edges])
        scale = tuple(tick for tick in ticks(longest) if tick <= longest)
        margin = 0.02 * (longest - shortest)
        return cls(math.floor(shortest - margin), longest + 2 * margin, scale)

    def place(self, ms: float) -> float:
        """Where a moment is, % of the width."""
        return round(100 * (ms - self.first) / (self.last - self.first), 2)


def draw(times: TurnTimes, axis: Axis) -> Markup:
    """Draw one answer: listening, thinking and speaking on three lanes. What it shows is said in its title."""
    found = spans(times)
    parts = [_line("wf-grid", axis.place(tick)) for tick in axis.ticks if tick]
    parts.append(_line("wf-zero", axis.place(0)))
    for row, lane in enumerate(LANES):
        y = PAD + row * (LANE + GAP)
        parts += [_bar(name, *found[name], y, axis, early=times.early) for name in lane if name in found]
    if times.latency_ms is not None:
        parts.append(_line("wf-end", axis.place(times.latency_ms)))
    # Numbers, and words of our own: to escape each would hold up everybody where there are a hundred answers.
    drawn = "".join(parts)
    return Markup(
        f'<svg class="wf" role="img" width="100%" height="{HEIGHT}"><title>{told(found)}</title>{drawn}</svg>'
    )


def scale(axis: Axis) -> Markup:
    """The axis' figures, for above the answers."""
    label = Markup('<text class="wf-tick" x="{}%" y="12">{}</text>')
    labels = [label.format(axis.place(tick), f"{tick:g}" if tick else "0 ms") for tick in axis.ticks]
    return Markup('<svg class="wf" aria-hidden="true" width="100%" height="16">{}</svg>').format(
        Markup("").join(labels)
    )


def told(found: Mapping[str, tuple[int, int]]) -> str:
    """The same in words."""
    return "; ".join(f"{STAGES[name]}: {end - begin} ms, from {begin}" for name, (begin, end) in found.items())


def _bar(name: str, begin: float, end: float, y: int, axis: Axis, *, early: bool) -> str:
    """What is thought before the caller's turn is certain to be over is drawn in another way."""
    left = axis.place(begin)
    width = round(max(axis.place(max(end, begin + NARROWEST_MS)) - left, 0.2), 2)
    kind = " wf-early" if early and name in _THOUGHT else ""
    return (
        f'<rect class="wf-bar st-{name}{kind}" x="{left}%" y="{y}" width="{width}%" height="{LANE}" rx="2">'
        f"<title>{STAGES[name]}: {round(end - begin)} ms</title></rect>"
    )


def _line(kind: str, x: float) -> str:
    return f'<line class="{kind}" x1="{x}%" x2="{x}%" y1="0" y2="{HEIGHT}"/>'
