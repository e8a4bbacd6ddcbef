"""Asterisk's version, and what it cannot do. The three behaviours are those of docs/install-asterisk.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Behaviour: TypeAlias = Literal["none", "old", "mid", "new"]

_VERSION = re.compile(r"Asterisk (certified[/-])?(?:GIT-)?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
# From which minor version on, of each major one: mid behaviour, new behaviour, the header read rightly.
_FROM = {20: (14, 17, 19), 21: (9, None, None), 22: (4, 7, 9), 23: (0, 1, 3)}
_BUSY_UNTIL = {18: 20, 20: 5}
"""Before these each AudioSocket call keeps a processor busy."""
WIDE_FROM = {20: 17, 21: 12, 22: 7, 23: 1}


@dataclass(frozen=True, slots=True)
class AsteriskVersion:
    """A version as `core show version` has it."""

    text: str
    major: int
    minor: int
    certified: bool = False

    @property
    def behaviour(self) -> Behaviour:
        """How its AudioSocket behaves; `none`: it has none."""
        if self.major < 18:
            return "none"
        if self.major in _FROM:
            mid, new, _ = _FROM[self.major]
            return "new" if new is not None and self.minor >= new else "mid" if self.minor >= mid else "old"
        return "old" if self.major < 20 else "new"

    @property
    def lacks(self) -> list[str]:
        """What it cannot do, each in a few words."""
        lacks = []
        if self.behaviour == "old":
            lacks.append("keys that callers press do not arrive")
            lacks.append("an agent that is killed leaves the line silent until the caller hangs up")
        if not self.certified and self.minor < _BUSY_UNTIL.get(self.major, 0):
            lacks.append("each call keeps a processor busy")
        right = _FROM.get(self.major, (None, None, None))[2]
        if self.behaviour == "new" and right is not None and self.minor < right:
            lacks.append("a message whose header arrives in two parts ends the call")
        return lacks

    @property
    def wideband(self) -> bool:
        """Whether it carries calls at 16 kHz to the agent."""
        return self.major > 23 or self.minor >= WIDE_FROM.get(self.major, 1 << 30)


def parse_version(text: str) -> AsteriskVersion | None:
    """The version in the answer to `core show version`, or to `asterisk -V`; None where there is none."""
    found = _VERSION.search(text)
    if found is None:
        return None
    certified, major, minor, patch = found.groups()
    numbers = ".".join(each for each in (major, minor, patch) if each)
    return AsteriskVersion(
        f"{'certified ' if certified else ''}{numbers}", int(major), int(minor or 0), bool(certified)
    )
