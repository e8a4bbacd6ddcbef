"""The registry that several hosts share: by Redis, with each host's own memory first.

The dialplan's questions and a call's audio may come to different hosts. So what one of them knows lies in Redis too:

* `<prefix>:call:<uuid>`: the announcement, taken out by the host that the audio comes to;
* `<prefix>:coming`: the UUIDs of those that nobody has claimed, by when they expire;
* `<prefix>:running:<uuid>`: the host whose call it is;
* `<prefix>:verdict:<uuid>`: what the dialplan is to do next;
* `<prefix>:host:<name>`, `<prefix>:hosts`: `hosts.py`.

No key has a number in it, each has an end, and numbers and names lie in Redis only from the announcement to the claim.
The prefix stands in braces, so that a cluster keeps all of it in one place.

While Redis is away each host is by itself: a call that was announced to another one is a call that nobody announced, a
verdict is found where it was made, and nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from agent.telephony.hosts import Hosts, HostState
from agent.telephony.redis_link import RedisAwayError, RedisLink
from agent.telephony.registry import (
    POLL_NS,
    CallInfo,
    CallRegistry,
    DuplicateCallError,
    MetadataSource,
    Verdict,
)

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

EXPIRY_S = 60
"""Of announcements and verdicts."""
RUNNING_S = 30
"""Of the note that a call is running, which its host renews."""
RENEW_S = 10.0
BEAT_S = 1.0
"""Between two words of this host, while nothing changes."""
SOON_S = 0.1
"""Between two words of it at least."""
AWAY_S = 0.25
"""Between two attempts to reach Redis."""
UNSENT = 1000
"""Verdicts that wait for Redis; beyond them the oldest stays on its host."""

_ANNOUNCE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[3] + 1)
return redis.call('ZCARD', KEYS[3])
"""
"""Keys: call, running, coming. Arguments: what is known, UUID, seconds. Returns how many are coming; -1: it runs."""

_OPEN = """
local host = redis.call('GET', KEYS[1])
if host and host ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
"""
"""Keys: running, verdict. Arguments: this host, seconds. Returns 0 where it runs on another host."""

