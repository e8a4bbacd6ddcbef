"""The media thread's pulse, and what `/health`, `/ready` and `/metrics` say of it."""

from __future__ import annotations

import asyncio

from agent.ops.pulse import Pulse


class Thread:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.answers = True
        self.now = 100.0
        self.pulse = Pulse(self.responsive, every_s=0.0, hung_s=5.0, clock=lambda: self.now)

    async def responsive(self) -> bool:
        return self.answers

    def shown(self) -> float:
        (family,) = self.pulse.tell()
        return family.samples[0].value


async def test_a_thread_that_misses_one_question_is_no_hung_one() -> None:
    thread = Thread()
    await thread.pulse.look()
    assert (thread.pulse.hung, thread.shown()) == (False, 1)
    thread.answers = False
    await thread.pulse.look()
    assert (thread.pulse.hung, thread.shown()) == (False, 0)
    thread.now += 4.9
    await thread.pulse.look()
    assert not thread.pulse.hung
    thread.now += 0.2
    assert thread.pulse.hung, "also before the next question has failed"
    thread.answers = True
    await thread.pulse.look()
    assert (thread.pulse.hung, thread.shown()) == (False, 1)


async def test_it_asks_again_and_again() -> None:
    thread = Thread()
    asked = asyncio.create_task(thread.pulse.run())
    for answers in (False, True, False):
        thread.answers = answers
        for _ in range(10):
            await asyncio.sleep(0)
        assert thread.shown() == answers
    asked.cancel()
