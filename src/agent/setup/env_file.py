"""The env file that `voice-agent init` writes: a new one, or one that is there with what it lacks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO

from dotenv import dotenv_values

_PLAIN = re.compile(r"[\w.:/@+=,-]*")
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
HEAD = """\
# Settings of the voice agent. Only its own user may read this file (mode 0600): it holds keys.
# Every other setting has a default: docs/settings.md. After a change: {reload}.
"""


def values_of(text: str) -> dict[str, str]:
    """What a file of this text sets; names without a value are left out."""
    read = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in read.items() if value is not None}


def completed(text: str, wanted: Mapping[str, str]) -> str:
    """`text` with what of `wanted` it has no value for; every other line stays as it is."""
    has = {name for name, value in values_of(text).items() if value}
    return _with(text, {name: value for name, value in wanted.items() if name not in has})


def replaced(text: str, wanted: Mapping[str, str]) -> str:
    """`text` with all of `wanted`, in the place of other values."""
    has = values_of(text)
    return _with(text, {name: value for name, value in wanted.items() if has.get(name) != value})


def fresh(wanted: Mapping[str, str], reload: str) -> str:
    """A new file; settings without a value are there to be filled in. `reload`: the command that has it read again."""
    return HEAD.format(reload=reload) + "".join(f"{name}={quoted(value)}\n" for name, value in wanted.items())


def quoted(value: str) -> str:
    """A value as it stands in the file. Raises `ValueError` for one with a line break or another control character."""
    if not value.isprintable():
        raise ValueError("a value must be of one line, without control characters")
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _with(text: str, values: Mapping[str, str]) -> str:
    left = dict(values)
    lines = []
    for line in text.splitlines():
        match = _LINE.match(line)
        lines.append(f"{match[1]}={quoted(left.pop(match[1]))}" if match and match[1] in left else line)
    lines += [f"{name}={quoted(value)}" for name, value in left.items()]
    return "".join(f"{line}\n" for line in lines)
