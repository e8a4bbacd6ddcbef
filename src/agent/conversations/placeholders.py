"""Placeholders such as `{company_name}`: those that are none, and those that only look like one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

_LOOKS_LIKE_ONE = re.compile(
    r"(?P<open>\{+)(?P<name>[ \t]*\w[\w \t-]*?[ \t]*)(?P<close>\}+)"
    r"|(?P<unclosed>\{+[ \t]*[^\W\d][\w-]*)(?![\w \t-]*\})(?![\w-])(?!\s*:)"  # {"a": 1} and {a: 1} are no placeholders
    r"|(?P<unopened>[^\W\d]\w*)\}"
    r"|[\[<(](?P<bracketed>\w+_\w+)[\]>)]"
)


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Something in a text that would be said or sent as it stands, braces and all."""

    at: int
    """Where it begins in the text, in characters."""
    written: str
    told: str
    """What would be right."""


def misplaced(text: str, known: Set[str]) -> Iterator[Misplaced]:
    """Find each `{name}` in `text` that is not among `known`, and each of `known` that is written in another way.

    Other braces are the text's own: { as here }, {"a": 1}.
    """
    for match in _LOOKS_LIKE_ONE.finditer(text):
        written = match["name"] or match["unclosed"] or match["unopened"] or match["bracketed"]
        name = re.sub(r"[ \t-]+", "_", written.strip("{ \t"))
        if match["name"] in known and (match["open"], match["close"]) == ("{", "}"):
            continue
        near = [name] if name in known else difflib.get_close_matches(name, known, 1, 0.7)
        is_word = match["name"] is not None and re.fullmatch(r"\w+", match["name"])
        if match["bracketed"] or match["unopened"]:
            inside = text.rfind("{", 0, match.start()) > text.rfind("}", 0, match.start())
            wrong = name in known and not inside
        else:
            wrong = bool(near or is_word)
        if wrong:
            there = ", ".join(f"{{{one}}}" for one in sorted(known))
            right = f"is {{{near[0]}}} meant?" if near else f"there are {there}"
            yield Misplaced(match.start(), match[0], f"{match[0]} is no placeholder; {right}")


def line_of(text: str, at: int) -> int:
    """Return the number of the line, from 1, in which the character at `at` stands."""
    return text.count("\n", 0, at) + 1
