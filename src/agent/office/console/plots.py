"""Plots as SVG, made on the server: bars and lines over days, with axes, for eyes, screen readers and dark rooms.

Nothing here has a colour: the style sheets give one to each class. Across, places are percentages, so that a plot is as
wide as its column while its letters keep their size; that takes no script, and no style but that of the sheets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

HEIGHT, TOP, FOOT = 200, 10, 26
"""px: of the plotting area, above it, and below it for the days."""
FEW_LABELS, MANY_LABELS = 4, 8
"""How many days are named on a narrow and on a wide screen, about."""


def whole(value: float) -> str:
    """A count: "1,204"."""
    return f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Series:
    """One value a day, None for none. `style` picks the colour: "1" to "6", or "rest" for what is least of note."""

    name: str
    values: Sequence[float | None]
    style: str = "1"


@dataclass(frozen=True, slots=True)
class Plot:
    """Some series over the same days: `bars` stand on each other, `lines` each for itself."""

    id: str
    """Unique in its page; letters and hyphens."""
    title: str
    summary: str
    """What it shows, in a sentence: for those who do not see it."""
    days: Sequence[str]
    """As they are named beside the axis: "3 Jun"."""
    series: Sequence[Series]
    kind: Literal["bars", "lines"] = "bars"
    words: Callable[[float], str] = whole
    """A value as people read it, with its unit."""
    whole_ticks: bool = True
    """Whether what is counted comes in whole numbers."""
    tick_words: Callable[[float], str] | None = None
    """The same beside the axis, where it may be shorter."""
    long_days: Sequence[str] = ()
    """As they are named in the table: "Monday 3 June"; empty for `days`."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be seen."""
        return not any(value for series in self.series for value in series.values)

    def rows(self) -> list[tuple[str, list[str]]]:
        """The same as a table: each day, and the values of each series in words."""
        return [
            (day, [self._said(series.values[index]) for series in self.series])
            for index, day in enumerate(self.long_days or self.days)
        ]

    def svg(self) -> Markup:
        """Draw it. Every text in it is escaped, and what is a number or a word of ours is not: it would take longer
        than all else.
        """
        scale = ticks(self._highest(), whole_only=self.whole_ticks)
        top = scale[-1]
        parts = [*self._axis(scale, top), *self._names()]
        parts += self._bars(top) if self.kind == "bars" else self._lines(top)
        parts += self._hover(top)
        head = Markup(
            '<svg class="plot days" role="img" aria-labelledby="{0}-title {0}-summary" width="100%" height="{1}">'
            '<title id="{0}-title">{2}</title><desc id="{0}-summary">{3}</desc>'
        ).format(self.id, TOP + HEIGHT + FOOT, self.title, self.summary)
        return head + Markup("".join(parts)) + Markup("</svg>")

    # -- inside --------------------------------------------------------------------------------------------------------

    def _highest(self) -> float:
        if self.kind == "bars":
            return max((sum(value or 0 for value in day) for day in self._by_day()), default=0)
        return max((value for series in self.series for value in series.values if value is not None), default=0)

    def _by_day(self) -> list[tuple[float | None, ...]]:
        return list(zip(*(series.values for series in self.series), strict=True))

    def _said(self, value: float | None) -> str:
        return "–" if value is None else self.words(value)

    def _tick(self, value: float) -> str:
        return (self.tick_words or self.words)(value) if value else "0"

    def _axis(self, scale: Sequence[float], top: float) -> list[str]:
        parts = []
        for value in scale:
            y, kind = _y(value, top), "gridline" if value else "axis"
            parts += [
                f'<line class="{kind}" x1="0" x2="100%" y1="{y}" y2="{y}"/>',
                f'<text class="tick" x="-10" y="{y}">{escape(self._tick(value))}</text>',
            ]
        return parts

    def _names(self) -> list[str]:
        count = len(self.days)
        few, many = _step(count, FEW_LABELS), _step(count, MANY_LABELS)
        # From the last day back: today is what people look for.
        shown = {count - 1 - index: " few" if index % few == 0 else "" for index in range(0, count, many)}
        shown |= {count - 1 - index: " few" if index % many == 0 else " few-only" for index in range(0, count, few)}
        y = TOP + HEIGHT + 18
        return [
            f'<text class="name{style}" x="{_x(index, count)}%" y="{y}">{escape(self.days[index])}</text>'
            for index, style in sorted(shown.items())
        ]

    def _bars(self, top: float) -> list[str]:
        count = len(self.days)
        width = 100 / count * (0.5 if count < 10 else 0.72)
        parts = []
        for index, day in enumerate(self._by_day()):
            below, x = 0.0, _round(_x(index, count) - width / 2)
            for series, value in zip(self.series, day, strict=True):
                if not value:
                    continue
                y, foot = _y(below + value, top), _y(below, top)
                # A gap of a pixel tells stacked bars apart without a second colour.
                height = _round(max(0.5, foot - y - (1 if below else 0)))
                parts.append(
                    f'<rect class="pile fill-{escape(series.style)}" x="{x}%" y="{y}" width="{_round(width)}%" '
                    f'height="{height}" rx="1.5"/>'
                )
                below += value
        return parts

    def _lines(self, top: float) -> list[str]:
        count = len(self.days)
        drawn: list[str] = []
        lone: list[str] = []
        for series in self.series:
            style = escape(series.style)
            for run in _runs(series.values):
                points = [(_x(index, count), _y(value, top)) for index, value in run]
                if len(points) == 1:
                    lone.append(_dot("dot lone", series.style, *points[0]))
                    continue
                way = "L".join(f"{x} {y}" for x, y in points)
                if series is self.series[0]:
                    floor = f"L{points[-1][0]} {_y(0, top)}L{points[0][0]} {_y(0, top)}Z"
                    drawn.insert(0, f'<path class="area fill-{style}" d="M{way}{floor}"/>')
                drawn.append(f'<path class="series-{style}" vector-effect="non-scaling-stroke" d="M{way}"/>')
        size = TOP + HEIGHT
        frame = f'<svg x="0" y="0" width="100%" height="{size}" viewBox="0 0 100 {size}" preserveAspectRatio="none">'
        return [frame, *drawn, "</svg>", *lone]

    def _hover(self, top: float) -> list[str]:
        """A column for each day that shows what it holds when it is pointed at."""
        count = len(self.days)
        width = _round(100 / count)
        parts = []
        for index, (day, values) in enumerate(self.rows()):
            told = ", ".join(
                f"{series.name} {value}" for series, value in zip(self.series, values, strict=True) if value != "–"
            )
            dots = ""
            if self.kind == "lines":
                for series in self.series:
                    value = series.values[index]
                    if value is not None:
                        dots += _dot("dot", series.style, _x(index, count), _y(value, top))
            parts.append(
                f'<g class="day"><rect class="column" x="{_round(100 * index / count)}%" y="{TOP}" width="{width}%" '
                f'height="{HEIGHT}"/>{dots}<title>{escape(day)}: {escape(told or "nothing")}</title></g>'
            )
        return parts


