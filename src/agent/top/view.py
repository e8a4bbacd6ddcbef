"""What is shown of a `/live` page: rows, their order and their cells, and the lines above them. Pure.

`rich` texts are what both a terminal and Textual draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

QUICK_MS, SLOW_MS = 800, 1500
"""An answer up to the one is green, up to the other amber, beyond it red: as in the console."""
LEVEL_CELLS = 4
QUIETEST_DB = -60.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"
_DOING: Final = {
    "greeting": "blue",
    "listening": "green",
    "thinking": "yellow",
    "speaking": "cyan",
    "held": "magenta",
    "ending": "dim",
}
_STATE: Final = {"closed": ("●", "green"), "trying": ("◐", "yellow"), "open": ("○", "red")}

Call = Mapping[str, Any]
"""One of the page's `calls`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One of the table. `width` 0: it takes a share of what the others leave."""

    name: str
    width: int
    cell: Callable[[Call, int], Text]
    """`cell(call, now_ms)`."""
    rank: Callable[[Call], Any] | None = None
    """By what it is sorted; None: it is not."""
    falling: bool = False
    """Whether the largest comes first, unless one wants it the other way round."""
    right: bool = False
    """Whether it stands at the right edge."""

    def fit(self, text: Text, width: int) -> Text:
        """Just so wide."""
        fitted = text.copy()
        fitted.truncate(width, overflow="ellipsis")
        if self.right:
            fitted.pad_left(width - fitted.cell_len)
        return fitted


