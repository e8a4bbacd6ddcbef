"""A call's record as the page of a call shows it: lines with their words, answers, tools, the time line."""

from __future__ import annotations

import html
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from markupsafe import Markup

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes, Word
from agent.office.console import call_words, waterfall
from agent.office.steps import in_steps

_UNITS: Final = {
    "requests": "requests", "tokens_in": "tokens in", "tokens_cached": "of them cached", "tokens_out": "tokens out",
    "tokens_estimated": "of all estimated", "seconds": "s", "characters": "characters",
}  # fmt: skip
"""What is used of vendors, in the order in which it is told."""
MOST_BARS: Final = 200
"""Answers whose waiting is drawn: the first ones."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that ran, for people to read."""

    name: str
    ok: bool
    ms: int
    at_ms: int | None
    reason: str
    arguments: str
    result: str


@dataclass(frozen=True, slots=True)
class Line:
    """What one side said: `words` with their times where they are known, or `text`; `rest` was not heard."""

    who: str
    at_ms: int
    text: str
    words: Sequence[Word] = ()
    rest: str = ""
    cut: str = ""
    """What came of it that it was not heard whole."""
    turn: int = 0
    latency_ms: int | None = None
    early: bool = False
    tools: Sequence[Tool] = ()
    marks: Sequence[Mark] = ()
    """What happened before it, since the line before."""

    def markup(self) -> Markup:
        """The words, each with its place in the call, or the text."""
        if not self.words:
            return Markup.escape(self.text)
        return Markup(
            " ".join(
                f'<span data-s="{int(word.start_ms)}" data-e="{int(word.end_ms)}">{html.escape(word.text)}</span>'
                for word in self.words
            )
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer waited for."""

    turn: int
    at_ms: int
    question: str
    latency_ms: int
    early: bool
    drafts: int
    wasted: int
    stages: dict[str, int]
    svg: Markup


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the time line, ms; a moment has `to_ms` None."""

    kind: str
    at_ms: int
    to_ms: int | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class CallView:
    """All that the page shows beside what `record` itself says."""

    record: CallRecord
    lines: Sequence[Line]
    answers: Sequence[Answer]
    more_answers: int
    scale: Markup
    kinds: frozenset[str]
    """Of the spans and moments on the time line."""
    timed: bool
    """Whether there are words with times: they light up as the call is played."""
    after: Sequence[Mark] = ()
    """What happened behind the last line."""
    counters: dict[str, dict[str, object]] = field(default_factory=dict)

    @staticmethod
    def used(counts: Mapping[str, float]) -> str:
        """What was used of a vendor: "398 tokens out, 10 requests"."""
        names = [*(name for name in _UNITS if name in counts), *(name for name in counts if name not in _UNITS)]
        return ", ".join(f"{counts[name]:,.0f} {_UNITS.get(name, name)}" for name in names if counts[name])


async def view_of(record: CallRecord) -> CallView:
    """Make the view. A record of before, or one that was erased, lacks things and breaks nothing."""
    lines, after = _with_marks(await in_steps(_lines(record)), record.marks)
    measured = [(number, turn) for number, turn in enumerate(record.turns) if turn.times.latency_ms is not None]
    axis = waterfall.Axis.of([turn.times for _, turn in measured[:MOST_BARS]])
    return CallView(
        record,
        lines,
        await in_steps(_answer(number, turn, axis) for number, turn in measured[:MOST_BARS]),
        max(0, len(measured) - MOST_BARS),
        waterfall.scale(axis),
        frozenset(span.kind for span in _spans(record)),
        any(turn.words for turn in record.turns),
        after,
        _counters(record),
    )


async def time_line(record: CallRecord) -> dict[str, Any]:
    """What is drawn over the sound, for `orjson`: spans and moments, and who speaks when."""
    return {
        "seconds": record.seconds,
        "spans": sorted(await in_steps(_spans(record)), key=lambda span: span.at_ms),
        "speech": await in_steps(_speech(record)),
    }


# ---- lines ----------------------------------------------------------------------------------------------------------


def _lines(record: CallRecord) -> Iterable[Line]:
    for number, turn in enumerate(record.turns):
        times = turn.times
        if turn.caller:
            words = _words(turn, "caller", turn.caller)
            at_ms = words[0].start_ms if words else turn.start_ms if times.speech_end is None else times.speech_end
            yield Line("caller", at_ms, turn.caller, words, turn=number)
        if turn.agent or turn.tools:
            words = _words(turn, "agent", turn.heard)
            begun = turn.start_ms if times.first_frame is None else times.first_frame
            rest = turn.unheard
            cut = ("interrupted" if turn.interrupted else "not heard to its end") if rest else ""
            yield Line(
                "agent", words[0].start_ms if words else begun, turn.heard, words, rest, cut, number,
                times.latency_ms, times.early, [_tool(tool) for tool in turn.tools],
            )  # fmt: skip


def _words(turn: TurnRecord, who: str, text: str) -> list[Word]:
    """The words of one side, where they are what the text says."""
    words = [word for word in turn.words if word.who == who]
    return words if [word.text for word in words] == text.split() else []


def _with_marks(lines: list[Line], marks: Sequence[Mark]) -> tuple[list[Line], list[Mark]]:
    """Put each moment before the first line that begins behind it; what every line has anyhow is left out."""
    left = deque(mark for mark in sorted(marks, key=lambda mark: mark.at_ms) if mark.what not in ("hold", "resume"))
    placed: list[Line] = []
    for line in lines:
        before = []
        while left and left[0].at_ms < line.at_ms:
            before.append(left.popleft())
        placed.append(replace(line, marks=before) if before else line)
    return placed, list(left)


def _tool(entry: dict[str, Any]) -> Tool:
    at_ms = entry.get("at_ms")
    return Tool(
        str(entry.get("name", "")),
        bool(entry.get("ok")),
        int(entry.get("ms") or 0),
        at_ms if isinstance(at_ms, int) else None,
        str(entry.get("reason", "")),
        _laid_out(entry.get("arguments", "")),
        _laid_out(entry.get("result", "")),
    )


def _laid_out(value: object) -> str:
    """JSON over several lines; what is none stays as it is."""
    try:
        document = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return json.dumps(document, indent=2, ensure_ascii=False) if document not in ("", None) else ""


# ---- answers, the time line, counters -------------------------------------------------------------------------------


def _answer(number: int, turn: TurnRecord, axis: waterfall.Axis) -> Answer:
    times = turn.times
    return Answer(
        number, times.first_frame or 0, turn.caller, times.latency_ms or 0, times.early, turn.drafts, turn.wasted,
        times.stages_ms(), waterfall.draw(times, axis),
    )  # fmt: skip


def _spans(record: CallRecord) -> Iterable[Span]:
    held_ms: int | None = None
    for mark in sorted(record.marks, key=lambda mark: mark.at_ms):
        if mark.what == "hold":
            held_ms = mark.at_ms
        elif mark.what in ("resume", "flush") and held_ms is not None:
            yield Span("held", held_ms, mark.at_ms, "Held")
            held_ms = None
        if mark.what != "hold":
            label = " ".join(filter(None, (call_words.mark(mark.what), mark.detail)))
            yield Span(call_words.LANES.get(mark.what, "other"), mark.at_ms, None, label)
    for turn in record.turns:
        yield from _waits(turn.times)
        for tool in turn.tools:
            if isinstance(at_ms := tool.get("at_ms"), int):
                yield Span("tool", at_ms, at_ms + int(tool.get("ms") or 0), f"{tool.get('name', 'tool')}")


def _speech(record: CallRecord) -> Iterable[Span]:
    """Who spoke when, as far as it is known; of a call without words, the agent alone."""
    for line in _lines(record):
        turn = record.turns[line.turn]
        if line.words:
            yield Span(line.who, line.words[0].start_ms, max(word.end_ms for word in line.words))
        elif line.who == "agent" and turn.times.first_frame is not None and turn.end_ms is not None:
            yield Span(line.who, turn.times.first_frame, turn.end_ms)


def _waits(times: TurnTimes) -> Iterable[Span]:
    if times.speech_end is not None and times.first_frame is not None and times.first_frame > times.speech_end:
        yield Span("wait", times.speech_end, times.first_frame, f"Answered after {times.latency_ms} ms")


def _counters(record: CallRecord) -> dict[str, dict[str, object]]:
    groups: dict[str, dict[str, object]] = {f"{name.upper()}": dict(values) for name, values in record.vendors.items()}
    groups["Media core"] = dict(record.media)
    return {name: {key: value for key, value in values.items() if value} for name, values in groups.items() if values}
