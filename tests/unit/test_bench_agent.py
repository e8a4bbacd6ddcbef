"""The instruments of the agent's benchmark, on what is known."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent.sandbox import rehearsed
from agent.tools.booking import PARAMETERS
from benchmarks.agent.lag import Lag, quantile
from benchmarks.agent.point import threads_ns
from benchmarks.agent.profile import REST, read

ROOT = Path(__file__).parents[2]
SAMPLES = """\
main (a.py:1);run_forever (base.py:1);_send (agent/providers/deepgram.py:9);send (picows.py:3) 7
main (a.py:1);run_forever (base.py:1);select (selectors.py:451) 5
main (a.py:1);run_forever (base.py:1);_respond (agent/call/session.py:4);say (agent/call/speech.py:2) 3
main (a.py:1);run_forever (base.py:1);_run_once (asyncio/base_events.py:3) 2
worker (threading.py:3);step (agent/ops/recording.py:8) 9
"""


def test_a_sample_belongs_to_the_innermost_function_of_ours() -> None:
    parts, functions = read(SAMPLES)
    assert parts == {
        "STT client": 7,
        "waiting for sockets (epoll)": 5,
        "agent's speech to the media core": 3,
        REST: 2,
    }
    assert functions["_send (agent/providers/deepgram.py:9)"] == 7
    assert functions.total() == 17


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(value) for value in range(100)], 0.99) == 99.0
    assert quantile([1.0, 2.0], 1.0) == 2.0


async def test_a_loop_that_is_kept_waiting_is_late() -> None:
    lag = Lag()
    await asyncio.sleep(0.1)
    lag.mark()
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be late
    await asyncio.sleep(0.05)
    told = lag.tell()
    assert told["max_ms"] >= 150
    assert told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]
    lag.mark()
    assert lag.tell()["max_ms"] == 0


def test_cpu_is_told_by_thread() -> None:
    before = threads_ns(os.getpid())
    over = threading.Event()

    def burn() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
        over.wait(10)  # a thread that has ended tells nothing any more

    thread = threading.Thread(target=burn)
    thread.start()
    deadline = time.monotonic() + 10
    while threads_ns(os.getpid())["others"] - before["others"] < 190_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    over.set()
    thread.join()
    assert threads_ns(os.getpid())["loop"] - before["loop"] < 5_000_000_000
    assert before["media"] == 0


def test_memory_grows_by_what_is_touched() -> None:
    """In a process of its own: this one may give memory back at the same moment."""
    measure = (
        "import os; from benchmarks.agent.point import memory_kib; before = memory_kib(os.getpid());"
        "kept = b'x' * (32 << 20); print(memory_kib(os.getpid())['rss'] - before['rss'])"
    )
    grown = subprocess.run([sys.executable, "-c", measure], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(grown.stdout) == pytest.approx(32 << 10, abs=4096)


def test_the_rehearsed_booking_is_one_that_the_tool_takes() -> None:
    bookings = [answer.call for _, answer in rehearsed.EXCHANGES if answer.call is not None]
    assert [call.name for call in bookings] == ["create_booking"]
    assert len(set(rehearsed.LINES)) == len(rehearsed.LINES)  # an answer is looked up by the words
    for call in bookings:
        Draft202012Validator(PARAMETERS).validate(call.arguments)
