"""The picture of the benchmark: how many turns were answered within a time, for each way and profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.ops.picture import canvas
from fastaudio.drawing import FAINT, INK

COLOURS = ("#9aa5b1", "#b7791f", "#2f6fb5", "#2f855a")


def draw(path: Path, profiles: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Draw a panel for each profile as a PNG file at `path`."""
    figure = canvas(6.2)
    panels = figure.subplots(1, len(profiles), squeeze=False, sharey=True)[0]
    figure.subplots_adjust(left=0.055, right=0.985, top=0.92, bottom=0.26, wspace=0.06)
    for area, (profile, cells) in zip(panels, profiles.items(), strict=True):
        for colour, (way, cell) in zip(COLOURS, cells.items(), strict=False):
            waits = cell["waits_ms"]
            if not waits:
                continue
            shares = [100 * (index + 1) / len(waits) for index in range(len(waits))]
            label = f"{way}: median {cell['wait_ms'][0]:.0f} ms, {100 * cell['early_share']:.1f} % too early"
            area.step(waits, shares, where="post", color=colour, linewidth=2, label=label)
        area.set_title(f"vendors: {profile}", color=INK, fontsize=12, loc="left")
        area.set_xlim(0, 2000)
        area.set_ylim(0, 100)
        area.set_xlabel("ms from the end of the caller's speech to the first sound of the answer", color=INK)
        area.grid(color=FAINT, alpha=0.3, linewidth=0.6)
        area.tick_params(length=0, colors=INK)
        for side in ("top", "right"):
            area.spines[side].set_visible(False)
        area.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), frameon=False, fontsize=9.5, labelcolor=INK)
    panels[0].set_ylabel("% of the turns that were not answered too early", color=INK)
    figure.savefig(path, dpi=110)
