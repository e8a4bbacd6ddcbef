"""A process that is stopped from outside in the middle of speech, and goes on: nothing is lost, and all is told.

The callers know each sample they are to hear, and measure how late they were themselves; what the host does to the
server beside the freeze, the core has counted.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stalls.caller import Caller, numbered

SPEECH = numbered(160 * 100, first=2000)
SAYS = numbered(160 * 200, first=3000)
BLOCK = 320
LEADS = (0, 2)

SERVER = """
import asyncio, json, sys, fastaudio
from fastaudio._core import HISTOGRAM_BOUNDS_US

async def serve(engine, pcm):
    call = await engine.accept()
    streams = {
        "fast": call.capture(preroll_ms=1500, sent=True),  # from the first block, even when this comes late
        "slow": call.capture(preroll_ms=1500, batch_ms=200),
    }
    read = {name: [] for name in streams}

    async def hear(name):
        async for batch in streams[name]:
            read[name].append((batch.position, batch.caller.hex(), batch.sent.hex(), batch.flags.hex()))

    hearing = asyncio.create_task(hear("fast"))
    utterance = call.begin()
    await utterance.play(pcm)
    await utterance.end()
    played = await utterance.finished()
    spoken, spoken_max_us = call.counters(), engine.recent_lateness().max_us
    asked_at = call.core.captured()
    streams["asked"] = call.capture(preroll_ms=600)
    read["asked"] = []
    asking = asyncio.create_task(hear("asked"))
    await call.wait_ended()
    await asyncio.gather(hearing, asking, hear("slow"))
    lateness = engine.lateness()
    over = [count for bound, count in zip(HISTOGRAM_BOUNDS_US, lateness.counts) if 20_000 < bound <= 90_112]
    return {
        "samples": played.samples, "spoken": spoken, "counters": call.counters(), "asked_at": asked_at,
        "lost": {name: stream.lost for name, stream in streams.items()}, "read": read,
        "engine": engine.counters(), "ticks": lateness.ticks, "late_max_us": lateness.max_us,
        "spoken_max_us": spoken_max_us,
        "rest_max_us": engine.recent_lateness().max_us, "a_little_late": sum(over),
    }

async def main():
    pcm = open(sys.argv[1], "rb").read()
    engines = [fastaudio.Engine(port=0, options=options(lead)) for lead in (0, 2)]
    async with engines[0] as none, engines[1] as two:
        print(none.port, two.port, flush=True)
        print(json.dumps(await asyncio.gather(serve(none, pcm), serve(two, pcm))), flush=True)

def options(lead):
    return fastaudio.CallOptions(lead_frames=lead, detector="rms", barge_in=fastaudio.BargeInOptions(enabled=False))

