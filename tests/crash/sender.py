"""One life of a process that has an outbox: it keeps bookings, sends what there is, and is killed at some step.

A step is what comes before each SQL statement of the outbox, the opening of its file included, and each stage of a
request: nothing in the product is there for the test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from agent.tools.booking import idempotency_key
from agent.tools.outbox import Outbox, Pace, Target
from tests.crash.books import KEY

IN_A_HURRY = Pace(
    first_pause_s=0.01, longest_pause_s=0.04, longest_wish_s=0.04, held_pause_s=0.02, connect_s=1.0, attempt_s=0.1,
    only_attempt_s=0.1, poll_s=0.02, tell_after_s=3600.0, overdue_s=3600.0,
)  # fmt: skip
PATIENT = replace(IN_A_HURRY, attempt_s=10.0, only_attempt_s=10.0)
"""Where every answer comes, however long this host stands still."""
LIFE_S = 20.0


class Steps:
    """Counts steps, and kills the process in front of the one that is named; 0 for never."""

    def __init__(self, kill_at: int) -> None:
        self.left = kill_at
        self._lock = threading.Lock()

    def __call__(self, *_what: object) -> None:
        with self._lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch_sql(self) -> None:
        """Count the statements of every connection that is opened from now on."""
        connect, steps = sqlite3.connect, self

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            steps()
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(steps)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]

    def trace(self) -> aiohttp.TraceConfig:
        """Count the stages of requests."""

        async def step(_session: aiohttp.ClientSession, _context: SimpleNamespace, _what: object) -> None:
            self()

        trace = aiohttp.TraceConfig()
        for stage in (
            trace.on_request_start, trace.on_connection_create_start, trace.on_connection_create_end,
            trace.on_request_headers_sent, trace.on_request_chunk_sent, trace.on_response_chunk_received,
            trace.on_request_end, trace.on_request_exception,
        ):  # fmt: skip
            stage.append(step)
        trace.freeze()
        return trace


def booking(number: int) -> tuple[str, dict[str, str]]:
    """The key and the content of a booking."""
    body = {
        "customer_name": f"Caller {number}" if number % 17 != 16 else "",  # which no API takes
        "postcode": "M14 6BT",
        "address": f"{number} Acacia Avenue",
        "problem_description": "a leaking tap",
        "call_uuid": f"call-{number}",
    }
    return idempotency_key(body["call_uuid"], body), body


def live(
    folder: Path, port: int, numbers: Sequence[int], *, honours_keys: bool, kill_at: int = 0, pace: Pace = IN_A_HURRY
) -> None:
    """Live until killed, or until nothing is left to send. What `keep` has promised stands in `promised.txt`."""
    steps = Steps(kill_at)
    steps.watch_sql()
    target = Target("api", f"http://127.0.0.1:{port}/create_booking", {"X-API-Key": KEY}, honours_keys=honours_keys)
    asyncio.run(_live(folder, numbers, target, steps, pace))


async def _live(folder: Path, numbers: Sequence[int], target: Target, steps: Steps, pace: Pace) -> None:
    promised = os.open(folder / "promised.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with Outbox(folder, {"booking": target}, pace=pace) as outbox:
        outbox._http.trace_configs.append(steps.trace())
        for number in numbers:
            key, body = booking(number)
            await outbox.keep(key, body, call_uuid=body["call_uuid"])
            os.write(promised, f"{key}\n".encode())
        async with asyncio.timeout(LIFE_S):
            while True:
                counts, _ = await outbox._disk(outbox._store.counts)
                if not counts["waiting"] and not counts["sending"]:
                    return
                await asyncio.sleep(0.005)
