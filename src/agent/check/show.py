"""What is shown: lines in groups, or a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
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
    plain = not console.is_terminal
    group = ""
    for one in outcome.looked:
        if not one.findings:
            continue
        if one.probe.group != group:
            group = one.probe.group
            console.print()
            console.print(Text(GROUPS[group], style="bold"))
        for finding in one.findings:
            _print(console, finding, plain=plain)
    counts = _counts(outcome)
    told = [
        f"{counts['ok']} ok",
        *([f"{counts['warning']} warnings"] if counts["warning"] else []),
        *([f"{counts['error']} errors"] if counts["error"] else []),
        *([f"{counts['skipped']} not tried"] if counts["skipped"] else []),
    ]
    console.print()
    console.print(Text(f"{', '.join(told)}, in {outcome.seconds:.1f} s", style=SIGNS[outcome.status][1]))


def _print(console: Console, finding: Finding, *, plain: bool) -> None:
    sign, style = SIGNS[finding.level]
    if plain:
        console.print(Text(f"{finding.level:<8} {finding.name}: {finding.text}"), soft_wrap=True)
        if finding.mend:
            console.print(Text(f"         mend: {finding.mend}"), soft_wrap=True)
        return
    line = Text.assemble((f"{sign} ", style), (f"{finding.name}  ", "dim"), finding.text)
    console.print(Padding(line, (0, 0, 0, 2)))
    if finding.mend:
        console.print(Padding(Text.assemble(("→ ", style), finding.mend), (0, 0, 0, 6)))


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
