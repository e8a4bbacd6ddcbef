"""The registry: announcements, running calls and verdicts, with their limits and times."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID, uuid4

import pytest

from agent.telephony import CallInfo, CallRegistry, DuplicateCallError, RegistryFullError, Verdict


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def move(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class Files:
    """Metadata that is there from the `after`-th look on."""

    def __init__(self, info: CallInfo, after: int) -> None:
        self.info = info
        self.looks = 0
        self.after = after

    def take(self, uuid: UUID) -> CallInfo | None:
        self.looks += 1
        return self.info if uuid == self.info.uuid and self.looks > self.after else None


async def test_an_announced_call_is_claimed_once() -> None:
    registry = CallRegistry()
    info = CallInfo(uuid4(), did="02012345678", source="fastagi")
    await registry.announce(info)
    assert registry.announced == 1
    assert await registry.claim(info.uuid) is info
    assert await registry.claim(info.uuid) is None
    assert registry.announced == 0
    assert registry.counters["unannounced"] == 1


async def test_nothing_is_waited_for_where_no_file_can_come() -> None:
    begin = time.monotonic()
    assert await CallRegistry().claim(uuid4()) is None
    assert time.monotonic() - begin < 0.1


async def test_a_file_is_awaited_every_50_ms() -> None:
    info = CallInfo(uuid4(), source="file")
    files = Files(info, after=3)
    begin = time.monotonic()
    assert await CallRegistry(metadata=files).claim(info.uuid) is info
    assert files.looks == 4
    assert 0.14 <= time.monotonic() - begin < 0.5


async def test_a_file_that_never_comes_costs_one_second() -> None:
    files = Files(CallInfo(uuid4()), after=0)
    begin = time.monotonic()
    assert await CallRegistry(metadata=files).claim(uuid4()) is None
    assert 0.95 <= time.monotonic() - begin < 1.5
    assert files.looks == 21


async def test_an_announcement_that_comes_during_the_wait_is_taken() -> None:
    info = CallInfo(uuid4(), source="fastagi")
    registry = CallRegistry(metadata=Files(CallInfo(uuid4()), after=99))
    claim = asyncio.create_task(registry.claim(info.uuid))
    await asyncio.sleep(0.02)
    await registry.announce(info)
    assert await claim is info


async def test_announcements_expire_and_are_told_of() -> None:
    clock, dropped = Clock(), list[CallInfo]()
    registry = CallRegistry(clock_ns=clock, on_dropped=dropped.append)
    info = CallInfo(uuid4())
    await registry.announce(info)
    clock.move(59.9)
    assert registry.announced == 1
    clock.move(0.2)
    assert registry.announced == 0
    assert dropped == [info]
    assert registry.counters["expired"] == 1
    assert await registry.claim(info.uuid) is None


async def test_the_number_of_announcements_is_limited() -> None:
    registry = CallRegistry(max_announced=2)
    first = CallInfo(uuid4())
    await registry.announce(first)
    await registry.announce(CallInfo(uuid4()))
    with pytest.raises(RegistryFullError):
        await registry.announce(CallInfo(uuid4()))
    await registry.announce(first)
    await registry.withdraw(first.uuid)
    await registry.announce(CallInfo(uuid4()))
    assert registry.counters == {"announced": 4, "full": 1, "withdrawn": 1}


async def test_a_running_call_cannot_be_announced_or_opened_again() -> None:
    registry = CallRegistry()
    info = CallInfo(uuid4())
    assert await registry.opened(info.uuid)
    assert not await registry.opened(info.uuid)
    with pytest.raises(DuplicateCallError):
        await registry.announce(info)
    await registry.closed(info.uuid)
    await registry.announce(info)


async def test_a_verdict_is_kept_and_repeated_until_it_expires() -> None:
    clock = Clock()
    registry = CallRegistry(clock_ns=clock)
    call = uuid4()
    await registry.opened(call)
    await registry.decide(call, Verdict("transfer", "2001"))
    clock.move(50)
    await registry.closed(call)
    clock.move(59)
    assert await registry.verdict(call) == Verdict("transfer", "2001")
    assert await registry.verdict(call) == Verdict("transfer", "2001")
    clock.move(2)
    assert await registry.verdict(call) is None
    assert registry.counters["verdicts_expired"] == 1


async def test_a_running_call_is_given_time_to_decide() -> None:
    registry = CallRegistry()
    call = uuid4()
    await registry.opened(call)
    asked = asyncio.create_task(registry.verdict(call, 1.0))
    await asyncio.sleep(0.02)
    assert not asked.done()
    await registry.decide(call, Verdict("menu"))
    assert await asked == Verdict("menu")


async def test_a_call_that_ends_undecided_is_answered_at_once() -> None:
    registry = CallRegistry()
    call = uuid4()
    await registry.opened(call)
    asked = asyncio.create_task(registry.verdict(call, 5.0))
    await asyncio.sleep(0.02)
    await registry.closed(call)
    async with asyncio.timeout(1):
        assert await asked is None


async def test_a_call_that_never_decides_costs_the_wait_alone() -> None:
    registry = CallRegistry()
    call = uuid4()
    await registry.opened(call)
    assert await registry.verdict(call, 0.05) is None
    assert registry.counters["verdicts_late"] == 1
    assert await registry.verdict(uuid4(), 5.0) is None


async def test_the_number_of_verdicts_is_limited() -> None:
    registry = CallRegistry(max_verdicts=2)
    calls = [uuid4() for _ in range(3)]
    for call in calls:
        await registry.decide(call, Verdict("hangup"))
    assert [await registry.verdict(call) is not None for call in calls] == [False, True, True]


async def test_verdicts_that_nobody_has_asked_for_yet_are_known_for_a_moment() -> None:
    now_ns = 10**12
    registry = CallRegistry(clock_ns=lambda: now_ns)
    asked, unasked, hung_up = uuid4(), uuid4(), uuid4()
    for call, reason in ((asked, "agent"), (unasked, "agent"), (hung_up, "caller")):
        await registry.opened(call)
        await registry.decide(call, Verdict("hangup", reason=reason))
    assert await registry.verdict(asked) is not None
    for call in (asked, unasked, hung_up):
        await registry.closed(call)
    assert registry.unasked == 1, "a caller who has hung up has no dialplan left to ask"
    now_ns += 2 * 10**9
    assert registry.unasked == 0


async def test_a_uuid_used_again_does_not_inherit_a_verdict() -> None:
    registry = CallRegistry()
    call = uuid4()
    await registry.decide(call, Verdict("transfer", "2001"))
    await registry.opened(call)
    await registry.closed(call)
    assert await registry.verdict(call) is None


@pytest.mark.parametrize("target", ["", "a b", "20${X}", "2001,1", "2" * 65, "²", "1\n"])
def test_a_transfer_goes_to_an_extension_only(target: str) -> None:
    with pytest.raises(ValueError):
        Verdict("transfer", target)


def test_an_action_is_one_of_three() -> None:
    with pytest.raises(ValueError):
        Verdict("Hangup")  # type: ignore[arg-type]


async def test_numbers_and_names_are_not_shown() -> None:
    info = CallInfo(uuid4(), "02012345678", "07700900123", "Ann Example", "1.1", "1.1", "PJSIP/07700900123-1")
    registry = CallRegistry()
    await registry.announce(info)
    shown = f"{info!r} {info} {registry!r} {Verdict('transfer', '07700900123')!r}"
    assert "0770" not in shown
    assert "0201" not in shown
    assert "Ann" not in shown
