"""The table of a run: on the terminal, as JSON, and as a page in Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.outcome import Outcome
from tests.chaos.row import Row


@dataclass(slots=True)
class Line:
    """What all trials of one row came to."""

    row: Row
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """Trials in which everything came as it must."""
        return sum(outcome.passed for outcome in self.outcomes)

    @property
    def spoilt(self) -> int:
        """Trials that were run again, since this host stood still."""
        return sum(len(outcome.spoilt) for outcome in self.outcomes)

    def cells(self) -> list[str]:
        """The row of the table."""
        ends: dict[str, int] = {}
        for outcome in self.outcomes:
            for end, count in outcome.ends.items():
                ends[end] = ends.get(end, 0) + count
        silence = max((outcome.longest_silence_s for outcome in self.outcomes), default=0.0)
        return [
            self.row.part,
            self.row.name,
            f"{self.passed} of {len(self.outcomes)}",
            str(sum(outcome.calls for outcome in self.outcomes)),
            f"{silence:.2f}",
            str(sum(outcome.cut_words for outcome in self.outcomes)),
            str(sum(outcome.bookings for outcome in self.outcomes)),
            ", ".join(f"{count} {end}" for end, count in ends.items()),
            str(self.spoilt or ""),
        ]


HEADINGS = (
    "part", "row", "passed", "calls", "longest silence, s", "words cut", "bookings", "how calls ended", "run again",
)  # fmt: skip


def markdown(lines: Sequence[Line], how: str) -> str:
    """A page: the table, and what is wrong."""
    text = [f"# Chaos\n\n{how}\n", f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    text += [f"| {' | '.join(line.cells())} |" for line in lines]
    for line in lines:
        for outcome in line.outcomes:
            if not outcome.passed:
                text.append(f"\n## {outcome.row}, seed {outcome.seed}\n\n{line.row.fails}; kept in {outcome.folder}\n")
                text += [f"```\n{wrong}\n```" for wrong in outcome.wrong]
    return "\n".join(text) + "\n"


def as_json(lines: Sequence[Line], how: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "how": how,
        "rows": [
            {"part": line.row.part, "row": line.row.name, "fails": line.row.fails, "passed": line.passed}
            | {"trials": [asdict(outcome) for outcome in line.outcomes]}
            for line in lines
        ],
    }


def write(lines: Sequence[Line], how: str, folder: Path) -> tuple[Path, Path]:
    """Write `chaos.md` and `chaos.json` into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, document = folder / "chaos.md", folder / "chaos.json"
    page.write_text(markdown(lines, how), "utf-8")
    document.write_text(json.dumps(as_json(lines, how), indent=2) + "\n", "utf-8")
    return page, document


def failed(folder: Path) -> set[str]:
    """The names of the rows that failed in the run that was written into `folder`."""
    document = json.loads((folder / "chaos.json").read_text("utf-8"))
    return {line["row"] for line in document["rows"] if line["passed"] < len(line["trials"])}
