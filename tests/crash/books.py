"""Booking APIs that lose connections, answer late or not at all, and are killed; but what they have booked they know.

`honours`: one booking for each `Idempotency-Key`. `forgets`: a booking for each request. `office`: the product's own
back office. All of them write what they book to a SQLite file, which outlives them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from aiohttp import web

from agent.office.api import office_app
from agent.office.store import OfficeStore

Api: TypeAlias = Literal["honours", "forgets", "office"]
KEY = "crash-test"
FAULTS = (
    "die before", "die after", "drop before", "drop after", "500 before", "500 after", "half an answer", "late",
    "429", "503", "401",
)  # fmt: skip


def serve(api: Api, folder: Path, port: int, seed: int, faulty: float) -> None:
    """Serve until killed; `faulty` is the share of requests that go wrong."""
    asyncio.run(_serve(api, folder, port, random.Random(seed), faulty))


async def _serve(api: Api, folder: Path, port: int, chance: random.Random, faulty: float) -> None:
    if api == "office":
        store = await OfficeStore.open(f"sqlite:///{folder / 'office.sqlite3'}")
        app = office_app(store, api_key=KEY)
    else:
        app = web.Application()
        app.router.add_post("/create_booking", _books(folder / "books.sqlite3", honours=api == "honours"))
    app.middlewares.insert(0, _misbehave(chance, faulty, folder / "faults.txt"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    (folder / "listening").touch()
    await asyncio.Event().wait()


def _books(path: Path, *, honours: bool) -> Callable[[web.Request], Any]:
    unique = "UNIQUE" if honours else ""
    books = sqlite3.connect(path, isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute(f"CREATE TABLE IF NOT EXISTS books (id INTEGER PRIMARY KEY, key TEXT {unique}, body TEXT)")

    async def create(request: web.Request) -> web.Response:
        key, body = request.headers["Idempotency-Key"], await request.json()
        if request.headers["X-API-Key"] != KEY:
            return web.json_response({}, status=401)
        if not body["customer_name"]:
            return web.json_response({"error": "customer_name is empty"}, status=400)
        books.execute("INSERT OR IGNORE INTO books (key, body) VALUES (?, ?)", (key, json.dumps(body)))
        row = books.execute("SELECT max(id) FROM books WHERE key = ?", (key,)).fetchone()
        return web.json_response({"booking_id": f"B{row[0]}"}, status=201)

    return create


def _misbehave(chance: random.Random, faulty: float, notes: Path) -> Any:
    @web.middleware
    async def handle(request: web.Request, handler: Any) -> web.StreamResponse:
        fault = chance.choice(FAULTS) if chance.random() < faulty else ""
        what, _, when = fault.partition(" ")
        await request.read()
        with notes.open("a") as file:
            file.write(f"{request.headers['Idempotency-Key']} {fault or 'none'}\n")
        if fault.isdigit():
            return web.json_response({"error": "not now"}, status=int(fault), headers={"Retry-After": "0"})
        if when == "before":
            return _fail(request, what)
        answer: web.StreamResponse = await handler(request)
        if when == "after":
            return _fail(request, what)
        if fault == "late":
            await asyncio.sleep(0.15)
        if fault == "half an answer":
            if request.transport is not None:
                request.transport.write(b'HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"book')
            return _fail(request, "drop")
        return answer

    return handle


def _fail(request: web.Request, what: str) -> web.Response:
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "drop":
        _drop(request)
    return web.json_response({"error": "out of order"}, status=500)


def _drop(request: web.Request) -> None:
    if request.transport is not None:  # the sender may have been killed before
        request.transport.abort()


def booked(api: Api, folder: Path) -> dict[str, list[str]]:
    """What the API has booked: the IDs by key."""
    if api == "office":
        path, query = folder / "office.sqlite3", "SELECT idempotency_key, id FROM bookings"
    else:
        path, query = folder / "books.sqlite3", "SELECT key, 'B' || id FROM books"
    books = sqlite3.connect(path)
    found: dict[str, list[str]] = {}
    for key, booking_id in books.execute(query):
        found.setdefault(key, []).append(booking_id)
    books.close()
    return found
