"""How long each page of the console takes with 100,000 calls, and how long its making keeps the event loop from others.

Whole pages as a browser asks for them, over loopback: log-in, database, template, headers. The console runs on an event
loop of its own, as in the agent; a ticker on the same loop tells how late it comes to its turn while a page is made.
`python -m benchmarks.office` fills the database and runs this on it.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import re
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import quote, urlencode

from aiohttp import web

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes
from agent.office.archive import CallQuery
from agent.office.bookings import BookingQuery
from agent.office.console.app import console_app
from agent.office.console.parts import ConsoleParts
from agent.office.passwords import Passwords
from agent.office.scope import Scope
from agent.office.store import OfficeStore
from agent.office.users import Users
from agent.ops.settings import load_settings
from agent.sandbox.history import Answering, made_calls

GOAL_MS, GOAL_HELD_MS = 200.0, 20.0
HOW = (
    "ms from the request to the last byte of the page, asked one at a time over loopback by somebody who is logged in, "
    "each round another page. A ticker of 1 ms on the console's event loop tells the rest: held, the most CPU that the "
    "loop used without letting it have its turn; late, how long it had to wait for it at the most, which on a busy "
    "machine is mostly the machine. CPU is the whole process's"
)
PASSWORD = "a long word of no use"
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
TICK_S = 0.001
LONG_MINUTES = 30
USUAL_CALLS = 12
RATE = 8000
TIMES = tuple(item.name for item in fields(TurnTimes))
Page = Callable[[int], str]
Found = dict[str, dict[str, dict[str, float]]]
"""Times by page and by who asks."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One page that was asked for, ms."""

    took: float
    cpu: float
    held: float
    late: float


