"""A thread holds the GIL for a second, so that nothing of Python runs; and in that second the caller interrupts."""

from __future__ import annotations

import array
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import fastaudio
from benchmarks.stalls.caller import Caller
from fastaudio import EventKind

LEAD = 2

SERVER = """
import asyncio, ctypes, json, sys, threading, time, fastaudio

async def main():
    async with fastaudio.Engine(port=0) as engine:
        print(engine.port, flush=True)
        call = await engine.accept()
        events, read = [], []
        def hear(event):
            events.append((event.kind, event.time_ns, event.value, time.monotonic_ns()))
            if event.kind is fastaudio.EventKind.BARGE_IN:
                call.flush()
        call.listen(hear)
        utterance = call.begin()
        await utterance.play(open(sys.argv[1], "rb").read())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print("holding", flush=True)
        start = time.monotonic()
        holder = threading.Thread(target=ctypes.PyDLL(None).usleep, args=(1_000_000,))  # with the GIL, unlike CDLL
        holder.start()
        holder.join()
        end = time.monotonic()
        played = await utterance.finished()
        print(json.dumps({
            "start": start, "end": end, "events": events, "heard": played.samples, "counters": call.counters(),
        }), flush=True)
        await call.wait_ended()

asyncio.run(main())
"""


def test_a_barge_in_while_python_stands_still(tmp_path: Path, voice: bytes) -> None:
    sound = tmp_path / "tone.raw"
    tone = (round(9000 * math.sin(2 * math.pi * 400 * i / 8000)) for i in range(8000 * 5 // 2))
    sound.write_bytes(array.array("h", tone).tobytes())
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(sound)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        with Caller(int(server.stdout.readline())) as caller:
            time.sleep(0.5)
            server.stdin.write("now\n")
            server.stdin.flush()
            assert server.stdout.readline() == "holding\n"
            time.sleep(0.2)
            caller.say(voice[: 320 * 35])
            told = json.loads(server.stdout.readline())
            time.sleep(0.1)
    finally:
        server.kill()
        server.communicate()
    start, end, counters = told["start"], told["end"], told["counters"]
    assert end - start >= 1
    at = {EventKind(kind): (ns / 1e9, value, told_ns / 1e9) for kind, ns, value, told_ns in told["events"]}
    (hold, held_at, hold_told), (barge, _, _) = at[EventKind.HOLD], at[EventKind.BARGE_IN]

    # Decided while Python stood still, which heard of it afterwards.
    assert start < caller.said_at < hold < barge < end
    assert hold_told >= end
    # In time, but for what the host did to the caller and to the media thread.
    delays = caller.latest_s() + counters["late_max_ns"] / 1e9
    assert hold - caller.said_at <= 0.12 + delays
    assert barge - caller.said_at <= 0.32 + delays
    # On the wire: the last of the speech leaves in the tick that decides, and from then on there is silence.
    loud = [t for t, pcm in zip(caller.heard.times, caller.heard.payloads, strict=True) if fastaudio.rms(pcm) > 100]
    assert abs(loud[-1] - hold) <= 0.01 + caller.latest_s()
    assert held_at == told["heard"]  # not a sample more was taken for heard
    # A frame each 20 ms all the while, but for the lead that the hold gives back.
    during = len(caller.heard.between(start, end).times)
    assert during >= (end - start) / 0.02 - 1 - LEAD - counters["skipped"] - caller.latest_s() / 0.02
    assert counters["barge_ins"] == counters["holds"] == 1
