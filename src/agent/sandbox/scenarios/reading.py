"""Reads callers and their rules from text; the format is told in the package's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from agent.sandbox.caller.script import Script, ScriptError, parse_script, seconds
from agent.sandbox.scenarios.expect import (
    Booked,
    Calls,
    Check,
    Counted,
    Ends,
    Expectations,
    Field,
    InHistory,
    Never,
    NeverCalls,
    NeverRepeats,
    NeverTogether,
    OneStepAReply,
    Range,
    Says,
    Steps,
    interruptions_of,
    turns_of,
)

CONVERSATIONS = ("home_services", "dentist")
RULES = "every_call.expect"
SECTIONS = ("call", "says", "expect")

_LINE = re.compile(r"([a-z][\w ]*?)(?:\s*\(([^()]+)\))?\s*:\s*(.+)", re.IGNORECASE)
_FIELD = re.compile(r"(\w+)\s*(?:(=|~)\s*(.*)|(absent))", re.DOTALL)


class CallerError(ValueError):
    """A caller cannot be read; the text names the file, the line, and what would be right."""


@dataclass(frozen=True, slots=True)
class CallSetup:
    """How the call is made."""

    company: str = ""
    """Whose number is dialled; empty: the conversation's first example company."""
    caller_id: str | None = None
    """Empty: withheld; None: a number of its own."""
    called_before: bool = False
    booking_api: Literal["", "down", "refuses"] = ""
    refused_field: str = ""
    patience_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who rings, and what must come of it."""

    name: str
    conversation: str
    title: str
    setup: CallSetup
    script: Script
    expect: Expectations


def packaged_callers(conversation: str) -> list[Caller]:
    """Return the callers of a conversation that come with the package, by name. Raises `CallerError`."""
    folder = files("agent.sandbox.scenarios") / conversation
    if conversation not in CONVERSATIONS:
        raise CallerError(f"there are no callers for {conversation!r}; there are {', '.join(CONVERSATIONS)}")
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    rules = parse_rules((folder / RULES).read_text("utf-8"), f"{conversation}/{RULES}")
    return [
        parse_caller(entry.read_text("utf-8"), f"{conversation}/{entry.name}", rules)
        for entry in entries
        if entry.name.endswith(".caller")
    ]


def own_callers(directory: Path) -> list[Caller]:
    """Return the callers in `callers` of a conversation's directory, by name, if any. Raises `CallerError`."""
    return [read_caller(path, directory.name, directory) for path in sorted((directory / "callers").glob("*.caller"))]


def read_caller(path: Path, conversation: str = "home_services", directory: Path | None = None) -> Caller:
    """Read a caller of one's own, under the rules of a conversation: a packaged one, or that in `directory`.

    A directory need not have rules. Raises `CallerError`.
    """
    rules: dict[str, Check] = {}
    if directory is None:
        rules = parse_rules((files("agent.sandbox.scenarios") / conversation / RULES).read_text("utf-8"), RULES)
    elif (file := directory / "callers" / RULES).is_file():
        rules = parse_rules(_text_of(file), str(file))
    caller = parse_caller(_text_of(path), str(path), rules, path.parent)
    return replace(caller, conversation=conversation)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"cannot read the caller {path}: {error}") from error


def parse_caller(text: str, name: str, rules: Mapping[str, Check] | None = None, folder: Path | None = None) -> Caller:
    """Read a caller; `name` is its file, `folder` where its WAV files are. Raises `CallerError`."""
    sections, title = _sections(text, name)
    if missing := [section for section in ("says", "expect") if not sections[section]]:
        raise CallerError(f"{name} has no section [{missing[0]}]")
    first, last = sections["says"][0][0], sections["says"][-1][0]
    # Empty lines stand in for the other sections, so that the script's own errors name the file's lines.
    lines = text.splitlines()[first - 1 : last]
    try:
        script = parse_script("\n" * (first - 1) + "\n".join(lines), name=name, folder=folder)
    except ScriptError as error:
        raise CallerError(str(error)) from error
    path = Path(name)
    checks, allowed = _checks(sections["expect"], name)
    unknown = allowed - set(rules or {})
    if unknown:
        raise CallerError(f"{name}: no rule is called {sorted(unknown)[0]!r}; there is {', '.join(rules or {})}")
    left = {rule: check for rule, check in (rules or {}).items() if rule not in allowed}
    setup = _setup(sections["call"], name)
    return Caller(path.stem, path.parent.name, title, setup, script, Expectations(checks, left))


def parse_rules(text: str, name: str) -> dict[str, Check]:
    """Read the rules for every call of a conversation, by their names. Raises `CallerError`."""
    rules: dict[str, Check] = {}
    asks: dict[str, re.Pattern[str]] = {}
    for number, line in _meaningful(text):
        key, rule, value = _split(line, name, number)
        if key.startswith("asks "):
            asks[key.removeprefix("asks ")] = _pattern(value, name, number)
            continue
        rules[rule or f"line {number}"] = _check(key, value, name, number)
    if asks:
        rules["one step a reply"] = OneStepAReply(asks)
    return rules


# ---- lines ----------------------------------------------------------------------------------------------------------


def _meaningful(text: str) -> list[tuple[int, str]]:
    lines = [(number, raw.strip()) for number, raw in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _sections(text: str, name: str) -> tuple[dict[str, list[tuple[int, str]]], str]:
    sections: dict[str, list[tuple[int, str]]] = {section: [] for section in SECTIONS}
    current = ""
    for number, line in _meaningful(text):
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1].strip().lower()
            if current not in SECTIONS:
                raise CallerError(f"{name}, line {number}: {line} is no section; there is [call], [says], [expect]")
        elif not current:
            raise CallerError(f"{name}, line {number}: {line!r} stands before the first section")
        else:
            sections[current].append((number, line))
    title = []
    for raw in text.splitlines():
        if not raw.startswith("#"):
            break
        title.append(raw.lstrip("# ").strip())
    return sections, " ".join(title)


