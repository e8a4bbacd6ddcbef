"""What a vendor says of a request that it refuses may quote the request: the caller's words are no part of a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from agent.providers.base import Message

HIDDEN = "…"
_WORD = re.compile(r"\w+")


def without_quotes(text: str, messages: Sequence[Message]) -> str:
    """`text` with `…` for what stands in the messages too, but for the system's: two words in a row, or one said alone.

    Fewer words in common are chance, and hiding them would leave nothing that says what is wrong.
    """
    said = [_words(str(message.get("content") or "")) for message in messages if message.get("role") != "system"]
    alone = {words[0] for words in said if len(words) == 1}
    pairs = {pair for words in said for pair in pairwise(words)}
    found = list(_WORD.finditer(text))
    words = [match[0].lower() for match in found]
    hidden = {index for index, word in enumerate(words) if word in alone}
    for index, pair in enumerate(pairwise(words)):
        if pair in pairs:
            hidden |= {index, index + 1}
    return _hide(text, [(found[index].start(), found[index].end()) for index in sorted(hidden)])


def _words(text: str) -> list[str]:
    return [match[0].lower() for match in _WORD.finditer(text)]


def _hide(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` with one `…` for all that touches, only blanks and marks between."""
    parts: list[str] = []
    end = 0
    for start, stop in spans:
        between = text[end:start]
        if not parts or _WORD.search(between):
            parts += [between, HIDDEN]
        end = stop
    return "".join((*parts, text[end:]))