def summary(samples: Sequence[Sample]) -> dict[str, float]:
    """Median, P95 and the slowest of how long it took; medians of the others."""
    took = sorted(sample.took for sample in samples)
    return {
        "median": took[len(took) // 2],
        "p95": took[min(len(took) - 1, int(0.95 * len(took)))],
        "slowest": took[-1],
        **{name: median(getattr(sample, name) for sample in samples) for name in ("cpu", "held", "late")},
    }


class Ticker:
    """How late an event loop is, and how much CPU it takes for itself; `start` puts both to 0."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self.late_s = self.held_s = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            due, used = time.perf_counter() + TICK_S, time.thread_time()
            await asyncio.sleep(TICK_S)
            self.late_s = max(self.late_s, time.perf_counter() - due)
            self.held_s = max(self.held_s, time.thread_time() - used)


@dataclass(frozen=True)
class Served:
    """A console that is up, and what there is to be asked of it."""

    port: int
    ticker: Ticker
    pages: dict[str, Page]
    cookies: dict[str, str]
    """By who asks."""


@contextmanager
def console(url: str) -> Iterator[Served]:
    """Serve the console of a database that is filled, on a loop of its own, until the block ends."""
    begun: list[Served] = []
    troubles: list[BaseException] = []
    ready = threading.Event()
    finish: list[Callable[[], object]] = []

    async def serve(directory: Path) -> None:
        settings = load_settings(None, data_dir=directory, console_port=0)
        async with await OfficeStore.open(url) as store:
            store.users = Users(store._engine, Passwords(CHEAP))
            cookies = await _users(store)
            pages = await _pages(store, settings.recordings)
            runner = web.AppRunner(console_app(ConsoleParts(store, settings)), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ticker = Ticker()
            ticking = asyncio.create_task(ticker.run())
            begun.append(Served(runner.addresses[0][1], ticker, pages, cookies))
            over = asyncio.Event()
            finish.append(partial(asyncio.get_running_loop().call_soon_threadsafe, over.set))
            ready.set()
            await over.wait()
            ticking.cancel()
            await runner.cleanup()

    def run() -> None:
        try:
            with tempfile.TemporaryDirectory() as directory:
                asyncio.run(serve(Path(directory)))
        except BaseException as error:
            troubles.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="console")
    thread.start()
    try:
        ready.wait()
        if troubles:
            raise troubles[0]
        yield begun[0]
    finally:
        for end in finish:
            end()
        thread.join()


def measure(url: str, rounds: int, only: str = "") -> Found:
    """Ask for every page as every user. Return the times by page and user."""
    found: Found = {}
    with console(url) as served:
        for name, page in {"(nothing)": None, **served.pages}.items():
            if not re.search(only, name):
                continue
            for who, cookie in served.cookies.items():
                if who != "admin" and page is not None and page(0).startswith("/users"):
                    continue
                samples = [_ask(served, page and page(number), cookie) for number in range(rounds + 1)]
                found.setdefault(name, {})[who] = summary(samples[1:])
    return found


def rows(found: Found) -> list[list[str]]:
    """A line for each page and user."""
    return [
        [page, who, *(f"{times[name]:.1f}" for name in ("median", "p95", "slowest", "cpu", "held", "late"))]
        for page, users in found.items()
        for who, times in users.items()
    ]


HEADINGS = ("ms", "asked by", "median", "P95", "slowest", "CPU", "loop held", "late")


def misses(found: Found) -> list[str]:
    """What is above the goals."""
    return [
        f"{page}, {who}: median {times['median']:.0f} ms, loop held {times['held']:.0f} ms"
        for page, users in found.items()
        for who, times in users.items()
        if times["median"] > GOAL_MS or times["held"] > GOAL_HELD_MS
    ]


def _ask(served: Served, path: str | None, cookie: str) -> Sample:
    """Ask for one page; None: let nothing be asked for a while."""
    time.sleep(0.005)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.connect()
        headers = {"Accept": "text/html", "Cookie": cookie, "Accept-Encoding": "gzip"}
        served.ticker.start()
        began, cpu = time.perf_counter(), time.process_time()
        if path is None:
            time.sleep(0.05)
        else:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} gives {answer.status}")
        took = time.perf_counter() - began
        cpu = time.process_time() - cpu
        return Sample(1000 * took, 1000 * cpu, 1000 * served.ticker.held_s, 1000 * served.ticker.late_s)
    finally:
        connection.close()


async def _users(store: OfficeStore) -> dict[str, str]:
    """An admin, and viewers of the smallest company and of three: their cookies."""
    companies = [company.id for company, _ in await store.list_companies()]
    cookies = {}
    for who, name, role, ids in (
        ("admin", "bench-admin", "admin", companies[:0]),
        ("one company", "bench-one", "viewer", companies[-1:]),
        ("three companies", "bench-three", "viewer", [companies[0], companies[len(companies) // 2], companies[-1]]),
    ):
        if await store.users.named(name) is None:
            await store.users.add(name, PASSWORD, role, ids)
        login = await store.users.log_in(name, PASSWORD)
        assert login is not None
        cookies[who] = f"voice-agent={login[0]}"
    return cookies


async def _pages(store: OfficeStore, recordings: Path) -> dict[str, Page]:
    """What is asked for; what the users of one company and of three may both see, where it is one thing."""
    stored = await store.list_companies()
    (mine, numbers), everything = stored[-1], Scope.all()
    usual, long = await _add_calls(store, recordings, Answering(mine.name, numbers[0], mine.callout_fee))
    page = await store.archive.find(CallQuery(company_id=mine.id, limit=100), everything)
    callers = [row.caller_id for row in page.rows if row.caller_id]
    bookings = [row.id for row in (await store.bookings.find(BookingQuery(company_id=mine.id), everything)).rows]
    now = datetime.now(UTC)

    def calls(**values: object) -> str:
        return f"/calls?{urlencode(values)}"

    def of_bookings(**values: object) -> str:
        return f"/bookings?{urlencode(values)}"

    def deep(number: int) -> datetime:
        return now - timedelta(days=20 + 13 * number % 300)

    def sound(uuid: str) -> str:
        os.utime(recordings / f"{uuid}.wav")  # not the one that is kept in memory
        return f"/calls/{uuid}/waveform"

    common = ("kitchen", "boiler", "postcode", "thanks", "yes that's right", "booked", "leak", "an", "fine l", "it's 1")
    rare = ("overflow sparking", "Imran Walker", "179 Mill Lane", "Hannah Taylor CF10", "burning Priya")
    two = ("kitchen tap", "water Hannah", "booked Walker", "blocked Road", "boiler Green")
    company = {"company": mine.id}
    return {
        "live": lambda n: "/",
        "calls": lambda n: "/calls",
        "calls, deep": lambda n: calls(before=f"{int(deep(n).timestamp() * 1e6)}.x"),
        "calls, one company": lambda n: calls(**company),
        "calls, by outcome": lambda n: calls(outcome=("failed", "refused", "booked")[n % 3]),
        "calls, today": lambda n: calls(period="today"),
        "calls, 30 days": lambda n: calls(period="30d"),
        "calls, two days": lambda n: calls(**{"from": deep(n).date(), "to": (deep(n) + timedelta(days=1)).date()}),
        "calls, by number": lambda n: calls(number=callers[n % len(callers)]),
        "calls, interrupted": lambda n: calls(interrupted="yes"),
        "calls, slower than 700 ms": lambda n: calls(slow=700),
        "calls, slower than 60 s": lambda n: calls(slow=60_000),
        "calls, without a recording": lambda n: calls(recorded="no"),
        "calls, a common word": lambda n: calls(q=common[n % len(common)]),
        "calls, a common word, deep": lambda n: calls(q=common[n % len(common)], before=int(deep(n).timestamp() * 1e6)),
        "calls, a common word, failed": lambda n: calls(q=common[n % len(common)], outcome="failed"),
        "calls, rare words": lambda n: calls(q=rare[n % len(rare)]),
        "calls, two words": lambda n: calls(q=two[n % len(two)]),
        "calls, an absent word": lambda n: calls(q=f"xyzzy{n}"),
        "a call": lambda n: f"/calls/{usual[n % len(usual)]}",
        f"a call of {LONG_MINUTES} minutes": lambda n: f"/calls/{long}",
        "its sound, drawn": lambda n: sound(usual[n % len(usual)]),
        f"the same, of {LONG_MINUTES} minutes": lambda n: sound(long),
        "bookings": lambda n: "/bookings",
        "bookings, deep": lambda n: of_bookings(before=f"{deep(n).isoformat()}~x"),
        "bookings, one company": lambda n: of_bookings(**company),
        "bookings, by state": lambda n: of_bookings(state=("new", "cancelled", "done")[n % 3]),
        "bookings, two days": lambda n: of_bookings(
            **{"from": deep(n).date(), "to": (deep(n) + timedelta(days=1)).date()}
        ),
        "bookings, a common word": lambda n: of_bookings(q=("tap", "boiler", "lane", "road", "water")[n % 5]),
        "bookings, a rare word": lambda n: of_bookings(q=rare[1:4][n % 3]),
        "bookings, an absent word": lambda n: of_bookings(q=f"xyzzy{n}"),
        "a booking": lambda n: f"/bookings/{quote(bookings[n % len(bookings)])}",
        "companies": lambda n: "/companies",
        "a company": lambda n: f"/companies/{mine.id}",
        "figures, 7 days": lambda n: "/figures?days=7",
        "figures, 30 days": lambda n: "/figures?days=30",
        "figures, 90 days": lambda n: "/figures?days=90",
        "figures, 12 months": lambda n: "/figures?days=365",
        "figures, 12 months, one company": lambda n: f"/figures?{urlencode({'days': 365, **company})}",
        "users": lambda n: "/users",
    }


async def _add_calls(store: OfficeStore, recordings: Path, company: Answering) -> tuple[list[str], str]:
    """Calls as they are kept today, with their words and recordings: their UUIDs, and the one of a long one."""
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    made = [
        record
        for record in made_calls([company], 400, 30, 77, moment, recordings=True)
        if record.outcome == "booked" and record.turns[0].words
    ]
    usual, long = made[:USUAL_CALLS], _long_call(made)
    for record in (*usual, long):
        await store.archive.keep(record)
        await asyncio.to_thread(_record, recordings / record.recording, record.seconds)
    return [record.uuid for record in usual], long.uuid


def _long_call(calls: Sequence[CallRecord]) -> CallRecord:
    """One call of all that was said in these, one after the other, until it is long enough."""
    long = replace(calls[0], uuid="00000000-0000-4000-8000-00000000b16c", turns=[], marks=[], seconds=0.0)
    long.recording = f"{long.uuid}.wav"
    for call in calls:
        ms = round(1000 * long.seconds)
        long.turns += [_later(turn, ms) for turn in call.turns]
        long.marks += [Mark(mark.at_ms + ms, mark.what, mark.detail) for mark in call.marks]
        long.seconds += call.seconds
        if long.seconds > 60 * LONG_MINUTES:
            return long
    raise ValueError("too few calls for a long one")


def _later(turn: TurnRecord, ms: int) -> TurnRecord:
    times = {name: getattr(turn.times, name) for name in TIMES}
    moved = TurnTimes(**{name: None if value is None else value + ms for name, value in times.items()})
    words = [replace(word, start_ms=word.start_ms + ms, end_ms=word.end_ms + ms) for word in turn.words]
    end_ms = None if turn.end_ms is None else turn.end_ms + ms
    return replace(turn, start_ms=turn.start_ms + ms, end_ms=end_ms, times=moved, words=words)


def _record(path: Path, seconds: float) -> None:
    """A stereo recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    second = random.Random(5).randbytes(4 * RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(int(seconds) + 1):
            file.writeframesraw(second)
