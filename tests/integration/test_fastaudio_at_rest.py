"""What costs nothing: an engine without calls makes no wake-ups; a call in which nobody speaks takes little memory."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import fastaudio

CALLS = 500
QUIET_CALL_KIB = 64


def switches() -> int:
    """How often the media thread was switched to, by its own will or not (proc_pid_status(5))."""
    counts = [
        int(line.split()[1])
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text() == "fa-media\n"
        for line in (task / "status").read_text().splitlines()
        if "ctxt_switches" in line
    ]
    assert len(counts) == 2, "one media thread, two counters"
    return sum(counts)


async def sleeps_for(engine: fastaudio.Engine, seconds: float) -> bool:
    before = engine.counters()["wakeups"], switches()
    await asyncio.sleep(seconds)
    return before == (engine.counters()["wakeups"], switches())


async def test_an_engine_without_calls_makes_no_wake_ups() -> None:
    async with fastaudio.Engine(port=0) as engine:
        await asyncio.sleep(0.1)  # its spare calls are on the way
        assert await sleeps_for(engine, 0.5)
        for _ in range(3):
            peers = [await asyncio.open_connection("127.0.0.1", engine.port) for _ in range(5)]
            for _, writer in peers:
                writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
            calls = [await asyncio.wait_for(engine.accept(), 2) for _ in peers]
            await calls[0].play(bytes(3200))
            assert not await sleeps_for(engine, 0.1)
            for _, writer in peers:
                writer.close()
            for call in calls:
                await asyncio.wait_for(call.wait_ended(), 2)
        del calls
        await asyncio.sleep(0.1)
        assert await sleeps_for(engine, 0.5)


async def test_a_second_thread_asks_for_lateness_and_no_tick_is_lost() -> None:
    async with fastaudio.Engine(port=0) as engine:
        asked: list[fastaudio.Lateness] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                asked.append(engine.recent_lateness())
                time.sleep(0.001)

        asking = threading.Thread(target=ask)
        asking.start()
        _, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
        call = await asyncio.wait_for(engine.accept(), 2)
        first = engine.lateness()
        await asyncio.sleep(0.5)
        writer.close()
        await asyncio.wait_for(call.wait_ended(), 2)
        done.set()
        asking.join()
        whole, last = engine.lateness(), engine.recent_lateness()
    assert sum(one.ticks for one in asked) + last.ticks == whole.ticks == engine.counters()["ticks"]
    assert max(one.max_us for one in [*asked, last]) == whole.max_us
    assert 0 < whole.since(first).ticks <= whole.ticks
    assert 0 < whole.quantile_us(0.5) <= whole.quantile_us(0.99) <= whole.max_us


SERVER = """
import asyncio, gc, json, sys, fastaudio

def resident_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Rss"))

async def main(count):
    async with fastaudio.Engine(port=0, max_calls=count + 100, spare_calls=32) as engine:
        await asyncio.sleep(0.2)
        gc.collect()
        before = resident_kib()
        print(engine.port, flush=True)
        calls = []
        for _ in range(count):
            calls.append(await engine.accept())
            print("up", flush=True)
        while min(call.core.captured() for call in calls) < 130:  # each has been once round its ring
            await asyncio.sleep(0.1)
        gc.collect()
        frames = sum(call.counters()["frames_in"] for call in calls)
        print(json.dumps({"kib": resident_kib() - before, "frames": frames}), flush=True)
        sys.stdin.read()

asyncio.run(main(int(sys.argv[1])))
"""


def test_a_quiet_call_takes_little_memory() -> None:
    """The callers' lines hiss, nobody speaks, nothing is played; sockets are the kernel's memory."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(CALLS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    hiss = struct.pack("<160h", *(random.Random(1).randint(-30, 30) for _ in range(160)))
    messages = 5 * (b"\x10\x01\x40" + hiss)
    try:
        port = int(server.stdout.readline())
        callers = []
        for _ in range(CALLS):
            callers.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            callers[-1].sendall(b"\x01\x00\x10" + uuid.uuid4().bytes)
            assert server.stdout.readline() == "up\n"
        due = time.monotonic()
        told: list[str] = []
        reading = threading.Thread(target=lambda: told.append(server.stdout.readline() if server.stdout else ""))
        reading.start()
        while reading.is_alive():
            for caller in callers:
                caller.sendall(messages)
            due += 0.1
            reading.join(max(0.0, due - time.monotonic()))
        for caller in callers:
            caller.close()
        got = json.loads(told[0])
    finally:
        server.kill()
        server.communicate()
    assert got["frames"] > CALLS * 50
    assert got["kib"] / CALLS < QUIET_CALL_KIB
    print(f"{got['kib'] / CALLS:.1f} KiB a call")
