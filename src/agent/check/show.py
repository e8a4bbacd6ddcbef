"""What is shown: lines in groups, or a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agent import __version__
from agent.check.finding import LEVELS, Finding, Level, Probe
from agent.check.probes import GROUPS
from agent.check.runner import Looked, Outcome

FORMAT = 1
"""Of the JSON document: a field that goes, or means something else, makes it 2; new ones do not."""
EXIT: Mapping[Level, int] = {"ok": 0, "skipped": 0, "warning": 0, "error": 1}
SIGNS: Mapping[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "error": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}

MANY: Mapping[Level, str] = {"warning": "to look at", "error": "to mend", "skipped": "not tried"}


def document(outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in outcome.looked:
        groups.setdefault(one.probe.group, []).extend(_fields(finding) for finding in one.findings)
    return {
        "format": FORMAT,
        "version": __version__,
        "status": outcome.status,
        "exit": EXIT[outcome.status],
        "counts": _counts(outcome),
        "seconds": round(outcome.seconds, 2),
        "groups": [{"name": name, "findings": findings} for name, findings in groups.items()],
    }


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "level": finding.level,
        "text": finding.text,
        "mend": finding.mend,
        "seconds": None if finding.seconds is None else round(finding.seconds, 3),
    }


def _counts(outcome: Outcome) -> dict[str, int]:
    levels = [finding.level for finding in outcome.findings]
    return {level: levels.count(level) for level in LEVELS}


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Group by group, then the sum of it; plain lines where the output is no terminal."""
    groups: dict[str, list[Finding]] = {}
    for one in outcome.looked:
        groups.setdefault(one.probe.group, []).extend(one.findings)
    width = max((len(finding.name) for finding in outcome.findings), default=0)
    for group, findings in groups.items():
        if not findings:
            continue
        console.print()
        console.print(Text(GROUPS[group], style="bold"))
        if console.is_terminal:
            console.print(_table(findings, width))
        else:
            for line in (line for finding in findings for line in _plain(finding)):
                console.print(Text(line), soft_wrap=True)
    counts = _counts(outcome)
    told = [f"{counts['ok']} ok", *(f"{counts[level]} {many}" for level, many in MANY.items() if counts[level])]
    console.print()
    console.print(Text(f"{', '.join(told)}, in {outcome.seconds:.1f} s", style=SIGNS[outcome.status][1]))


def _table(findings: Sequence[Finding], width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=2, justify="right")
    table.add_column(style="dim", width=width, no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        sign, style = SIGNS[finding.level]
        text = Text(finding.text)
        if finding.mend:
            text.append(f"\n→ {finding.mend}", style=style)
        table.add_row(Text(sign, style=style), finding.name, text)
    return table


def _plain(finding: Finding) -> list[str]:
    line = f"{finding.level:<8} {finding.name}: {finding.text}"
    return [line, f"{'':8} mend: {finding.mend}"] if finding.mend else [line]


class Progress:
    """What is still being looked at, while it is; nothing where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._waiting: dict[str, None] = {}
        self._spinner = Spinner("dots", text="")
        self._live = Live(self._spinner, console=console, transient=True, refresh_per_second=12)
        self._console = console

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._live.stop()

    def begins(self, probe: Probe) -> None:
        """A probe looks."""
        self._waiting[probe.name] = None
        self._tell()

    def ends(self, looked: Looked) -> None:
        """It has looked."""
        self._waiting.pop(looked.probe.name, None)
        self._tell()

    def _tell(self) -> None:
        self._spinner.update(text=Text(f"looking at {', '.join(self._waiting)}" if self._waiting else ""))
