"""Long work on the event loop in short steps, so that calls that go on beside it have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

STEP_S = 0.003
"""Of work at a time. A thread would do no better: the interpreter lets another one run every 5 ms."""


async def in_steps(items: Iterable[T]) -> list[T]:
    """All of `items`, whose making is the work; between two of them others may run."""
    done = []
    began = time.perf_counter()
    for item in items:
        done.append(item)
        if time.perf_counter() - began >= STEP_S:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return done
