"""The agent of the soak: what `voice-agent serve` runs, with the settings of the environment, and looks inside.

Run as `python -m benchmarks.soak.serve [PLANTED,...]`. What is planted is there to show that the judge finds it:
`leak` keeps a MiB of each call, `task` a task, `file` an open file.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import sys
import threading
from collections import Counter
from typing import Any

from agent.call.record import CallRecord, TurnRecord
from agent.office.seed import seed_examples
from agent.ops import collector, files
from agent.ops.logs import set_up_logging
from agent.ops.settings import load_settings
from agent.service import Agent
from benchmarks.agent.child import serve_questions
from benchmarks.agent.serve import Looks

LEAK_BYTES = 2**20
KEPT: list[Any] = []


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` (glibc 2.33 and newer, malloc.h): of all arenas together, bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def in_use() -> dict[str, int]:
    """What is allocated now, whatever the kernel still counts as the process's: KiB of malloc, blocks of Python."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallocInfo
    info = mallinfo2()
    return {"malloc_kib": (info.uordblks + info.hblkhd) >> 10, "python_blocks": sys.getallocatedblocks()}


def plant(faults: set[str]) -> None:
    """Do what a faulty agent would at the end of each call."""
    if "leak" in faults:
        KEPT.append(bytearray(os.urandom(LEAK_BYTES)))
    if "task" in faults:
        KEPT.append(asyncio.create_task(asyncio.Event().wait(), name="planted"))
    if "file" in faults:
        KEPT.append(os.open("/dev/null", os.O_RDONLY))


def tasks() -> dict[str, int]:
    """Tasks by name, numbers aside; those without a name by what they run."""

    def name(task: asyncio.Task[Any]) -> str:
        if task.get_name().startswith("Task-"):
            text = getattr(task.get_coro(), "__qualname__", "?")
            return f"{text} pool" if text == "RequestHandler.start" else text  # a connection that is kept
        return _plain(task.get_name())

    return dict(Counter(map(name, asyncio.all_tasks())))


def threads() -> dict[str, int]:
    """Python's threads by name, numbers aside; those of pools, which grow up to a limit of their own, named so."""

    def name(thread: threading.Thread) -> str:
        text = _plain(thread.name)
        return f"{text} pool" if text.startswith(("asyncio_", "Thread-")) else text

    return dict(Counter(map(name, threading.enumerate())))


def _plain(name: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", name)


async def main() -> None:
    """Serve until standard input ends."""
    faults = set(sys.argv[1].split(",")) if len(sys.argv) > 1 else set()
    settings = load_settings()
    set_up_logging(settings)
    files.make_room(settings.max_calls)
    looks: Looks | None = None

    def on_turn(_record: CallRecord, turn: TurnRecord) -> None:
        if looks is not None:
            looks.turn(turn)

    def on_record(record: CallRecord) -> None:
        if looks is not None:
            looks.record(record)
        plant(faults)

    async with Agent(settings, on_turn=on_turn, on_record=on_record) as agent:
        await seed_examples(agent.store)
        collector.settle()
        seen = looks = Looks(agent, None)

        async def answer(question: str) -> dict[str, Any]:
            told = await seen.answer(question)
            return told | {
                "tasks": tasks(),
                "threads": threads(),
                "loop_lag_ms": agent.lag.loop_lag_ms,
                "media_late_ms": agent.lag.media_lateness_ms,
                "refused": dict(agent.admission.counters),
                **(in_use() if question == "collect" else {}),
            }

        ready = {"audio_port": agent.audio_port, "fastagi_port": agent.fastagi_port, "http_port": agent.http_port}
        await serve_questions(ready, answer)


if __name__ == "__main__":
    asyncio.run(main())
