"""`python -m fastaudio load` against servers that are good, late, silent, closing or not there.

What a run says about the server has to be right on a host that stands still now and then, too: then it says that it is
invalid, and the figures are compared with what the server did.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import fastaudio
from fastaudio import load

FRAME = b"\x10\x01\x40" + bytes(320)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Outcome:
    """What a run of the command came to."""

    status: int
    report: dict[str, Any]
    said: str


async def run_load(port: int, *options: str, during: Callable[[int], Awaitable[None]] | None = None) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastaudio", "load", f"127.0.0.1:{port}", "--json", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if during is not None:
        await during(process.pid)
    out, said = await process.communicate()
    return Outcome(process.returncode or 0, json.loads(out) if out else {}, said.decode())


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server that hears everything and lets `serve` talk; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking = asyncio.ensure_future(serve(reader, writer))
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            talking.cancel()
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def tone() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastaudio", "tone", "--port", "0"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    try:
        yield int(line.split("127.0.0.1:")[1].split(";")[0])
    finally:
        process.kill()
        await process.wait()


def expect_status(outcome: Outcome, status: int) -> None:
    """The status, unless the host stood still: then the run must have noticed."""
    late = outcome.report["lag_p99_ms"] > load.LAG_P99_MS or outcome.report["cpu_percent"] > load.CPU_PERCENT
    assert outcome.report["valid"] is not late
    assert outcome.status == (3 if late else status), outcome.said
    assert ("INVALID" in outcome.said) is late


@pytest.mark.parametrize(
    ("rate", "packet_ms", "sent"),
    [(8000, 20, 50), (16000, 60, 50 / 3), (8000, 10, 100), (192000, 20, 50)],
)
async def test_load_on_the_media_core(rate: int, packet_ms: int, sent: float) -> None:
    async with tone() as port:
        outcome = await run_load(
            port, "--calls=20", "--seconds=1", "--warmup=1", f"--rate={rate}", f"--packet-ms={packet_ms}"
        )
    report = outcome.report
    expect_status(outcome, 0)
    assert report["ended"] == {}
    assert report["carried"]
    assert report["frames"] == pytest.approx(20 * 50, abs=20 * 6)  # the core may have been stopped at the end, too
    assert report["frames_sent"] == pytest.approx(20 * sent, abs=20 * 6)
    assert 19 < report["gap_p50_ms"] < 21
    assert report["merged"] <= report["frames"] // 5
    assert report["untimed"] == 0
    if report["gap_max_ms"] < 25 and report["lag_max_ms"] < 25:
        assert abs(report["rate_ppm_median"]) < 30_000  # a second is short, and a tick may be 20 ms late
        assert report["slip_worst_ms"] <= 25


async def test_callers_converse_with_who_answers_them() -> None:
    """An agent that greets, and answers each turn for 0.3 s, 0.4 s after the caller has fallen silent."""
    answers = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        await reader.readexactly(19)
        silent, heard, left = 0, False, 15
        while True:
            message = await reader.readexactly(323)
            loud = fastaudio.rms(message[3:]) > 200
            silent = 0 if loud else silent + 1
            heard = heard or loud
            if heard and silent == 20:
                heard, left, answers = False, 15, answers + 1
            writer.write(FRAME[:3] + bytes([1 if left > 0 else 0]) * 320)
            left -= 1

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await run_load(port, "--calls=4", "--seconds=6", "--warmup=0", "--turn-ms=500")
    report = outcome.report
    expect_status(outcome, 0)
    assert 4 * 2 <= report["turns"] <= 4 * 4  # of 1.9 s, longer on a host that stands still
    assert answers - 8 <= report["answers"] <= answers
    assert report["answers"] >= 4
    assert report["overlaps"] == report["unanswered"] == 0
    assert 300 <= report["answer_p50_ms"] < 1000


@pytest.mark.parametrize("turn_ms", [-1, 99, 4001])
def test_turns_out_of_range(turn_ms: int) -> None:
    with pytest.raises(ValueError, match="turn_ms is 0, or 100 to 4000"):
        load.run("127.0.0.1", 1, calls=1, seconds=1, turn_ms=turn_ms)


async def test_load_shows_that_a_server_is_slow() -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(FRAME)
            await asyncio.sleep(0.025)

    async with serving(slow) as port:
        outcome = await run_load(port, "--calls=3", "--seconds=2", "--warmup=0.2")
    report = outcome.report
    expect_status(outcome, 0)
    assert report["frames"] <= 3 * (2 / 0.025 + 1)
    assert report["rate_ppm_median"] < -180_000  # 20 ms of audio in 25 ms or more
    assert report["gap_p50_ms"] > 24
    assert report["slip_median_ms"] > 350


async def test_load_shows_a_hole() -> None:
    holes: list[float] = []

    async def stumbling(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic()
        for n in range(1000):
            writer.write(FRAME)
            due += 0.02
            if n == 50:  # later by 300 ms, and not made up for
                due += 0.3
                holes.append(due)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async with serving(stumbling) as port:
        outcome = await run_load(port, "--calls=2", "--seconds=2", "--warmup=0")
    report = outcome.report
    assert len(holes) == 2
    expect_status(outcome, 0)
    assert report["gap_max_ms"] >= 290
    assert report["gaps_over_40_ms"] >= 2
    assert report["slip_worst_ms"] >= 270


async def test_load_tells_which_calls_ended() -> None:
    answered = 0

    async def leaving(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        leaves = answered == 2
        for _n in range(50):
            writer.write(FRAME)
            await asyncio.sleep(0.02)
        if leaves:
            writer.write(b"\x00\x00\x00")
        while True:
            writer.write(b"" if leaves else FRAME)
            await asyncio.sleep(0.02)

    async with serving(leaving) as port:
        outcome = await run_load(port, "--calls=3", "--seconds=2", "--warmup=0")
    assert outcome.report["ended"] == {"hung_up": 1}
    assert outcome.report["ended_early"] == 1
    assert not outcome.report["carried"]
    expect_status(outcome, 1)


async def test_load_gives_up_on_a_server_that_closes_at_once() -> None:
    async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(closing) as port:
        outcome = await run_load(port, "--calls=5", "--seconds=60")
    assert outcome.status == 1
    assert outcome.report == {}
    assert "before the measurement" in outcome.said
    assert f"127.0.0.1:{port} ended call" in outcome.said


async def test_load_hears_nothing_from_a_silent_server() -> None:
    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with serving(silent) as port:
        outcome = await run_load(port, "--calls=4", "--seconds=0.5", "--warmup=0")
    assert outcome.report["silent"] == 4
    assert outcome.report["frames"] == 0
    assert outcome.report["slip_median_ms"] == 500
    expect_status(outcome, 1)


async def test_load_that_was_the_bottleneck_is_invalid() -> None:
    async def stand_still(pid: int) -> None:
        await asyncio.sleep(1.5)  # begun, whatever an interpreter takes to start
        for _ in range(5):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.2)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.2)

    async with tone() as port:
        outcome = await run_load(port, "--calls=10", "--seconds=4", "--warmup=0", during=stand_still)
    assert outcome.status == 3
    assert outcome.report["valid"] is False
    assert outcome.report["lag_p99_ms"] > load.LAG_P99_MS
    assert "INVALID: the generator was late itself" in outcome.said
    # The kernel's times do not depend on the generator: what the server sent in time came in time.
    assert outcome.report["frames"] == pytest.approx(10 * 50 * 4, abs=10 * 10)
    assert outcome.report["slip_worst_ms"] < 200


async def test_load_stops_at_ctrl_c() -> None:
    async def interrupt(pid: int) -> None:
        await asyncio.sleep(1)
        os.kill(pid, signal.SIGINT)

    async with tone() as port:
        began = time.monotonic()
        outcome = await run_load(port, "--calls=2", "--seconds=60", during=interrupt)
    assert outcome.status == 130
    assert time.monotonic() - began < 20
    assert "Traceback" not in outcome.said


def said_by(*arguments: str, shell: str = "") -> tuple[int, str]:
    command = [sys.executable, "-m", "fastaudio", "load", *arguments]
    if shell:
        command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_load_says_what_to_do_about_errors() -> None:
    status, said = said_by("127.0.0.1:1", "--calls=2")
    assert status == 1
    assert "cannot reach 127.0.0.1:1 for call 1 of 2: Connection refused" in said
    status, said = said_by("no-such-host.invalid:9099")
    assert status == 1
    assert "no-such-host.invalid" in said
    status, said = said_by("127.0.0.1:9099", "--calls=200", shell="ulimit -n 100")
    assert status == 1
    assert "ulimit -n" in said
    assert said_by("127.0.0.1")[0] == 2
    assert said_by("127.0.0.1:9099", "--packet-ms=5")[0] == 2
    assert said_by("127.0.0.1:9099", "--rate=11025")[0] == 2


async def test_load_from_python_ends_with_what_its_caller_raises() -> None:
    seen: list[load.Progress] = []

    def progress(now: load.Progress) -> None:
        seen.append(now)
        if now.phase == "measuring":
            raise RuntimeError("enough")

    began = time.monotonic()
    async with tone() as port:
        with pytest.raises(RuntimeError, match="enough"):
            await asyncio.to_thread(load.run, "127.0.0.1", port, calls=3, seconds=60, warmup=0.1, on_progress=progress)
    assert seen[-1].connected == 3
    assert time.monotonic() - began < 30  # the run would have taken a minute


async def test_load_calls_under_the_uuids_that_it_is_told() -> None:
    prefix = bytes(range(12))
    async with fastaudio.Engine(port=0) as engine:
        running = asyncio.create_task(
            asyncio.to_thread(load.run, "127.0.0.1", engine.port, calls=3, seconds=0.2, warmup=0, uuid_prefix=prefix)
        )
        calls = [await engine.accept() for _ in range(3)]
        report = await running
    assert {call.uuid for call in calls} == {load.call_uuid(prefix, number) for number in range(3)}
    assert report.carried
    with pytest.raises(ValueError, match="12 bytes"):
        load.run("127.0.0.1", 1, calls=1, seconds=1, uuid_prefix=b"short")


def test_load_objects_to_each_way_of_being_the_bottleneck() -> None:
    fields = {name: 0 for name in load.Report.__dataclass_fields__} | {"ended": {}, "frames": 1000}
    good = load.Report(**fields)  # type: ignore[arg-type]
    assert good.valid
    assert load.Report(**fields | {"lag_p99_ms": 2.0, "cpu_percent": 90, "untimed": 1}).valid  # type: ignore[arg-type]
    for name, value, text in (("lag_p99_ms", 2.1, "late"), ("cpu_percent", 91, "core"), ("untimed", 2, "kernel")):
        report = load.Report(**fields | {name: value})  # type: ignore[arg-type]
        assert len(report.objections) == 1
        assert text in report.objections[0]