def _split(line: str, name: str, number: int) -> tuple[str, str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise CallerError(f"{name}, line {number}: {line!r} is no 'WHAT: VALUE'")
    return match[1].strip(), (match[2] or "").strip(), match[3].strip()


def _setup(lines: list[tuple[int, str]], name: str) -> CallSetup:
    setup = CallSetup()
    for number, line in lines:
        key, _, value = _split(line, name, number)
        match key:
            case "company":
                setup = replace(setup, company=value)
            case "caller id":
                setup = replace(setup, caller_id="" if value == "withheld" else value)
            case "called before" if value in ("yes", "no"):
                setup = replace(setup, called_before=value == "yes")
            case "booking api" if value == "down":
                setup = replace(setup, booking_api="down")
            case "booking api" if value.startswith("refuses "):
                setup = replace(setup, booking_api="refuses", refused_field=value.removeprefix("refuses ").strip())
            case "patience":
                try:
                    setup = replace(setup, patience_s=seconds(value))
                except ScriptError as error:
                    raise CallerError(f"{name}, line {number}: {error}") from error
            case _:
                raise CallerError(
                    f"{name}, line {number}: {line!r} is not company, caller id, called before: yes, "
                    "booking api: down, booking api: refuses FIELD, patience"
                )
    return setup


def _checks(lines: list[tuple[int, str]], name: str) -> tuple[tuple[Check, ...], set[str]]:
    steps: list[Says | Calls] = []
    checks: list[Check] = []
    allowed: set[str] = set()
    for number, line in lines:
        key, _, value = _split(line, name, number)
        if key == "says":
            steps.append(Says(_pattern(value, name, number)))
        elif key.startswith(("calls ", "tries ")):
            tool = key.split(maxsplit=1)[1]
            fields = () if value == "anything" else _fields(value, name, number)
            steps.append(Calls(tool, fields, ok=key.startswith("calls ")))
        elif key == "allow":
            allowed.add(value)
        else:
            checks.append(_check(key, value, name, number))
    return (Steps(tuple(steps)), *checks) if steps else tuple(checks), allowed


def _check(key: str, value: str, name: str, number: int) -> Check:
    match key:
        case "never":
            return Never(_pattern(value, name, number))
        case "never calls":
            return NeverCalls(value)
        case "never repeats":
            return NeverRepeats(value)
        case "never together":
            return NeverTogether(tuple(value.split()))
        case "turns":
            return Counted("turns", turns_of, _range(value, name, number))
        case "bookings":
            return Counted("bookings", lambda seen: len(seen.bookings), _range(value, name, number))
        case "interruptions":
            return Counted("interruptions", interruptions_of, _range(value, name, number))
        case _ if key.startswith("mark "):
            mark = key.removeprefix("mark ")
            return Counted(
                key, lambda seen: sum(m.what == mark for m in seen.record.marks), _range(value, name, number)
            )
        case "outcome":
            return Ends("outcome", lambda seen: seen.record.outcome, value)
        case "verdict":
            return Ends("verdict", lambda seen: seen.verdict, value)
        case "target":
            return Ends("target", lambda seen: seen.target, value)
        case "ended by":
            return Ends("ended by", lambda seen: seen.ended_by, value)
        case "booked":
            return Booked(_fields(value, name, number))
        case "history":
            return InHistory(_pattern(value, name, number))
        case "history cut":
            return InHistory(_pattern(value, name, number), "cut")
        case "history never":
            return InHistory(_pattern(value, name, number), "none")
        case _:
            raise CallerError(
                f"{name}, line {number}: nothing can be expected of {key!r}; there is says, calls TOOL, tries TOOL, "
                "never, never calls, never repeats, never together, turns, bookings, interruptions, mark NAME, "
                "outcome, verdict, target, ended by, booked, history, history cut, history never, allow"
            )


def _pattern(value: str, name: str, number: int) -> re.Pattern[str]:
    try:
        return re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise CallerError(f"{name}, line {number}: {value!r} is no regular expression: {error}") from error


def _fields(value: str, name: str, number: int) -> tuple[Field, ...]:
    found = []
    for part in value.split(";"):
        match = _FIELD.fullmatch(part.strip())
        if match is None:
            raise CallerError(
                f"{name}, line {number}: {part.strip()!r} is no 'FIELD = VALUE', 'FIELD ~ PATTERN' or 'FIELD absent'"
            )
        if match[4]:
            found.append(Field(match[1], "absent"))
        elif match[2] == "=":
            found.append(Field(match[1], "=", match[3].strip()))
        else:
            found.append(Field(match[1], "~", _pattern(match[3].strip(), name, number).pattern))
    return tuple(found)


def _range(value: str, name: str, number: int) -> Range:
    if match := re.fullmatch(r"(\d+)", value):
        return Range(int(value), int(value))
    if match := re.fullmatch(r"(\d+) to (\d+)", value):
        return Range(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"(\d+) or more", value):
        return Range(int(match[1]))
    if match := re.fullmatch(r"at most (\d+)", value):
        return Range(0, int(match[1]))
    raise CallerError(f"{name}, line {number}: {value!r} is no number; write 3, 3 to 5, 3 or more, or at most 3")
