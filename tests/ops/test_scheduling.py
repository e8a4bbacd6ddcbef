"""What MEDIA_PRIORITY brings, on a real engine: the words in the log are what the kernel says of the thread."""

from __future__ import annotations

import logging
import os

import pytest

import fastaudio
from agent.ops.scheduling import tell_priority
from tests.frozen_thread import thread_named


@pytest.mark.parametrize("asked", [0, 7])
async def test_the_log_says_what_the_media_thread_got(asked: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with fastaudio.Engine(port=0, priority=asked) as engine:
        await tell_priority(engine, asked)
        assert await engine.responsive(), "it has begun, and has its name"
        thread = thread_named(os.getpid(), "fa-media")
        has = os.sched_getparam(thread).sched_priority
        is_fifo = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    said = [record.getMessage() for record in caplog.records]
    if asked == 0:
        assert (said, has) == ([], 0)
    elif is_fifo:  # as root, or with ulimit -r
        assert (said, has) == ([f"the media thread runs with SCHED_FIFO priority {asked}"], asked)
    else:
        assert has == 0
        assert "SCHED_FIFO priority 7 is more than the" in said[0]


class Refused:
    """An engine on a host that does not let it; root, who may do everything, has none."""

    async def responsive(self, timeout_s: float = 1.0) -> bool:
        return True

    def counters(self) -> dict[str, int]:
        return {"fifo_priority": 0}


async def test_a_host_that_refuses_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    await tell_priority(Refused(), 20)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "SCHED_FIFO priority 20 is more than the" in said.getMessage()
