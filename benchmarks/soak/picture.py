"""The picture of a soak: calls, CPU, memory, open files, latency and faults over its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.ops.picture import canvas
from benchmarks.agent.lag import quantile
from fastaudio.drawing import FAINT, INK

BLUE, ORANGE, GREEN, GREY = "#2f6fb5", "#c2571a", "#2f855a", "#9aa5b1"


def draw(path: Path, samples: Sequence[Mapping[str, Any]], timed: Sequence[tuple[float, float]]) -> None:
    """Draw a PNG file at `path`. `timed`: when answers came, s, and what callers waited for them, ms."""
    figure = canvas(9.0)
    areas = list(figure.subplots(3, 2, sharex=True).flat)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.95, bottom=0.065, hspace=0.22, wspace=0.13)
    minutes = [sample["at_s"] / 60 for sample in samples]

    def line(area: Any, values: Sequence[float], label: str, colour: str) -> None:
        area.plot(minutes, values, color=colour, linewidth=1.6, label=label)

    line(areas[0], [sample["calls"] for sample in samples], "calls at a time", BLUE)
    areas[0].set_ylim(bottom=0)
    for name, colour in (("agent", BLUE), ("vendors", ORANGE), ("callers", GREEN)):
        line(areas[1], [sample["cpu"][name] for sample in samples], f"CPU of the {name}, % of a core", colour)
    line(areas[1], [sample["media_cpu"] for sample in samples], "of the agent's media thread", GREY)
    line(areas[2], [sample["rss_kib"] / 1024 for sample in samples], "resident memory of the agent, MiB", BLUE)
    line(areas[3], [sum(sample["files"].values()) for sample in samples], "open files", BLUE)
    line(areas[3], [sample["tasks"] for sample in samples], "tasks", ORANGE)
    line(areas[3], [sample["threads"] for sample in samples], "threads", GREEN)
    width = max(10.0, samples[-1]["at_s"] / 60) if samples else 10.0
    windows: dict[int, list[float]] = {}
    for at, ms in timed:
        windows.setdefault(int(at // width), []).append(ms)
    for share, colour in ((0.99, GREY), (0.9, ORANGE), (0.5, BLUE)):
        places = [(number + 0.5) * width / 60 for number in sorted(windows)]
        values = [quantile(windows[number], share) for number in sorted(windows)]
        areas[4].plot(places, values, color=colour, linewidth=1.6, label=f"answers, ms at P{100 * share:g}")
    areas[4].set_ylim(bottom=0)
    line(areas[5], [sample["loop_lag_ms"] for sample in samples], "event loop late, ms at P95", BLUE)
    line(areas[5], [sample["media_late_ms"] for sample in samples], "media thread late, ms at P99", ORANGE)
    faults = areas[5].twinx()
    line(faults, [sample["faults"] for sample in samples], "faults so far (right)", GREY)
    handles, labels = faults.get_legend_handles_labels()
    faults.tick_params(length=0, colors=GREY)
    for area in areas:
        mine, texts = area.get_legend_handles_labels()
        more = (handles, labels) if area is areas[5] else ([], [])
        area.legend(mine + more[0], texts + more[1], loc="best", frameon=False, fontsize=9, labelcolor=INK)
        area.grid(color=FAINT, alpha=0.3, linewidth=0.6)
        area.tick_params(length=0, colors=INK)
        for side in ("top", "right"):
            area.spines[side].set_visible(False)
    for area in areas[4:]:
        area.set_xlabel("minutes", color=INK)
    figure.savefig(path, dpi=100)
