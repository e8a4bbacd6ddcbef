"""How long does the console take with 100,000 calls: each question to its database, and each whole page.

    python -m benchmarks.office [--calls 100000] [--rounds 20] [--databases sqlite postgresql | --url URL]
                                [--only questions|pages] [--page REGEX]

Made-up calls of a year, of eight companies. Everything is asked with words, companies and pages that differ from
round to round, after one round that is not counted. PostgreSQL is the machine's own, in its standard configuration.
`benchmarks/console.py` has the pages.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from agent.office.archive import CallQuery
from agent.office.scope import Scope
from agent.office.store import OfficeStore
from agent.sandbox.history import fill
from benchmarks import console
from benchmarks.report import table, write
from tests.office.postgres_server import PostgresServer

GOAL_MS = 100.0
DAYS = 365
HOW = (
    "ms from the question to its answer in Python, asked one at a time of a database that was read before; each "
    "round asks for another word, company, page or call"
)
Ask = Callable[[int], Awaitable[object]]


async def questions(store: OfficeStore) -> dict[str, Ask]:
    """Every question that the console asks of the calls that are over, by its name."""
    archive, figures = store.archive, store.figures
    companies = [company.id for company, _ in await store.list_companies()]
    everything = Scope.all()
    now = datetime.now(UTC)
    uuids, cursors = [], []
    query = CallQuery(limit=50)
    for _ in range(40):
        page = await archive.find(query, everything)
        uuids += [row.uuid for row in page.rows]
        numbers = [row.caller_id for row in page.rows if row.caller_id]
        cursors.append(page.next)
        query = replace(query, before=page.next)
    booked = [row for row in page.rows if row.booking_id]

    def one(round_: int) -> Scope:
        return Scope.of([companies[round_ % len(companies)]])

    def some(round_: int) -> Scope:
        return Scope.of(companies[round_ % 3 :: 3])

    common = ("kitchen", "boiler", "postcode", "thanks", "yes that's right", "booked", "leak", "an", "fine l", "it's 1")
    rare = ("overflow sparking", "Imran Walker", "no such word", "179 Mill Lane", "zzz", "Hannah Taylor CF10")

    return {
        "first page": lambda n: archive.find(CallQuery(), everything),
        "first page, one company": lambda n: archive.find(CallQuery(), one(n)),
        "first page, several companies": lambda n: archive.find(CallQuery(), some(n)),
        "a page in the middle": lambda n: archive.find(
            CallQuery(before=f"{int((now - timedelta(days=3 + n % 80)).timestamp() * 1e6)}.x"), everything
        ),
        "the same, several companies": lambda n: archive.find(
            CallQuery(before=f"{int((now - timedelta(days=3 + n % 80)).timestamp() * 1e6)}.x"), some(n)
        ),
        "by outcome": lambda n: archive.find(CallQuery(outcome=("failed", "refused", "booked")[n % 3]), everything),
        "by outcome, one company": lambda n: archive.find(CallQuery(outcome="machine"), one(n)),
        "by outcome, several companies": lambda n: archive.find(CallQuery(outcome="refused"), some(n)),
        "an outcome that there is not": lambda n: archive.find(CallQuery(outcome="x"), one(n)),
        "by number": lambda n: archive.find(CallQuery(number=numbers[n % len(numbers)]), everything),
        "by number, one company": lambda n: archive.find(CallQuery(number=numbers[n % len(numbers)]), one(n)),
        "withheld numbers": lambda n: archive.find(CallQuery(number="withheld"), some(n)),
        "interrupted": lambda n: archive.find(CallQuery(interrupted=True), everything),
        "interrupted, one company": lambda n: archive.find(CallQuery(interrupted=True), one(n)),
        "slower than 700 ms": lambda n: archive.find(CallQuery(slower_than_ms=700), everything),
        "slower than 2 s": lambda n: archive.find(CallQuery(slower_than_ms=2000), everything),
        "slower than 60 s, one company": lambda n: archive.find(CallQuery(slower_than_ms=60000), one(n)),
        "slower than 60 s, several companies": lambda n: archive.find(CallQuery(slower_than_ms=60000), some(n)),
        "without a recording": lambda n: archive.find(CallQuery(with_recording=False), some(n)),
        "one week": lambda n: archive.find(
            CallQuery(since=now - timedelta(days=7 + n), until=now - timedelta(days=n)), everything
        ),
        "common words": lambda n: archive.find(CallQuery(text=common[n % len(common)]), everything),
        "common words, one company": lambda n: archive.find(CallQuery(text=common[n % len(common)]), one(n)),
        "common words, several companies": lambda n: archive.find(CallQuery(text=common[n % len(common)]), some(n)),
        "common words, a rare outcome": lambda n: archive.find(
            CallQuery(text=common[n % len(common)], outcome="failed"), everything
        ),
        "common words, slower than 60 s": lambda n: archive.find(
            CallQuery(text=common[n % len(common)], slower_than_ms=60000), everything
        ),
        "rare words": lambda n: archive.find(CallQuery(text=rare[n % len(rare)]), everything),
        "a number as words": lambda n: archive.find(CallQuery(text=f"07700 900{n % 10}"), everything),
        "a booking's ID": lambda n: archive.find(CallQuery(text=booked[n % len(booked)].booking_id), everything),
        "a postcode": lambda n: archive.find(CallQuery(text=f"M14 {n % 9 + 1}"), everything),
        "one call": lambda n: archive.get(uuids[(97 * n) % len(uuids)], everything),
        "numbers of a day": lambda n: figures.between(now.date(), now.date(), everything),
        "numbers of 30 days": lambda n: figures.between(now.date() - timedelta(days=29), now.date(), everything),
        "numbers of 90 days": lambda n: figures.between(now.date() - timedelta(days=89), now.date(), everything),
        "numbers of 90 days, one company": lambda n: figures.between(
            now.date() - timedelta(days=89), now.date(), one(n)
        ),
    }


async def measure(ask: Ask, rounds: int) -> tuple[float, float]:
    """Median and P95 of the ms that an answer takes."""
    took = []
    for number in range(-1, rounds):
        began = time.perf_counter()
        await ask(number + 1)
        if number >= 0:
            took.append(1000 * (time.perf_counter() - began))
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, int(0.95 * len(took)))]


async def prepare(name: str, url: str, calls: int) -> None:
    """Fill a database if it is empty."""
    async with await OfficeStore.open(url) as store:
        if not (await store.archive.find(CallQuery(limit=1), Scope.all())).rows:
            began = time.perf_counter()
            await fill(store, calls=calls, days=DAYS, recordings=True)
            took = time.perf_counter() - began
            print(f"{name}: {calls} calls written in {took:.0f} s, {1000 * took / calls:.2f} ms each", flush=True)
        if name == "postgresql":
            async with store.transaction() as session:
                await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
                await session.execute(text("VACUUM ANALYZE"))


async def ask_everything(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """The times by question."""
    async with await OfficeStore.open(url) as store:
        return {question: await measure(ask, rounds) for question, ask in (await questions(store)).items()}


@contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of an empty database."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{Path(directory) / 'office.sqlite3'}"
        return
    server = PostgresServer(fast=False)
    try:
        yield server.new_database()
    finally:
        server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; exit 1 when a question or a page misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--url", help="a database of your own that is filled once, and used again")
    parser.add_argument("--only", choices=["questions", "pages"])
    parser.add_argument("--page", default="", help="the pages whose names this regular expression is found in")
    chosen = parser.parse_args(arguments)
    asked: dict[str, dict[str, tuple[float, float]]] = {}
    pages: dict[str, console.Found] = {}
    load = {"before": os.getloadavg()[0]}
    for name in [chosen.url.partition(":")[0]] if chosen.url else chosen.databases:
        with nullcontext(chosen.url) if chosen.url else database(name) as url:
            asyncio.run(prepare(name, url, chosen.calls))
            if chosen.only != "pages":
                asked[name] = asyncio.run(ask_everything(url, chosen.rounds))
            if chosen.only != "questions":
                pages[name] = console.measure(url, chosen.rounds, chosen.page)
    load["after"] = os.getloadavg()[0]
    slow = []
    if asked:
        print(_table_of_questions(asked))
        write("office", HOW, calls=chosen.calls, rounds=chosen.rounds, load=load, ms=asked)
        slow += [
            f"{name}: {question}, P95 {p95:.0f} ms"
            for name, times in asked.items()
            for question, (_, p95) in times.items()
            if p95 > GOAL_MS
        ]
    for name, found in pages.items():
        print(f"\n{name}, pages\n{table(console.HEADINGS, console.rows(found))}")
        slow += [f"{name}: {miss}" for miss in console.misses(found)]
    if pages:
        write("console", console.HOW, calls=chosen.calls, rounds=chosen.rounds, load=load, ms=pages)
    print(f"load average {load['before']:.1f} before and {load['after']:.1f} after, on {os.cpu_count()} cores")
    print("\n".join(slow) or "everything is within its goal")
    return 1 if slow else 0


def _table_of_questions(asked: dict[str, dict[str, tuple[float, float]]]) -> str:
    headings = ["ms", *itertools.chain.from_iterable((f"{name} median", "P95") for name in asked)]
    lines = [
        [question, *(f"{value:.1f}" for name in asked for value in asked[name][question])]
        for question in next(iter(asked.values()))
    ]
    return table(headings, lines)


if __name__ == "__main__":
    sys.exit(main())
