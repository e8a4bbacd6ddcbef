"""What a probe finds: a line for the administrator, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from agent.check.subject import Subject

Level: TypeAlias = Literal["ok", "warning", "error", "skipped"]
LEVELS: tuple[Level, ...] = ("ok", "skipped", "warning", "error")
"""From good to bad."""
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `name` tells what was looked at and stays the same over versions: scripts and the docs go by it."""

    name: str
    level: Level
    text: str
    mend: str = ""
    """What to do about it; empty where there is nothing to do."""
    seconds: float | None = None
    """How long it took, where that matters."""


def ok(name: str, text: str, *, seconds: float | None = None) -> Finding:
    """It is as it must be."""
    return Finding(name, "ok", text, seconds=seconds)


def warning(name: str, text: str, mend: str, *, seconds: float | None = None) -> Finding:
    """Calls are answered, though not as well as they could be; or nobody could find out."""
    return Finding(name, "warning", text, mend, seconds)


def error(name: str, text: str, mend: str, *, seconds: float | None = None) -> Finding:
    """Calls are not answered, or something of them is lost."""
    return Finding(name, "error", text, mend, seconds)


def skipped(name: str, text: str, mend: str = "") -> Finding:
    """It was not looked at, and why."""
    return Finding(name, "skipped", text, mend)


Findings: TypeAlias = AsyncGenerator[Finding]


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at one subject."""

    group: str
    """What `--only` and `--skip` name."""
    name: str
    look: Callable[[Subject], Findings] = field(repr=False)
    limit_s: float = 8.0
    """After so long it is given up; what it has found by then counts."""
    stage: int = 1
    """Those of 0 run first, one by one, as they measure time; those of 1 at once; those of 2 behind them."""
    online: bool = False
    """It asks somebody else's server: left out with `--offline`."""
    needs_settings: bool = True
    """It can look at nothing while a setting is wrong."""


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among them; `ok` where there is none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


async def at_once(*questions: Awaitable[Found]) -> list[Found]:
    """Ask all of them at once. What one raises is raised, when all others are cancelled."""

    async def answer(question: Awaitable[Found]) -> Found:
        return await question

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(question)) for question in questions]
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return [task.result() for task in tasks]
