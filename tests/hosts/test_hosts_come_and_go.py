"""Hosts behind HAProxy, with one Redis and one PostgreSQL: one dies, one is drained, one comes, and calls go on."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from agent.sandbox.caller import CallPlan, CallResult, SimulatedCaller, parse_script
from agent.sandbox.caller.agi import Dialplan
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from fastaudio import load
from fastaudio.load import call_uuid
from tests.chaos.conversation import SURNAMES, WITH_TARGET, lines_of
from tests.hosts.cluster import HERE, Cluster
from tests.hosts.servers import MissingProgramError, RedisServer, program
from tests.stalls import Stalls

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

QUIET = 50
TALKERS = 10
DID = WITH_TARGET.numbers[0]
SECONDS = 50.0


@pytest.fixture
async def cluster(tmp_path: Path, redis_server: RedisServer, postgres_url: str) -> AsyncIterator[Cluster]:
    """Four hosts that HAProxy knows, none of them started."""
    try:
        program("haproxy", "haproxy")
    except MissingProgramError as error:
        pytest.skip(str(error))
    async with Cluster(tmp_path, redis_server, postgres_url, 4) as running:
        yield running


def dialplan(cluster: Cluster) -> Dialplan:
    return Dialplan(HERE, cluster.ports["FASTAGI"], did=DID, caller_id="+447700900123")


@dataclass
class Talkers:
    """Callers who book, one call after the other, until `enough`."""

    cluster: Cluster
    results: dict[str, CallResult] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    enough: bool = False
    may_call: asyncio.Event = field(default_factory=asyncio.Event)
    talking: int = 0
    _ears: ToneRecogniser = field(default_factory=ToneRecogniser)
    _voice: ToneVoice = field(default_factory=ToneVoice)

    async def talk(self, first_name: str) -> None:
        for surname in SURNAMES * 3:
            await self.may_call.wait()
            if self.enough:
                return
            await self.call(f"{first_name} {surname}{'' if f'{first_name} {surname}' not in self.begun else 'son'}")

    async def call(self, name: str, lines: int = 3) -> CallResult:
        """Say so many lines of a booking; who has not said all of them hangs up."""
        first, second, third = lines_of(name)
        said = (f"say: {first}", f'when "what name": say: {second}', f'when "anything else": say: {third}')
        script = "\n".join((*said[:lines], *(["hangup"] if lines < len(said) else [])))
        plan = CallPlan(
            port=self.cluster.ports["LISTEN"], fastagi_port=self.cluster.ports["FASTAGI"], did=DID,
            caller_id="+447700900123", patience_s=10.0, linger_s=5.0, longest_s=60.0,
        )  # fmt: skip
        self.begun.add(name)
        self.talking += 1
        try:
            result = await SimulatedCaller(plan, parse_script(script), self._voice, self._ears).run()
        finally:
            self.talking -= 1
        self.results[name] = result
        return result


async def test_hosts_die_come_and_drain_while_sixty_calls_run(cluster: Cluster) -> None:
    first, second, third, fourth = cluster.hosts
    await cluster.start(first, second, third)
    prefix = os.urandom(12)
    quiet = [call_uuid(prefix, number) for number in range(QUIET)]
    for call in quiet:
        assert (await dialplan(cluster).start(call))["VOICE_AGENT_STATUS"] == "OK"
    phase = ""

    def progress(now: load.Progress) -> None:
        nonlocal phase
        phase = now.phase

    talkers = Talkers(cluster)
    talkers.may_call.set()
    with Stalls() as stalls:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(
                asyncio.to_thread(
                    load.run, HERE, cluster.ports["LISTEN"], calls=QUIET, seconds=SECONDS, warmup=1.0,
                    talk_percent=0, calls_a_second=25, uuid_prefix=prefix, on_progress=progress,
                )
            )  # fmt: skip
            for number in range(TALKERS):
                group.create_task(talkers.talk(f"{'ABCDEFGHIJ'[number]}lex"))
            await cluster.until(lambda: phase == "measuring", 30)
            spread = [await host.calls() for host in (first, second, third)]
            assert min(spread) > 0.7 * max(spread), spread
            assert QUIET < sum(spread) <= QUIET + TALKERS

            # One dies. Its calls are over, the dialplan hears so within a second, and no other call goes there.
            clock = time.monotonic
            await third.agent.kill()
            killed = clock()
            lost = third.began()
            died = lost & {str(call) for call in quiet}
            assert (await dialplan(cluster).next(UUID(min(died))))["VOICE_AGENT_NEXT"] == "UNKNOWN"
            took = {"next of a call that died": clock() - killed}
            assert clock() - killed < 1.5 + stalls.longest_ms / 1000
            await cluster.until(lambda: cluster.status("calls", third) == "DOWN", 5)
            took["the balancer knows that a host died, at most"] = clock() - killed
            since_it_died = set(talkers.begun)

            # One comes, and takes calls: it has the fewest.
            await cluster.start(fourth)
            await cluster.until(fourth.began, 15)

            # Redis dies: each call that comes now is answered all the same. It comes back, empty.
            talkers.may_call.clear()
            await cluster.until(lambda: not talkers.talking, 30)
            registry = [await host.agent.metrics() for host in (first, second, fourth)]
            cluster.redis.kill()
            answered = await asyncio.gather(*(talkers.call(f"Redis {number}", 1) for number in range(4)))
            assert [result.failure for result in answered] == [""] * 4
            cluster.redis.start()
            begin = clock()
            await cluster.meet(first, second, fourth)
            took["hosts know each other again after Redis came back"] = clock() - begin

            # One is drained: it gets no more calls, and those that it has are not cut short.
            before = second.began()
            second.agent.terminate()
            begin = clock()
            await cluster.until(lambda: cluster.status("calls", second) == "NOLB", 5)
            took["the balancer knows that a host is drained"] = clock() - begin
            assert second.began() == before
            drained = await second.calls()
            assert phase == "measuring", "the quiet calls are to see all of it"
            assert drained > QUIET / 5
            talkers.may_call.set()
            last = set(talkers.begun)
            await cluster.until(lambda: len(talkers.begun) >= len(last) + TALKERS, 15)
            talkers.enough = True
        report = listening.result()

    print(f"\n{QUIET} quiet calls, {len(talkers.results)} that talked, {len(died)} quiet ones lost with their host")
    print(f"spread {spread}; the longest gap in any call {report.gap_max_ms:.0f} ms, ", end="")
    print(f"of which this machine stood still for {stalls.longest_ms:.0f} ms")
    print({what: f"{seconds:.2f} s" for what, seconds in took.items()})

    # The quiet ones: those of the host that died are over, and nobody else has noticed anything.
    assert report.ended_early == len(died) > 10, report
    assert report.silent == 0
    # Nine processes share this machine with whatever else it does. Audio that was cut would be away for longer.
    assert report.gap_max_ms < 200 + 2 * stalls.longest_ms + report.lag_max_ms, report

    # The drained host stops by itself when its last call is over, and told nobody to hang up.
    assert await second.agent.ended(20)
    assert second.agent.exit_status == 0
    assert "they hear a goodbye" not in second.agent.complaints()
    assert second.began() == before
    assert third.began() == lost

    # The others have talked to the end, but those on the host that died.
    failed = {name for name, result in talkers.results.items() if result.failure}
    assert failed == {name for name, result in talkers.results.items() if str(result.call) in lost and result.failure}
    assert failed < since_it_died
    assert len(talkers.results) - len(failed) >= 2 * TALKERS

    # Every booking that was ordered is there once; what a host had on its own disk when it died waits for it.
    booked, asked = Counter(await cluster.booked()), set(await cluster.asked())
    assert set(booked.values()) == {1}
    assert booked.keys() <= asked
    assert asked - booked.keys() <= failed

    # Hosts have taken calls, and answered questions, of which another one was told.
    for what in ("claimed_here_announced_elsewhere", "claimed_elsewhere", "verdicts_elsewhere"):
        assert sum(page[f'voice_agent_registry_total{{what="{what}"}}'] for page in registry) > 0, what
