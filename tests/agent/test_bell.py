"""The bell: no ring is missed, and it wakes in time."""

from __future__ import annotations

import asyncio
import math

from agent.providers.bell import Bell


async def woken(bell: Bell, until: float = math.inf) -> None:
    async with asyncio.timeout(2):
        await bell.wait(until)


async def test_a_ring_wakes_who_waits_and_who_comes_later() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await woken(bell)
    waiting = asyncio.create_task(woken(bell))
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.ring()
    await waiting
    waiting = asyncio.create_task(woken(bell))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "two rings before the wait is over are one"
    bell.ring()
    await waiting


async def test_it_wakes_at_the_time_and_at_an_earlier_one_that_is_asked_for_later() -> None:
    loop, bell = asyncio.get_running_loop(), Bell()
    far = asyncio.create_task(woken(bell, loop.time() + 60))
    await asyncio.sleep(0)
    bell.ring()
    await far
    begun = loop.time()
    await woken(bell, begun + 0.1)
    assert loop.time() - begun >= 0.099
    bell.stop()


async def test_one_timer_serves_many_waits() -> None:
    loop, bell = asyncio.get_running_loop(), Bell()
    timers = set()
    for _ in range(50):
        waiting = asyncio.create_task(woken(bell, loop.time() + 60))
        await asyncio.sleep(0)
        timers.add(bell._timer)
        bell.ring()
        await waiting
    assert len(timers) == 1
    bell.stop()
    assert all(timer is not None and timer.cancelled() for timer in timers)
    await asyncio.sleep(0)


async def test_a_wait_that_is_cancelled_leaves_the_bell_usable() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(math.inf))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    bell.ring()
    await woken(bell)