_CLOSE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('EXPIRE', KEYS[2], ARGV[2])
"""
"""Keys: running, verdict. Arguments: this host, seconds."""


class RedisRegistry:
    """`async with RedisRegistry(url, own) as registry:` is a `Registry` (`registry.py`) of one of several hosts.

    `counters` are those of `CallRegistry`, and `claimed_here_announced_elsewhere`, `claimed_elsewhere`,
    `verdicts_elsewhere` (found in Redis), `verdicts_kept_here` (Redis did not get them), `unreadable`.
    """

    def __init__(
        self,
        url: str,
        own: Callable[[], HostState] = HostState,
        *,
        prefix: str = "voice-agent",
        metadata: MetadataSource | None = None,
        on_dropped: Callable[[CallInfo], None] | None = None,
    ) -> None:
        """`own` says how this host is, for the others: without a place, unless given.

        Raises `ValueError` where the URL is none of Redis.
        """
        self._prefix = f"{{{prefix}}}"
        self.link = RedisLink(url)
        self.hosts = Hosts(self.link, own, prefix=self._prefix)
        self._on_dropped = on_dropped
        self._local = CallRegistry(metadata=metadata, expiry_s=EXPIRY_S, on_dropped=self._dropped)
        self._shared: dict[UUID, int] = {}
        """Announced here, and in which epoch of Redis it was told."""
        self._running: set[UUID] = set()
        self._unsent: OrderedDict[UUID, tuple[Verdict, float]] = OrderedDict()
        """Verdicts that Redis has not got, and until when they are of use (CLOCK_MONOTONIC, s)."""
        self._beating: asyncio.Task[None] | None = None
        self._renewed = (0, 0.0)

    def __repr__(self) -> str:
        return f"RedisRegistry({self._local!r}, there={self.link.there})"

    async def __aenter__(self) -> RedisRegistry:
        """Look for Redis once; being away is no error."""
        with contextlib.suppress(RedisAwayError):
            await self._beat()
        self._beating = asyncio.create_task(self._keep_beating(), name="hosts")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._beating is not None
        self._beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beating
        with contextlib.suppress(RedisAwayError):
            await self.link.ask(self.hosts.put_gone)
        await self.link.close()

    # -- what is known here ------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counter[str]:
        """What happened, by name."""
        return self._local.counters

    @property
    def announced(self) -> int:
        """Calls that were announced to this host, and have come to none."""
        return self._local.announced

    @property
    def running(self) -> int:
        """Calls of this host."""
        return self._local.running

    @property
    def unasked(self) -> int:
        """Verdicts of calls that ended a moment ago, were not asked for, and are nowhere but here."""
        return self._local.unasked

    def sweep(self) -> None:
        """Drop what has expired here; Redis does so by itself."""
        self._local.sweep()

    def _dropped(self, info: CallInfo) -> None:
        self._shared.pop(info.uuid, None)
        if self._on_dropped is not None:
            self._on_dropped(info)

    # -- announcements -----------------------------------------------------------------------------------------------

    async def announce(self, info: CallInfo) -> None:
        """Expect this call, on any host; and learn how many are coming, and how the other hosts are."""
        await self._local.announce(info)
        names = self.hosts.known

        def put(pipe: Pipeline) -> None:
            self._put_announcement(pipe, info)
            self.hosts.put_look(pipe, names)

        try:
            coming, states = await self.link.ask(put)
        except RedisAwayError:
            return
        self.hosts.seen(names, states)
        if coming < 0:
            self.counters["duplicate"] += 1
            await self._local.withdraw(info.uuid)
            raise DuplicateCallError(f"call {info.uuid} is running already")
        self.hosts.coming = coming
        self._shared[info.uuid] = self.link.epoch

    async def withdraw(self, uuid: UUID) -> None:
        """Forget an announced call that will not come."""
        await self._local.withdraw(uuid)
        with contextlib.suppress(RedisAwayError):
            await self.link.ask(lambda pipe: self._put_taken(pipe, uuid))

    async def claim(self, uuid: UUID, wait_s: float = 1.0) -> CallInfo | None:
        """The announcement, from whichever host it came; `wait_s` is for a metadata file of this host."""
        epoch = self._shared.pop(uuid, None)
        told: bytes | None = None
        with contextlib.suppress(RedisAwayError):
            told, _ = await self.link.ask(lambda pipe: self._put_taken(pipe, uuid))
            if told is None and epoch == self.link.epoch:  # it was there, and nobody but a claim takes it away
                self._claimed_elsewhere(uuid)
        if told is not None and not self._local.expects(uuid):
            info = _unpacked(uuid, told)
            if info is not None:
                self.counters["claimed"] += 1
                self.counters["claimed_here_announced_elsewhere"] += 1
                return info
            self.counters["unreadable"] += 1
        return await self._local.claim(uuid, wait_s)

    def _put_announcement(self, pipe: Pipeline, info: CallInfo) -> None:
        keys = (self._key("call", info.uuid), self._key("running", info.uuid), self._coming)
        pipe.eval(_ANNOUNCE, len(keys), *keys, _packed(info), str(info.uuid), EXPIRY_S)

    def _put_taken(self, pipe: Pipeline, uuid: UUID) -> None:
        """Take an announcement out: two answers, what it was and whether it was coming."""
        pipe.getdel(self._key("call", uuid))
        pipe.zrem(self._coming, str(uuid))

    def _claimed_elsewhere(self, uuid: UUID) -> None:
        if self._local.forget(uuid):
            self.counters["claimed_elsewhere"] += 1

    # -- calls -------------------------------------------------------------------------------------------------------

    async def opened(self, uuid: UUID) -> bool:
        """Note that the call runs here; False when it runs already, on whichever host."""
        if not await self._local.opened(uuid):
            return False
        self._unsent.pop(uuid, None)
        keys = (self._key("running", uuid), self._key("verdict", uuid))

        def put(pipe: Pipeline) -> None:
            pipe.eval(_OPEN, len(keys), *keys, self.hosts.name, RUNNING_S)
            self.hosts.put_own(pipe)

        try:
            mine = (await self.link.ask(put))[0]
        except RedisAwayError:
            mine = 1
        if not mine:
            self.counters["duplicate"] += 1
            await self._local.closed(uuid)
            return False
        self._running.add(uuid)
        return True

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Leave the verdict here and in Redis; where Redis is away it gets it when it is back, if it is of use then."""
        await self._local.decide(uuid, verdict)
        try:
            await self.link.ask(lambda pipe: self._put_verdict(pipe, uuid, verdict, EXPIRY_S))
        except RedisAwayError:
            self.counters["verdicts_kept_here"] += 1
            self._unsent[uuid] = (verdict, time.monotonic() + EXPIRY_S)
            if len(self._unsent) > UNSENT:
                self._unsent.popitem(last=False)
        else:
            self._unsent.pop(uuid, None)
            self._local.kept_elsewhere(uuid)

    async def closed(self, uuid: UUID) -> None:
        """Note that the call is over; its verdict is kept for a minute from now."""
        await self._local.closed(uuid)
        self._running.discard(uuid)
        keys = (self._key("running", uuid), self._key("verdict", uuid))
        with contextlib.suppress(RedisAwayError):
            await self.link.ask(lambda pipe: pipe.eval(_CLOSE, len(keys), *keys, self.hosts.name, EXPIRY_S))
        self.hosts.changed.set()

    async def verdict(self, uuid: UUID, wait_s: float = 1.0) -> Verdict | None:
        """What the dialplan is to do, whichever host decided; Redis is given `wait_s` to come back too."""
        if self._local.knows(uuid):
            return await self._local.verdict(uuid, wait_s)
        due = time.monotonic()
        until = due + wait_s
        while True:
            running = 1
            with contextlib.suppress(RedisAwayError):
                told, running = await self.link.ask(
                    lambda pipe: (pipe.get(self._key("verdict", uuid)), pipe.exists(self._key("running", uuid)))
                )
                if told is not None:
                    return self._found(told)
            due += POLL_NS / 1e9
            if not running or due > until:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.counters["verdicts_late" if running else "verdicts_unknown"] += 1
        return None

    def _found(self, told: bytes) -> Verdict | None:
        try:
            verdict = Verdict(**orjson.loads(told))
        except (ValueError, TypeError):
            self.counters["unreadable"] += 1
            return None
        self.counters["verdicts_elsewhere"] += 1
        return verdict

    def _put_verdict(self, pipe: Pipeline, uuid: UUID, verdict: Verdict, seconds: int) -> None:
        values = {"action": verdict.action, "target": verdict.target, "reason": verdict.reason}
        pipe.set(self._key("verdict", uuid), orjson.dumps(values), ex=seconds)

    # -- once a second -----------------------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            pause_s = BEAT_S if self.link.there else AWAY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.hosts.changed.wait()
            self.hosts.changed.clear()
            with contextlib.suppress(RedisAwayError):
                await self._beat()
            await asyncio.sleep(SOON_S)

    async def _beat(self) -> None:
        """Say how this host is, look at the others, renew what is running, and notice what other hosts have claimed."""
        epoch, known = self.link.epoch, self.hosts.known
        waiting = [uuid for uuid, told in self._shared.items() if told == epoch]

        def put(pipe: Pipeline) -> None:
            for uuid in waiting:
                pipe.zscore(self._coming, str(uuid))
            pipe.zcard(self._coming)
            self.hosts.put_look(pipe, known)
            self.hosts.put_index(pipe)
            self.hosts.put_own(pipe)

        answers = await self.link.probe(put)
        if self.link.epoch == epoch:
            for uuid, score in zip(waiting, answers, strict=False):
                if score is None and uuid in self._shared:
                    del self._shared[uuid]
                    self._claimed_elsewhere(uuid)
        self.hosts.coming, states, names, *_ = answers[len(waiting) :]
        gone = self.hosts.seen(known, states)
        self.hosts.heed_index(names)
        await self._renew(gone)

    async def _renew(self, gone: tuple[str, ...]) -> None:
        """What Redis loses in time, or has lost: calls that run, announcements and verdicts that it never got."""
        epoch, at = self._renewed
        now = time.monotonic()
        back = epoch != self.link.epoch
        if not back and now < at + RENEW_S and not gone:
            return
        unsent = [(uuid, verdict, round(until - now)) for uuid, (verdict, until) in self._unsent.items()]
        announced = self._local.expected() if back else []

        def put(pipe: Pipeline) -> None:
            self.hosts.put_own(pipe)
            self.hosts.put_forget(pipe, gone)
            for uuid in self._running:
                pipe.set(self._key("running", uuid), self.hosts.name, ex=RUNNING_S)
            for uuid, verdict, seconds in unsent:
                if seconds > 0:
                    self._put_verdict(pipe, uuid, verdict, seconds)
            for info in announced:
                self._put_announcement(pipe, info)

        await self.link.ask(put)
        for uuid, _, _ in unsent:
            self._unsent.pop(uuid, None)
            self._local.kept_elsewhere(uuid)
        for info in announced:
            if self._local.expects(info.uuid):
                self._shared[info.uuid] = self.link.epoch
        self._renewed = (self.link.epoch, now)

    # -- keys --------------------------------------------------------------------------------------------------------

    @property
    def _coming(self) -> str:
        return f"{self._prefix}:coming"

    def _key(self, what: str, uuid: UUID) -> str:
        return f"{self._prefix}:{what}:{uuid}"


_TEXTS = ("did", "caller_id", "caller_name", "unique_id", "linked_id", "channel", "source")


def _packed(info: CallInfo) -> bytes:
    return orjson.dumps({name: getattr(info, name) for name in _TEXTS})


def _unpacked(uuid: UUID, told: bytes) -> CallInfo | None:
    try:
        values: dict[str, Any] = orjson.loads(told)
        texts = {name: values[name] for name in _TEXTS if isinstance(values.get(name), str)}
    except (ValueError, AttributeError):
        return None
    return CallInfo(uuid, **texts)
