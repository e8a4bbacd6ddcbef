"""The outbox of a running agent: keeps bookings, sends them, and tells who waits what came of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from agent.tools.api import ask
from agent.tools.outbox.entry import NOTICES, Entry, Kind, NewNotice, OutboxError, Pace, Target, Verdict
from agent.tools.outbox.store import OutboxStore
from agent.tools.outbox.verdict import judge, judge_failure, pause_s

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENT_ATTEMPTS: Final = 2
"""Who waits for a row is told after so many attempts that it will take longer."""
LATE_409: Final = 12
LATE_409_S: Final = 600.0
"""Attempts, and a time, after which an API that says it is still at work on an earlier one is no longer believed."""
CLOSE_S: Final = 5.0
CLOSE_ONLY_S: Final = 20.0
"""The same where keys are not honoured: what is given up is uncertain."""
HOUSEKEEPING_S: Final = 3600.0
_TOLD_STATES: Final = ("accepted", "refused", "uncertain", "dropped")


@dataclass(frozen=True, slots=True)
class _Turn:
    claimed: list[Entry]
    alerts: list[tuple[str, Entry]]
    recovered: int
    given_up: list[Entry]
    next_due: float | None


class Outbox:
    """`async with Outbox(directory, targets) as outbox:`; one event loop owns it, a thread of its own does the disk.

    Entering and `keep` raise `OutboxError` when the disk fails. Any number of processes may share a directory: each row
    is sent by one at a time.
    """

    def __init__(
        self,
        directory: Path,
        targets: Mapping[Kind, Target],
        *,
        pace: Pace | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`targets` says where bookings go, and alerts and notices where anybody wants them."""
        self.pace = pace or Pace()
        self.counters: Counter[str] = Counter()
        """`kept`, `not_kept`, `attempts`, `accepted`, `refused`, `lost`, `later`, `recovered`, `alerted_refused`,
        `alerted_uncertain`, `alerted_held_up`, `disk_errors`, `forgotten`. Notices are counted in `told_of`."""
        self.told_of: Counter[tuple[Kind, str]] = Counter()
        """Attempts at notices by kind and result: `kept`, `accepted`, `refused`, `dropped`, `later`, `given_up`."""
        self._notice_pace = replace(
            self.pace,
            first_pause_s=self.pace.notice_first_pause_s,
            longest_pause_s=self.pace.notice_longest_pause_s,
        )
        self._directory = directory
        self._targets = dict(targets)
        self._chance = chance or random.Random()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._store: OutboxStore
        self._http: aiohttp.ClientSession
        self._loop_task: asyncio.Task[None]
        self._sending: dict[asyncio.Task[None], Entry] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        """Replaced each time a row changes: who waits for one looks again."""
        self._counts: dict[str, int] = {}
        self._oldest: dict[str, float] = {}  # by kind
        self._notices: dict[str, dict[str, int]] = {}
        self._version = (0, -1)
        self._disk_failed = False
        self._closing = False

    async def __aenter__(self) -> Outbox:
        self._store = await self._disk(lambda: OutboxStore(self._directory, self.pace))
        try:
            await self._disk(self._take_stock)
        except BaseException:
            await self._disk(self._store.close)
            raise
        # A connection that an API closes just as it is used again would be a lost answer: each request has its own.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._loop_task = asyncio.create_task(self._run(), name="outbox")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing new and give what is under way a moment; the rest is for the next process."""
        self._closing = True
        self._wake.set()
        await self._loop_task
        if self._sending:
            honoured = all(target.honours_keys for target in self._targets.values())
            await asyncio.wait(self._sending, timeout=CLOSE_S if honoured else CLOSE_ONLY_S)
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._http.close()
        await self._disk(self._store.close)
        self._thread.shutdown()

    # -- for tools -----------------------------------------------------------------------------------------------------

    async def keep(self, key: str, body: Mapping[str, str], *, did: str = "", call_uuid: str = "") -> Entry:
        """Write a booking to the disk, to be sent at once; return its row. The same key again is the same row.

        It is safe when this returns. Raises `OutboxError` when it cannot be kept.
        """
        try:
            entry, is_new = await self._disk(
                lambda: self._store.keep(key, body, did=did, call_uuid=call_uuid, now=time.time())
            )
        except OutboxError:
            self.counters["not_kept"] += 1
            raise
        self.counters["kept"] += is_new
        self._wake.set()
        return entry

    async def put(self, notices: Sequence[NewNotice]) -> int:
        """Write notices to the disk, all or none, to be sent soon; return how many are new: the same key again is the
        same notice. Raises `OutboxError` when they cannot be kept, or too many wait already.
        """
        new = await self._disk(lambda: self._store.put(notices, now=time.time()))
        for notice in notices if new else ():
            self.told_of[notice.kind, "kept"] += 1
        self._wake.set()
        return new

    async def wait(self, key: str, seconds: float, *, after: int = 0) -> Entry:
        """Wait until something came of a row, at most so long; return it as it is then.

        What will not be tried again in time, or has failed twice more than `after`, is not waited for. Raises
        `OutboxError`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            changed = self._settled
            entry = await self._disk(lambda: self._store.get(key))
            left = until - loop.time()
            hopeless = entry.state == "waiting" and (
                entry.attempts - after >= PATIENT_ATTEMPTS or (entry.attempts > 0 and entry.due_at - time.time() > left)
            )
            if entry.state in _TOLD_STATES or left <= 0 or hopeless:
                return entry
            try:
                # Another process may be sending it, which tells nobody here.
                async with asyncio.timeout(min(left, self.pace.poll_s / 4)):
                    await changed.wait()
            except TimeoutError:
                pass

    async def told(self, key: str) -> None:
        """The call goes on and knows of a refusal. A disk that fails now makes for an alert too many."""
        try:
            await self._disk(lambda: self._store.told(key))
        except OutboxError as error:
            log.warning("%s", error)

    # -- for operators -------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Bookings by state, as of the last change or `poll_s` ago; see `OutboxStore.counts`."""
        return dict(self._counts)

    def notices(self) -> dict[str, dict[str, int]]:
        """Notices by kind and state; see `OutboxStore.notices`."""
        return {kind: dict(states) for kind, states in self._notices.items()}

    def oldest_s(self, kind: Kind = "booking") -> float:
        """How long the oldest one has waited that nobody has accepted yet, s; 0 when none waits."""
        return max(0.0, time.time() - self._oldest[kind]) if kind in self._oldest else 0.0

    # -- sending -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Send what is due; look again when something is kept, an attempt is over, or some time has passed."""
        tidied = 0.0
        while not self._closing:
            self._wake.clear()
            due_in = self.pace.poll_s
            try:
                turn = await self._disk(partial(self._turn, self._room(), list(self._sending.values())))
                for entry in turn.claimed:
                    self._send(entry)
                self._tell(turn)
                if turn.next_due is not None:
                    due_in = min(due_in, max(0.01, turn.next_due - time.time()))
                if not tidied or time.monotonic() - tidied > HOUSEKEEPING_S:
                    tidied = time.monotonic()
                    self.counters["forgotten"] += await self._disk(lambda: self._store.forget(now=time.time()))
                self._disk_failed = False
            except OutboxError as error:
                # Once for each time that it begins: it may last for days.
                log.log(logging.DEBUG if self._disk_failed else logging.ERROR, "bookings cannot be sent: %s", error)
                self._disk_failed = True
            try:
                async with asyncio.timeout(due_in):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _room(self) -> dict[Kind, tuple[int, int]]:
        """How many rows of each kind may be sent now, fresh ones and others. No kind takes another's places."""
        room = {}
        for kind, target in self._targets.items():
            sending = [entry for entry in self._sending.values() if entry.kind == kind]
            fresh = sum(entry.attempts == 1 for entry in sending)
            room[kind] = (target.fresh_at_once - fresh, target.again_at_once - (len(sending) - fresh))
        return room

    def _turn(self, room: Mapping[Kind, tuple[int, int]], sending: Sequence[Entry]) -> _Turn:
        """On the outbox's thread: what was left behind, what is to be sent now, and what somebody must hear of."""
        now = time.time()
        recovered = self._store.recover(now=now)
        claimed = []
        for kind, target in self._targets.items():
            fresh, again = room[kind]
            places = [entry.place for entry in sending if entry.kind == kind]
            claimed += self._store.claim({kind: target}, fresh=fresh, again=again, now=now, under_way=places)
        # Who does not send bookings may not know who is to hear of those that are stuck.
        alerts = self._store.raise_alerts(self._targets.keys(), now=now) if "booking" in self._targets else []
        self._take_stock()
        waiting = any(states["waiting"] for states in self._notices.values())
        given_up = self._store.give_up(now=now) if waiting else []
        # What waits for its place alone is looked at when an attempt is over.
        busy = {entry.kind for entry in (*sending, *claimed) if self._targets[entry.kind].each_at_once}
        with_room = [kind for kind in self._targets if room[kind][1] > 0 and kind not in busy]
        return _Turn(claimed, alerts, recovered, given_up, self._store.next_due(with_room) if with_room else None)

    def _tell(self, turn: _Turn) -> None:
        self.counters["recovered"] += turn.recovered
        for entry in turn.given_up:
            self.told_of[entry.kind, "given_up"] += 1
            log.error("%s %s is given up after %d attempts: %s", entry.kind, entry.key, entry.attempts, entry.reason)
        for event, entry in turn.alerts:
            self.counters[f"alerted_{event}"] += 1
            log.error(
                "booking %s is %s after %d attempts (%s): see voice-agent outbox --show %s",
                *(
                    entry.short_key,
                    event.replace("_", " "),
                    entry.attempts,
                    entry.reason or "not tried",
                    entry.short_key,
                ),
            )

    def _take_stock(self) -> None:
        version = self._store.version()
        if version != self._version:
            self._counts, oldest = self._store.counts()
            self._oldest = self._store.oldest_notices() | ({"booking": oldest} if oldest is not None else {})
            self._notices = self._store.notices()
            self._version = version

    def _send(self, entry: Entry) -> None:
        task = asyncio.create_task(self._deliver(entry), name=f"outbox {entry.short_key}")
        self._sending[task] = entry
        task.add_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the outbox failed inside", exc_info=error)

    async def _deliver(self, entry: Entry) -> None:
        target = self._targets[entry.kind]
        verdict = await self._attempt(entry, target)
        if verdict.held and target.send is None:
            verdict = replace(verdict, reason=f"{verdict.reason}: check {target.settings}")
        if entry.kind in NOTICES:
            self.told_of[entry.kind, verdict.what] += 1
        else:
            self.counters["attempts"] += 1
            self.counters[verdict.what] += 1
        if verdict.what in ("later", "lost"):
            log.warning("%s %s, attempt %d: %s", entry.kind, entry.short_key, entry.attempts, verdict.reason)
        if verdict.what == "refused" and entry.kind in NOTICES:
            log.error("%s %s is refused: %s", entry.kind, entry.short_key, verdict.reason)
        pace = self._notice_pace if entry.kind in NOTICES else self.pace
        due_at = time.time() + pause_s(verdict, entry.attempts, pace, self._chance)
        while True:
            try:
                await self._disk(lambda: self._store.settle(entry, verdict, target, due_at=due_at, now=time.time()))
                break
            except OutboxError as error:
                log.error("what came of %s %s cannot be written: %s", entry.kind, entry.short_key, error)
                if self._closing:
                    return
                await asyncio.sleep(self.pace.poll_s)
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    async def _attempt(self, entry: Entry, target: Target) -> Verdict:
        if target.send is not None:
            try:
                return await target.send(entry)
            except Exception as error:
                # Such as the database that it asks for an address.
                log.exception("sending %s %s failed", entry.kind, entry.short_key)
                return Verdict("later", type(error).__name__)
        limit_s = self.pace.attempt_s if target.honours_keys else self.pace.only_attempt_s
        headers = {**target.headers, "Idempotency-Key": entry.key}
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=self.pace.connect_s)
        try:
            answer = await ask(self._http, "POST", URL(target.url), headers, json_body=entry.body, timeout=timeout)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return judge_failure(error)
        late = entry.attempts >= LATE_409 and time.time() - entry.made_at > LATE_409_S
        in_doubt = bool(entry.doubt) and not late
        return judge(answer.status, answer.raw, answer.headers, in_doubt=in_doubt)

    async def _disk(self, work: Callable[[], T]) -> T:
        """Do something on the outbox's thread: an fsync takes as long as the disk likes."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OutboxError:
            self.counters["disk_errors"] += 1
            raise
