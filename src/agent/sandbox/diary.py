"""What a tool that looks a day up told the receptionist: which times there are, and which of them the caller takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.sandbox import heard, when

OFFERED = 2
"""At most so many times are offered at once."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Free times of a day."""

    date: str
    """YYYY-MM-DD."""
    weekday: str
    times: tuple[str, ...]
    """HH:MM."""

    @property
    def question(self) -> str:
        """The offer as it is said."""
        times = [when.say_time(time) for time in self.times[:OFFERED]]
        return f"we have {' or '.join(times)} on {self.weekday}, which would suit?"

    def taken(self, text: str) -> str | None:
        """The time that the caller takes: HH:MM, or none."""
        times = self.times[:OFFERED]
        return when.find_time(text, times) or (times[0] if heard.yes_or_no(text) else None)


def read_offer(result: Mapping[str, Any]) -> Offer | None:
    """What a lookup found: `free` times on a `date`, or the `next` one, "Monday 09:30"; none when there is nothing."""
    free = tuple(str(time) for time in result.get("free") or ())
    if free:
        return Offer(str(result.get("date", "")), str(result.get("weekday", "that day")), free)
    match = re.fullmatch(r"(\w+) (\d\d:\d\d)", str(result.get("next", "")))
    return Offer(str(result.get("date", "")), match[1], (match[2],)) if match else None
