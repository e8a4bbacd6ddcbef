"""`voice-agent top --once`: the same as plain text, for scripts and for those who read it aloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from agent.top.source import LiveSource, NoAgent
from agent.top.view import BY_TIME, chosen, head, seconds_of, step_of

HEADINGS = ("UUID", "WORKER", "COMPANY", "CALLER", "DOING", "STEP", "SECONDS", "ANSWER_MS", "TURNS")


async def look_once(
    source: LiveSource, say: Callable[[str], None], complain: Callable[[str], None], *, wanted: str = "", as_json: bool
) -> int:
    """Print the page; return the exit status: 1 when no agent answers."""
    try:
        page = await source.look()
    except NoAgent as error:
        complain(str(error))
        return 1
    say(json.dumps(page, ensure_ascii=False) if as_json else "\n".join(table(page, source.url, wanted)))
    return 0


def table(page: dict[str, Any], where: str, wanted: str = "") -> list[str]:
    """The lines above, each behind a `#`, then a table with a line for each call."""
    rows = [HEADINGS, *(_row(call, page["now"]) for call in chosen(page["calls"], wanted, BY_TIME))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    above = [f"# {line}".rstrip() for line in head(page, where).plain.splitlines()]
    return [*above, *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]


def _row(call: Any, now_ms: int) -> Sequence[str]:
    answer = call["latency_ms"]
    return (
        call["uuid"],
        str(call["worker"]),
        call["company"] or "-",
        call["caller"] or "-",
        call["doing"],
        step_of(call) or "-",
        str(seconds_of(call, now_ms)),
        "-" if answer is None else str(answer),
        str(call["turns"]),
    )
