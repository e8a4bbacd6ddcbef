"""Several hosts with one Redis: announcements, calls and verdicts, with Redis there, away, and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from agent.telephony import CallInfo, DuplicateCallError, Verdict
from agent.telephony.hosts import HostState
from agent.telephony.redis_registry import RedisRegistry
from tests.hosts.servers import RedisServer

QUICK_S = 0.3
"""For what is answered without waiting for anybody, on a host that may stand still for 100 ms."""


class Host:
    """One of several."""

    def __init__(self, server: RedisServer) -> None:
        self.state = HostState(places=10)
        self.dropped: list[CallInfo] = []
        self.registry = RedisRegistry(server.url, lambda: self.state, on_dropped=self.dropped.append)


@pytest.fixture
async def hosts(redis_server: RedisServer) -> AsyncIterator[list[Host]]:
    async with AsyncExitStack() as stack:
        made = [Host(redis_server) for _ in range(3)]
        for host in made:
            await stack.enter_async_context(host.registry)
        yield made


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        yield client


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells when that is
            await asyncio.sleep(0.02)


def info() -> CallInfo:
    return CallInfo(
        uuid4(), did="02079460000", caller_id="+447700900123", caller_name="Ann Example", unique_id="1.1",
        linked_id="1.2", channel="PJSIP/ann-1", source="fastagi",
    )  # fmt: skip


async def test_a_call_that_was_announced_to_one_host_is_claimed_once_on_another(hosts: list[Host]) -> None:
    first, second, third = hosts
    call = info()
    await first.registry.announce(call)
    claims = await asyncio.gather(second.registry.claim(call.uuid, 0), third.registry.claim(call.uuid, 0))
    claimed = [claim for claim in claims if claim is not None]
    assert [replace(claim, announced_ns=call.announced_ns) for claim in claimed] == [call]
    assert await first.registry.claim(call.uuid, 0) is None, "the host that it was announced to has it in its memory"


async def test_what_was_made_ready_is_dropped_when_the_call_comes_elsewhere(hosts: list[Host]) -> None:
    first, second, _ = hosts
    call = info()
    await first.registry.announce(call)
    assert first.registry.announced == 1
    assert await second.registry.claim(call.uuid, 0) is not None
    await until(lambda: first.dropped)
    assert first.dropped == [call]
    assert first.registry.announced == 0


async def test_a_verdict_is_found_on_each_host_as_soon_as_it_is_decided(hosts: list[Host]) -> None:
    first, second, third = hosts
    call = uuid4()
    assert await first.registry.opened(call)
    await first.registry.decide(call, Verdict("transfer", "2001", "agent"))
    begin = time.monotonic()
    assert await second.registry.verdict(call) == Verdict("transfer", "2001", "agent")
    await first.registry.closed(call)
    assert await third.registry.verdict(call) == Verdict("transfer", "2001", "agent")
    assert await first.registry.verdict(call) == Verdict("transfer", "2001", "agent")
    assert time.monotonic() - begin < QUICK_S
    assert first.registry.unasked == 0, "nothing is lost when this host stops"


async def test_a_question_waits_for_a_call_that_runs_on_another_host_and_for_no_other(hosts: list[Host]) -> None:
    first, second, _ = hosts
    call = uuid4()
    begin = time.monotonic()
    assert await second.registry.verdict(uuid4(), 5.0) is None
    assert time.monotonic() - begin < QUICK_S
    await first.registry.opened(call)
    asked = asyncio.create_task(second.registry.verdict(call, 5.0))
    await asyncio.sleep(0.2)
    assert not asked.done()
    await first.registry.decide(call, Verdict("menu"))
    assert await asked == Verdict("menu")
    undecided = uuid4()
    await first.registry.opened(undecided)
    asked = asyncio.create_task(second.registry.verdict(undecided, 5.0))
    await asyncio.sleep(0.1)
    await first.registry.closed(undecided)
    begin = time.monotonic()
    assert await asked is None
    assert time.monotonic() - begin < QUICK_S
    assert second.registry.counters["verdicts_unknown"] == 2


async def test_a_question_waits_no_longer_than_it_may(hosts: list[Host]) -> None:
    first, second, _ = hosts
    call = uuid4()
    await first.registry.opened(call)
    begin = time.monotonic()
    assert await second.registry.verdict(call, 0.3) is None
    assert 0.25 <= time.monotonic() - begin < 0.3 + QUICK_S
    assert second.registry.counters["verdicts_late"] == 1


async def test_a_call_runs_on_one_host(hosts: list[Host]) -> None:
    first, second, _ = hosts
    call = info()
    assert await first.registry.opened(call.uuid)
    assert not await second.registry.opened(call.uuid)
    assert second.registry.running == 0
    with pytest.raises(DuplicateCallError):
        await second.registry.announce(call)
    assert second.registry.announced == 0
    await second.registry.closed(call.uuid)  # not its own: it runs on
    assert not await second.registry.opened(call.uuid)
    await first.registry.closed(call.uuid)
    assert await second.registry.opened(call.uuid)


async def test_a_uuid_used_again_does_not_inherit_a_verdict(hosts: list[Host]) -> None:
    first, second, third = hosts
    call = uuid4()
    await first.registry.opened(call)
    await first.registry.decide(call, Verdict("menu"))
    await first.registry.closed(call)
    assert await second.registry.opened(call)
    await second.registry.closed(call)
    assert await third.registry.verdict(call, 0.2) is None


async def test_there_is_room_while_any_host_has_some(hosts: list[Host]) -> None:
    first, second, third = hosts
    first.state = third.state = HostState(calls=5, places=0)
    second.state = HostState(calls=3, places=2)
    await until(lambda: first.registry.hosts.elsewhere == HostState(calls=8, places=2))
    calls = [info() for _ in range(3)]
    await first.registry.announce(calls[0])
    assert first.registry.hosts.room
    await third.registry.announce(calls[1])
    assert third.registry.hosts.room
    await first.registry.announce(calls[2])
    assert not first.registry.hosts.room, "two places, and three calls are coming"
    await first.registry.withdraw(calls[2].uuid)
    # One comes: its place is taken the moment that it is no more on its way.
    second.state = HostState(calls=4, places=1)
    await second.registry.opened(calls[0].uuid)
    assert await second.registry.claim(calls[0].uuid) is not None
    await first.registry.announce(calls[2])
    assert not first.registry.hosts.room


async def test_a_host_that_is_gone_has_no_room(hosts: list[Host], redis_server: RedisServer) -> None:
    first = hosts[0]
    leaving = Host(redis_server)
    async with leaving.registry:
        await until(lambda: first.registry.hosts.elsewhere.places == 30)
    await until(lambda: first.registry.hosts.elsewhere.places == 20)
    killed = Host(redis_server)
    await killed.registry.__aenter__()
    await until(lambda: first.registry.hosts.elsewhere.places == 30)
    assert killed.registry._beating is not None
    killed.registry._beating.cancel()
    await until(lambda: first.registry.hosts.elsewhere.places == 20, 8.0)
    await killed.registry.link.close()


async def test_keys_have_no_number_and_all_of_it_expires(hosts: list[Host], redis: Redis) -> None:
    first, second, _ = hosts
    announced, running = info(), info()
    await first.registry.announce(announced)
    await first.registry.announce(running)
    await second.registry.opened(running.uuid)
    await second.registry.claim(running.uuid)
    await second.registry.decide(running.uuid, Verdict("transfer", "07700900123"))
    keys = await redis.keys("*")
    assert len(keys) == 8, "1 announced, those coming, 1 running, 1 verdict, 3 hosts and their list"
    for key in keys:
        assert 0 < await redis.ttl(key) <= 500, key
        assert b"7700900123" not in key
        assert b"2079460000" not in key
    values = [await redis.get(key) or b"" for key in keys if await redis.type(key) == b"string"]
    assert sum("Ann Example" in str(value) for value in values) == 1, "no longer than until the claim"


async def test_without_redis_a_host_is_by_itself_and_nobody_waits(
    hosts: list[Host], redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = hosts
    redis_server.kill()
    with caplog.at_level(logging.WARNING):
        await until(lambda: not first.registry.link.there and not second.registry.link.there)
    assert "Redis is away" in caplog.text
    assert redis_server.password not in caplog.text
    begin = time.monotonic()
    mine, others = info(), info()
    await first.registry.announce(mine)
    await first.registry.announce(others)
    assert await first.registry.opened(mine.uuid)
    assert await first.registry.claim(mine.uuid) == mine
    assert await second.registry.claim(others.uuid) is None
    await first.registry.decide(mine.uuid, Verdict("transfer", "2001"))
    assert first.registry.unasked == 1, "it would be lost with this host"
    await first.registry.closed(mine.uuid)
    assert await first.registry.verdict(mine.uuid) == Verdict("transfer", "2001")
    await first.registry.withdraw(others.uuid)
    assert time.monotonic() - begin < QUICK_S
    assert first.registry.hosts.elsewhere == HostState()
    begin = time.monotonic()
    assert await second.registry.verdict(mine.uuid, 0.3) is None
    assert time.monotonic() - begin < 0.3 + QUICK_S
    assert first.registry.counters["verdicts_kept_here"] == 1
    assert first.registry.link.counters["passed_over"] > 4


async def test_redis_that_comes_back_empty_is_told_what_is_true(hosts: list[Host], redis_server: RedisServer) -> None:
    first, second, _ = hosts
    before, during, decided = info(), info(), uuid4()
    await first.registry.announce(before)
    await first.registry.opened(decided)
    running = uuid4()
    await first.registry.opened(running)
    redis_server.kill()
    await until(lambda: not any(host.registry.link.there for host in hosts))
    await first.registry.announce(during)
    await first.registry.decide(decided, Verdict("menu"))
    redis_server.start()
    await until(lambda: all(host.registry.link.there for host in hosts))
    await until(lambda: second.registry.hosts.coming == 2)
    for call in (before, during):
        assert await second.registry.claim(call.uuid, 0) is not None
    assert await second.registry.verdict(decided) == Verdict("menu")
    assert not await second.registry.opened(running)
    await until(lambda: second.registry.hosts.elsewhere.places == 20)
    assert first.registry.link.counters["came_back"] == 1
    assert first.registry.unasked == 0


async def test_redis_that_stands_still_costs_one_wait_and_mixes_nothing_up(
    hosts: list[Host], redis_server: RedisServer
) -> None:
    first, second, _ = hosts
    calls = [uuid4() for _ in range(20)]
    for number, call in enumerate(calls):
        await first.registry.opened(call)
        await first.registry.decide(call, Verdict("transfer", str(number)))
    redis_server.stand_still(True)
    begin = time.monotonic()
    answers = await asyncio.gather(*(second.registry.verdict(call, 0.2) for call in calls))
    assert answers == [None] * 20
    assert time.monotonic() - begin < 1.5
    begin = time.monotonic()
    await second.registry.announce(info())
    assert time.monotonic() - begin < QUICK_S
    redis_server.stand_still(False)
    await until(lambda: second.registry.link.there)
    answers = await asyncio.gather(*(second.registry.verdict(call, 1.0) for call in calls))
    assert answers == [Verdict("transfer", str(number)) for number in range(20)]


async def test_what_cannot_be_read_is_counted(hosts: list[Host], redis: Redis) -> None:
    first = hosts[0]
    call, other = uuid4(), uuid4()
    await redis.set(f"{{voice-agent}}:call:{call}", b"\xff not JSON", ex=60)
    await redis.set(f"{{voice-agent}}:verdict:{other}", b'{"action": "transfer", "target": "20,${X}"}', ex=60)
    assert await first.registry.claim(call, 0) is None
    assert await first.registry.verdict(other, 0.2) is None
    assert first.registry.counters["unreadable"] == 2
