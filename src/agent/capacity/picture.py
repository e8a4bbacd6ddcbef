"""The curve of `voice-agent load`: what grows with the number of calls. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.capacity.ramp import Ramp, Step
from agent.ops.picture import canvas
from fastaudio.drawing import FAINT, INK

BLUE, ORANGE, GREEN, RED = "#2f6fb5", "#c2571a", "#2f855a", "#c53030"


def draw(path: Path, ramp: Ramp) -> None:
    """Draw a PNG file at `path`: a panel each for the answers, the audio's gaps, and what the agent took."""
    steps = sorted((step for step in ramp.steps if step.heard is not None), key=lambda step: step.calls)
    figure = canvas(4.6)
    areas = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.955, top=0.9, bottom=0.14, wspace=0.22)

    def line(area: object, values: Sequence[float], label: str, colour: str) -> None:
        area.plot(calls, values, "o-", color=colour, linewidth=1.8, markersize=4, label=label)  # type: ignore[attr-defined]

    calls = [step.calls for step in steps]
    heard = [step.heard for step in steps if step.heard is not None]
    line(areas[0], [report.answer_p50_ms for report in heard], "answers, ms at P50", BLUE)
    line(areas[0], [report.answer_p99_ms for report in heard], "at P99", ORANGE)
    line(areas[1], [report.gap_p99_ms for report in heard], "gap between messages, ms at P99", BLUE)
    line(areas[1], [step.loop_lag_ms for step in steps], "event loop late, ms at P95", ORANGE)
    line(areas[1], [step.media_late_ms for step in steps], "frames late, ms at P99", GREEN)
    line(areas[2], [step.cpu_percent or 0.0 for step in steps], "CPU, % of a core", BLUE)
    memory = areas[2].twinx()
    line(memory, [(step.memory_kib or 0) / 1024 for step in steps], "memory, MiB (right)", GREEN)
    memory.set_ylim(bottom=0)
    memory.tick_params(length=0, colors=GREEN)
    for area, title in zip(areas, ("how long callers wait", "in time", "what it takes"), strict=True):
        area.set_title(title, color=INK, fontsize=12, loc="left")
        area.set_xlabel("calls at once", color=INK)
        area.set_xlim(left=0)
        area.set_ylim(bottom=0)
        area.grid(color=FAINT, alpha=0.3, linewidth=0.6)
        area.tick_params(length=0, colors=INK)
        for place, label in ((ramp.carried, "carried"), (ramp.broke_at, "too many")):
            if place:
                colour = GREEN if label == "carried" else RED
                area.axvline(place, color=colour, linewidth=1.2, linestyle="--")
                area.annotate(
                    f"{place} {label}", (place, 1.0), xycoords=("data", "axes fraction"), xytext=(-3, -3),
                    textcoords="offset points", color=colour, fontsize=9, rotation=90, ha="right", va="top",
                )  # fmt: skip
        for side in ("top", "right"):
            area.spines[side].set_visible(False)
        handles, labels = area.get_legend_handles_labels()
        if area is areas[2]:
            more = memory.get_legend_handles_labels()
            handles, labels = handles + more[0], labels + more[1]
        area.legend(handles, labels, loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(path, dpi=110)


def worth_drawing(steps: Sequence[Step]) -> bool:
    """Whether there is a curve at all."""
    return sum(step.heard is not None for step in steps) > 1
