"""What every benchmark prints and writes: a table, how it was made, the machine; the same as JSON in build/bench."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "build" / "bench"


def machine() -> dict[str, Any]:
    """What the figures were made on: cores this process may use, processor, kernel, Python and package versions."""
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    try:
        package = version("fastaudio-agent")
    except PackageNotFoundError:
        package = "a source tree"
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else "unknown",
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "fastaudio-agent": package,
    }


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table: the first column to the left, the others, figures, to the right."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [headings, *rows]
    )


def write(name: str, how: str, **results: Any) -> Path:
    """Writes build/bench/NAME.json and says so.

    Args:
        name: The benchmark's name.
        how: How each figure was made, in a sentence or two.
        results: What was measured, as plain JSON.

    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"how": how, "machine": machine(), **results}, indent=2) + "\n")
    print(f"{how}; written to {path}")
    return path