def seconds_of(call: Call, now_ms: int) -> int:
    """For how long it has been running."""
    return max(0, (now_ms - int(call["started"])) // 1000)


def duration(seconds: float) -> str:
    """`duration(247)` is "4:07", `duration(3727)` "1:02:07"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def decibels(level: int) -> float:
    """`level` (RMS of 32768) in dB of full scale, -60 at least."""
    return max(QUIETEST_DB, 20 * math.log10(level / 32768)) if level > 0 else QUIETEST_DB


def bar(level: int, cells: int = LEVEL_CELLS) -> str:
    """A level as a bar of so many cells: empty at -60 dB and below, full at 0 dB."""
    eighths = round((1 - decibels(level) / QUIETEST_DB) * cells * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def sparks(values: Sequence[float], most: float) -> str:
    """Values from 0 to `most`, one letter each."""
    top = len(_SPARKS) - 1
    return "".join(_SPARKS[min(top, round(value / most * top))] for value in values)


def step_of(call: Call) -> str:
    """The name of the step that it is at; empty where the conversation has none."""
    steps = call["steps"]
    return str(steps[call["step"]]) if 0 <= call["step"] < len(steps) else ""


def latency(value: float | None) -> Text:
    """How long the last answer took, in its colour."""
    if value is None:
        return Text("–", "dim")
    colour = "green" if value <= QUICK_MS else "yellow" if value <= SLOW_MS else "red"
    return Text(f"{value:.0f} ms" if value < 9999 else f"{value / 1000:.0f} s", colour)


def doing(call: Call) -> Text:
    """What the agent is doing."""
    return Text(call["doing"], _DOING.get(call["doing"], ""))


def levels(call: Call) -> Text:
    """The caller's and the agent's level, side by side; nothing where they are not told."""
    told = call.get("levels")
    if not told:
        return Text("")
    return Text.assemble((bar(told[0]), "green"), " ", (bar(told[1]), "cyan"))


COLUMNS: Final = (
    Column("Company", 0, lambda call, _: Text(call["company"] or "?"), lambda call: str(call["company"]).casefold()),
    Column("Caller", 6, lambda call, _: Text(call["caller"] or "hidden")),
    Column("Doing", 9, lambda call, _: doing(call), lambda call: call["doing"]),
    Column("Step", 0, lambda call, _: Text(step_of(call)), lambda call: call["step"], falling=True),
    Column(
        "Time",
        7,
        lambda call, now_ms: Text(duration(seconds_of(call, now_ms))),
        lambda call: -call["started"],
        falling=True,
        right=True,
    ),
    Column("Answer", 7, lambda call, _: latency(call["latency_ms"]), lambda call: call["latency_ms"] or 0, True, True),
    Column("Turns", 5, lambda call, _: Text(str(call["turns"])), lambda call: call["turns"], True, True),
    Column("Levels", 2 * LEVEL_CELLS + 1, lambda call, _: levels(call), lambda call: max(call["levels"] or [0]), True),
)
WORKER: Final = Column("W", 2, lambda call, _: Text(str(call["worker"])), lambda call: call["worker"], right=True)
"""Beside the others where there are several."""
SORTS: Final = tuple(column for column in (*COLUMNS, WORKER) if column.rank is not None)
BY_TIME: Final = next(column for column in SORTS if column.name == "Time")


def columns_of(page: Mapping[str, Any]) -> tuple[Column, ...]:
    """Those that say something of this page."""
    return (*COLUMNS, WORKER) if len(page.get("workers", ())) > 1 else COLUMNS


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """Of each column, so that they fill `room` with a space behind each; 8 at least for those that take a share."""
    shared = [column for column in columns if not column.width]
    rest = room - sum(column.width for column in columns) - len(columns)
    shares = [max(8, rest // len(shared) + (number < rest % len(shared))) for number in range(len(shared))]
    return [column.width or shares.pop(0) for column in columns]


def matches(call: Call, wanted: str) -> bool:
    """Whether each of the words stands in something that is shown of it, or in its UUID."""
    text = " ".join(
        (
            call["company"],
            call["caller"],
            call["doing"],
            step_of(call),
            call["uuid"],
            f"w{call['worker']}",
        )
    ).casefold()
    return all(word in text for word in wanted.casefold().split())


def chosen(calls: Iterable[Call], wanted: str, by: Column, backwards: bool = False) -> list[Call]:
    """Those that match, sorted; of equals, the one that has been running for longest comes first."""
    found = sorted((call for call in calls if matches(call, wanted)), key=lambda call: (call["started"], call["uuid"]))
    assert by.rank is not None
    return sorted(found, key=by.rank, reverse=by.falling != backwards)


# ---- the lines above ------------------------------------------------------------------------------------------------


def head(page: Mapping[str, Any], where: str) -> Text:
    """How the agent does: a few lines."""
    lines = [_first(page, where), _load(page), _vendors(page), _trouble(page)]
    if len(page["workers"]) > 1:
        lines.append(_workers(page))
    return Text("\n").join(lines)


def _first(page: Mapping[str, Any], where: str) -> Text:
    status = (page["status"], "bold green" if page["status"] == "ok" else "bold yellow")
    at = datetime.fromtimestamp(page["now"] / 1000, UTC).astimezone()
    return Text.assemble(
        ("voice-agent top", "bold"), f"  {where}  ", status, f"  up {duration(page['uptime_s'])}  {at:%H:%M:%S}"
    )


def _load(page: Mapping[str, Any]) -> Text:
    calls, most = len(page["calls"]), page["max_calls"]
    share = calls / most if most else 1.0
    lag = max((worker["loop_lag_ms"] for worker in page["workers"]), default=0.0)
    late = max((worker["media_lateness_ms"] for worker in page["workers"]), default=0.0)
    return Text.assemble(
        ("calls ", "dim"),
        (f"{calls} of {most}", "bold" if share < 0.9 else "bold yellow"),
        (f" + {page['announced']} announced" if page["announced"] else ""),
        ("   today ", "dim"),
        f"{page['today']['minutes']:.0f} min, cost {page['today']['spending']:.2f}",
        ("   lag ", "dim"),
        f"{lag:.0f} ms",
        ("   media late ", "dim"),
        f"{late:.0f} ms",
    )


def _vendors(page: Mapping[str, Any]) -> Text:
    line = Text("vendors", "dim")
    if not page["vendors"]:
        line.append("  none asked yet")
    for name, vendor in page["vendors"].items():
        mark, colour = _STATE.get(vendor["state"], ("?", "red"))
        line.append_text(Text.assemble("  ", (mark, colour), f" {name}"))
        if vendor["state"] != "closed":
            rest = f" rests {vendor['rest_s']:.0f} s" if vendor["rest_s"] else f" {vendor['state']}"
            line.append(rest, colour)
    return line


def _trouble(page: Mapping[str, Any]) -> Text:
    outbox = page["outbox"]
    waiting = {state: outbox[state] for state in ("waiting", "sending", "uncertain", "refused") if outbox.get(state)}
    line = Text.assemble(("outbox ", "dim"), _counts(waiting, "empty"))
    line.append_text(Text.assemble(("   refused ", "dim"), _counts(page["refused"], "none")))
    line.append_text(Text.assemble(("   turned away ", "dim"), _counts(page["turned_away"], "none")))
    return line


def _counts(counts: Mapping[str, int], none: str) -> str:
    return ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items() if count) or none


def _workers(page: Mapping[str, Any]) -> Text:
    line = Text("workers", "dim")
    for worker in page["workers"]:
        colour = {"serving": "green", "gone": "red"}.get(worker["state"], "yellow")
        line.append_text(Text.assemble("  ", (f"{worker['number']}", "bold"), f" {worker['calls']} calls"))
        if worker["state"] != "serving":
            line.append(f" {worker['state']}", colour)
    return line


# ---- one call -------------------------------------------------------------------------------------------------------


def details(call: Call, now_ms: int, answers: Sequence[float] = ()) -> Text:
    """Everything that is told of a call. `answers`: how long those took that were seen, in ms."""
    since = datetime.fromtimestamp(call["started"] / 1000, UTC).astimezone()
    told = call.get("levels") or (0, 0)
    lines = [
        Text.assemble((call["company"] or "not known yet whose", "bold"), ("  call ", "dim"), call["uuid"]),
        Text.assemble(
            ("caller ", "dim"), call["caller"] or "hidden", ("   line ", "dim"), call["line"] or "–",
            ("   since ", "dim"), f"{since:%H:%M:%S} ({duration(seconds_of(call, now_ms))})",
            ("   worker ", "dim"), str(call["worker"]), ("   listening in ", "dim"), str(call["listeners"]),
        ),
        _steps(call),
        Text.assemble(
            ("doing ", "dim"), doing(call), ("   turns ", "dim"), str(call["turns"]),
            ("   last answer ", "dim"), latency(call["latency_ms"]), ("   answers ", "dim"),
            sparks(answers, 2 * SLOW_MS) if answers else "–",
        ),
        Text.assemble(
            ("caller ", "dim"), (bar(told[0], 16), "green"), f" {decibels(told[0]):3.0f} dB",
            ("   agent ", "dim"), (bar(told[1], 16), "cyan"), f" {decibels(told[1]):3.0f} dB",
        ),
    ]  # fmt: skip
    return Text("\n").join(lines)


def _steps(call: Call) -> Text:
    line = Text("steps", "dim")
    if not call["steps"]:
        line.append("  this conversation has none")
    for number, name in enumerate(call["steps"]):
        if number < call["step"]:
            line.append(f"  ✓ {name}", "green")
        elif number == call["step"]:
            line.append(f"  ▶ {name}", "bold")
        else:
            line.append(f"  · {name}", "dim")
    return line
