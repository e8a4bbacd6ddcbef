"""Several workers as one agent: calls are shared, known of everywhere, and counted once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from agent.call.door import Beat
from agent.workers.supervisor import SLACK
from tests.agent.scripts import BOOKING
from tests.workers.conftest import samples

if TYPE_CHECKING:
    from tests.workers.conftest import Crews


async def test_a_call_of_a_worker_books_and_is_known_of_as_ever(a_crew: Crews) -> None:
    async with a_crew() as crew:
        lines = await crew.ring(4)
        spread = crew.spread()
        assert min(spread) > 0
        result, call = await crew.dial(BOOKING)
        assert (result.failure, result.verdict) == ("", "hangup")
        record = await crew.record_of(call)
        assert (record.outcome, record.company) == ("booked", "Thames Plumbing")
        assert await crew.agent.store.find_booking(record.booking_id) is not None
        assert record.recording
        await asyncio.sleep(1.1)  # a beat
        usage = crew.agent.front.admission.usage
        assert usage.cost > record.cost * 0.999, "what it cost is in the day's sum"
        assert usage.minutes > 0
        assert crew.agent.front.admission.requests_a_minute > 0

        status, health = await crew.page("/health")
        assert (status, health["status"], health["calls"]) == (200, "ok", 4)
        assert [worker["calls"] for worker in health["workers"]] == spread
        assert health["media"]["live"] == 4
        assert health["vendors"]["tts cartesia"]["succeeded"] > 0
        assert await crew.page("/ready") == (200, {"ready": True})
        found = samples((await crew.page("/metrics"))[1])
        assert found['voice_agent_calls_total{outcome="booked"}'] == 1
        assert found["voice_agent_calls_running"] == 4
        assert found['voice_agent_workers{state="serving"}'] == 2
        assert found['voice_agent_outbox_events_total{what="accepted"}'] == 1
        assert found['voice_agent_loop_lag_seconds{worker="supervisor"}'] >= 0
        assert found['voice_agent_media_responsive{worker="1"}'] == 1
        _, live = await crew.page("/live")
        assert {call["uuid"] for call in live["calls"]} == {str(each.call) for each in lines}
        assert {call["worker"] for call in live["calls"]} == {1, 2}
        for each in lines:
            await each.goes_on(0.2)


async def test_a_worker_with_room_takes_what_a_full_one_cannot(a_crew: Crews) -> None:
    async with a_crew(max_calls=5, workers=2) as crew:  # three places each, and five in all
        for _ in range(3):
            lines = await crew.ring_at_once(5)
            assert sorted(crew.spread()) == [2, 3]
            assert await crew.start(uuid4()) == "FULL"
            stranger = await crew.connect(announced=False)
            assert await asyncio.wait_for(stranger.wire.ended, 5) == "agent", "hung up, and not left in silence"
            for line in lines:
                await line.goes_on(0.1)
            for line in lines:
                await line.hang_up()
            await crew.until(lambda: crew.spread() == [0, 0], what=crew.spread)
        assert crew.agent.front.admission.counters == {"calls": 6}


async def test_all_places_can_be_had_however_calls_come(a_crew: Crews) -> None:
    """One worker is full with long calls while the other's are over: new ones go where there is room."""
    async with a_crew(max_calls=8, workers=2) as crew:
        lines = await crew.ring_at_once(8)
        one, other = crew.workers
        for line in lines:
            if crew.worker_of(line) is other:
                await line.hang_up()
        await crew.until(lambda: crew.spread() == [4, 0], what=crew.spread)
        assert not one.accepts
        await crew.ring_at_once(4)
        assert crew.spread() == [4, 4]


async def test_who_has_clearly_more_leaves_calls_to_the_others(a_crew: Crews) -> None:
    async with a_crew(max_calls=40) as crew:
        lines = await crew.ring(10)
        one, other = crew.workers
        for line in lines:
            if crew.worker_of(line) is other:
                await line.hang_up()
        await crew.until(lambda: other.calls == 0, what=crew.spread)
        assert (one.accepts, other.accepts) == (False, True)
        before = one.calls
        assert before > SLACK + 1
        for calls in range(1, before - SLACK + 1):
            assert not one.accepts
            await crew.ring(1)
            assert (one.calls, other.calls) == (before, calls)
        await crew.until(lambda: one.accepts, what=crew.spread)  # now they are close


async def test_a_worker_that_is_late_is_left_alone_while_another_is_not(a_crew: Crews) -> None:
    async with a_crew() as crew:
        one, other = crew.workers
        one.door.last = Beat(too_late=True)
        crew.agent._balance()
        assert (one.accepts, other.accepts) == (False, True)
        assert crew.agent.front.admission.no_room() is None
        other.door.last = Beat(too_late=True)
        crew.agent._balance()
        assert (one.accepts, other.accepts) == (True, True), "calls that were let in must go somewhere"
        refusal = crew.agent.front.admission.no_room()
        assert refusal is not None
        assert refusal.reason == "lag"


async def test_the_console_has_a_worker_speak(a_crew: Crews) -> None:
    async with a_crew() as crew:
        assert (await crew.agent.say("Good morning.", "", "")).startswith(b"RIFF")