def ticks(highest: float, *, whole_only: bool = True, about: int = 4) -> list[float]:
    """Return round values from 0 to `highest` or somewhat beyond, `about` so many: 1, 2 or 5 times a power of ten."""
    if not math.isfinite(highest) or highest <= 0:
        return [0.0, 1.0]
    rough = highest / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if whole_only:
        step = max(1.0, step)
    count = math.ceil(highest / step - 1e-9)
    # The product of round numbers is not always round in binary: 3 * 0.1.
    digits = max(0, -math.floor(math.log10(step)) + 1)
    return [round(step * index, digits) for index in range(count + 1)]


def _x(index: int, count: int) -> float:
    """The middle of a day, %."""
    return _round(100 * (index + 0.5) / count)


def _y(value: float, top: float) -> float:
    return _round(TOP + HEIGHT * (1 - value / top))


def _round(value: float) -> float:
    return round(value, 2)


def _step(count: int, labels: int) -> int:
    """Every so manieth day is named, for about so many labels: a step that people count in."""
    return next((step for step in (1, 2, 3, 5, 7, 14, 28) if count / step <= labels), max(1, count // labels))


def _dot(kind: str, style: str, x: float, y: float) -> str:
    return f'<circle class="{kind} fill-{escape(style)}" cx="{x}%" cy="{y}" r="3.5"/>'


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The stretches of days that have a value."""
    runs: list[list[tuple[int, float]]] = []
    for index, value in enumerate(values):
        if value is None:
            continue
        if not runs or runs[-1][-1][0] != index - 1:
            runs.append([])
        runs[-1].append((index, value))
    return runs


def change(now: float | None, before: float | None) -> str:
    """By how much something has changed: "+12 %", "" where that cannot be told."""
    if now is None or not before:
        return ""
    percent = round(100 * (now - before) / before)
    return f"{percent:+,} %".replace("-", "−") if percent else "±0 %"