asyncio.run(main())
"""


@contextmanager
def server(sound: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(sound)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, [int(port) for port in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def freeze(pid: int, seconds: float) -> tuple[float, float]:
    """Stops the process; returns the time after which it stood still and the time before which it did."""
    os.kill(pid, signal.SIGSTOP)
    tasks = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    while any(task.read_text().rpartition(")")[2].split()[0] != "T" for task in tasks):
        time.sleep(0.001)  # on a busy host the thread that takes the signal has to wait for its turn
    start = time.monotonic()
    time.sleep(seconds)
    end = time.monotonic()
    os.kill(pid, signal.SIGCONT)
    return start, end


@pytest.fixture(scope="module", params=[50, 200, 1000])
def frozen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[tuple[float, float]], list[Caller], list[dict[str, Any]]]:
    """Two calls, without a lead and with one of two frames, frozen in speech and again in silence.

    The times of the freezes, the callers, and what the server says of each call; `sent` is how many frames the caller
    had sent when the second freeze was over.
    """
    sound = tmp_path_factory.mktemp("freeze") / "speech.raw"
    sound.write_bytes(SPEECH)
    with server(sound) as (process, ports):
        callers = [Caller(port, SAYS) for port in ports]
        time.sleep(0.6)
        freezes = [freeze(process.pid, request.param / 1000)]
        time.sleep(len(SPEECH) / 16000 - 0.6 + 0.5)  # to the end of the speech, with some to spare
        freezes.append(freeze(process.pid, request.param / 1000))
        sent = [caller.frames_sent for caller in callers]
        time.sleep(0.7)
        for caller in callers:
            caller.hang_up()
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return freezes, callers, [{**one, "sent": frames} for one, frames in zip(told, sent, strict=True)]


Frozen = tuple[list[tuple[float, float]], list[Caller], list[dict[str, Any]]]


def each(frozen: Frozen) -> Iterator[tuple[int, Caller, dict[str, Any]]]:
    _, callers, told = frozen
    return zip(LEADS, callers, told, strict=True)


def blocks(read: list[list[Any]]) -> list[tuple[int, bytes, bytes, int]]:
    """What a reader got, block by block: position, caller, sent, flags."""
    every = []
    for position, *texts in read:
        caller, sent, flags = (bytes.fromhex(text) for text in texts)
        for n, flag in enumerate(flags):
            part = slice(BLOCK * n, BLOCK * (n + 1))
            every.append((position + n, caller[part], sent[part], flag))
    return every


def test_no_sample_is_lost_repeated_or_out_of_order(frozen: Frozen) -> None:
    for _, caller, told in each(frozen):
        assert caller.heard.speech().audio == SPEECH
        assert told["samples"] == len(SPEECH) // 2


def test_the_counters_tell_what_happened(frozen: Frozen) -> None:
    freezes, _, _ = frozen
    (start, end), (again, again_end) = freezes
    for lead, _, told in each(frozen):
        spoken, engine = told["spoken"], told["engine"]
        assert spoken["late_max_ns"] >= (end - start - 0.02) * 1e9
        assert told["late_max_us"] >= told["counters"]["late_max_ns"] / 1000
        # Two freezes, and in each stretch of time between two answers there is one.
        assert told["spoken_max_us"] >= (end - start - 0.02) * 1e6
        assert told["rest_max_us"] >= (again_end - again - 0.02) * 1e6
        assert told["ticks"] == engine["ticks"]
        assert engine["caught_up"] == told["counters"]["caught_up"]
        assert engine["skipped"] == told["counters"]["skipped"]
        if spoken["late_max_ns"] < 80_000_000:
            assert spoken["stalls"] == spoken["skipped"] == 0
            assert spoken["caught_up"] >= 1
        else:
            assert spoken["stalls"] >= 1
            assert spoken["skipped"] >= (end - start) / 0.02 - 2
        assert told["counters"]["caught_up"] <= 3 * told["a_little_late"]  # nothing is caught up after a stall
        if spoken["stalls"] == 1:
            # The time line has the stall as silence between what was sent, less what had been sent ahead of it.
            flags = [bool(flag & 8) for *_, flag in blocks(told["read"]["fast"])]
            first, last = flags.index(True), len(flags) - flags[::-1].index(True)
            assert flags[first:last].count(False) == spoken["skipped"] - lead


def test_nothing_is_sent_twice_as_fast_and_owed_silence_not_at_all(frozen: Frozen) -> None:
    freezes, _, _ = frozen
    for lead, caller, told in each(frozen):
        for (_, end), silent in zip(freezes, (False, True), strict=True):
            after = caller.heard.between(end, end + 0.6)
            # What the caller's own thread slept through came in one piece, whatever had happened on the wire.
            own = math.ceil(caller.latest_s(end, end + 0.7) / 0.02)
            caught_up = 0 if silent else told["counters"]["caught_up"]
            assert after.most_within(0.1) <= 6 + caught_up + own, (lead, silent)
            assert after.payloads


def test_what_the_caller_said_meanwhile_is_all_there_in_order(frozen: Frozen) -> None:
    (start, end), _ = frozen[0]
    for _, caller, told in each(frozen):
        got = blocks(told["read"]["fast"])
        assert [position for position, *_ in got] == list(range(len(got)))
        assert told["lost"]["fast"] == 0
        heard = b"".join(pcm for _, pcm, _, flags in got if not flags & 1)
        assert heard.startswith(SAYS[: len(heard)])
        assert len(heard) // BLOCK >= min(told["sent"], len(SAYS) // BLOCK)
        if caller.latest_s() < 0.06:  # else its own frames were late, and the fill is right
            assert told["counters"]["filled"] == 0
        # A reader sees what has piled up at once.
        most = max(len(flags) // 2 for *_, flags in told["read"]["fast"])
        assert most >= min(64, (end - start) / 0.02 - 3)
        assert len(told["read"]["fast"][0][3]) // 2 >= 4  # batches of 80 ms unless asked otherwise


def test_a_slow_reader_loses_only_its_own(frozen: Frozen) -> None:
    for _, _, told in each(frozen):
        whole, slow = blocks(told["read"]["fast"]), blocks(told["read"]["slow"])
        lost = told["lost"]["slow"]
        assert lost > 0
        assert slow[0][0] == lost
        assert [(at, pcm) for at, pcm, *_ in slow] == [(at, pcm) for at, pcm, *_ in whole[lost:]]


def test_the_past_is_there_when_asked_for(frozen: Frozen) -> None:
    for _, _, told in each(frozen):
        whole, asked = blocks(told["read"]["fast"]), blocks(told["read"]["asked"])
        assert told["asked_at"] - 30 <= asked[0][0] <= told["asked_at"] - 29  # a tick may have come in between
        assert [(at, pcm) for at, pcm, *_ in asked] == [(at, pcm) for at, pcm, *_ in whole[asked[0][0] :]]
        assert all(a + 1 == b for (a, *_), (b, *_) in pairwise(asked))
