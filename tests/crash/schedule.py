"""Kills processes between any two steps, again and again, and looks at what has become of the bookings.

    python -m tests.crash.schedule --points 1000 --seed 7

A crash point is a process that was killed with SIGKILL: a sender in front of a step or at any moment, or the API before
or behind its commit. Now and then two senders share the directory. Prints one JSON object; what is wrong is in `wrong`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from agent.tools.outbox import OutboxStore
from tests.crash import books, sender
from tests.crash.books import Api

STEPS = 120
"""A life in which a few bookings are kept and sent has about so many."""


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; return its ID. This one has no threads and no event loop."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def free_port() -> int:
    """A port that was free a moment ago, and that the kernel gives to no connection while its API is dead: below the
    ephemeral ones.
    """
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(10_001, ephemeral))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Schedule:
    """One folder, one API, and what happened."""

    api: Api
    folder: Path
    chance: random.Random
    port: int = field(default_factory=free_port)
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    bookings: int = 0
    faulty: float = 0.45
    """The share of requests that go wrong."""
    _api_process: int = 0

    @property
    def crash_points(self) -> int:
        """How many processes were killed."""
        return sum(self.killed.values())

    # -- the API -------------------------------------------------------------------------------------------------------

    def mind_api(self) -> None:
        """Start the API if it is dead."""
        if self._api_process:
            ended, status = os.waitpid(self._api_process, os.WNOHANG)
            if not ended:
                return
            if not os.WIFSIGNALED(status):
                raise RuntimeError(f"the API ended by itself with {status}")
            self.killed["API"] += 1
        ready = self.folder / "listening"
        ready.unlink(missing_ok=True)
        seed = self.chance.getrandbits(32)
        self._api_process = fork(lambda: books.serve(self.api, self.folder, self.port, seed, self.faulty))
        limit = time.monotonic() + 20
        while not ready.exists():
            if time.monotonic() > limit:
                raise RuntimeError("the API does not start")
            time.sleep(0.002)

    def stop_api(self) -> None:
        """End it, if it has not ended already."""
        if self._api_process:
            os.kill(self._api_process, signal.SIGKILL)
            os.waitpid(self._api_process, 0)
            self._api_process = 0

    # -- senders -------------------------------------------------------------------------------------------------------

    def begin(self, new: int, kill_at: int = 0) -> int:
        """Begin a sender's life with so many new bookings."""
        numbers = range(self.bookings, self.bookings + new)
        self.bookings += new
        self.lives += 1
        honours = self.api != "forgets"
        pace = sender.IN_A_HURRY if self.faulty else sender.PATIENT
        return fork(
            lambda: sender.live(self.folder, self.port, numbers, honours_keys=honours, kill_at=kill_at, pace=pace)
        )

    def end(self, process: int, *, after_s: float | None = None) -> bool:
        """Wait for a sender to end, killing it after a time; tell whether it was killed."""
        limit = time.monotonic() + (sender.LIFE_S + 10 if after_s is None else after_s)
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > limit:
                os.kill(process, signal.SIGKILL)
                _, status = os.waitpid(process, 0)
                if after_s is None:
                    raise RuntimeError("a sender hangs")
                break
            time.sleep(0.001)
            # A sender that waits for its API waits for the driver, too.
            self.mind_api()
        if os.WIFSIGNALED(status):
            self.killed["sender"] += 1
            return True
        if os.WEXITSTATUS(status):
            self.wrong.append(f"a sender ended with status {os.WEXITSTATUS(status)}")
        return False

    def run(self, points: int) -> None:
        """Kill so many processes, then let everything come to its end in peace."""
        try:
            while self.crash_points < points and not self.wrong:
                self.mind_api()
                kind = self.chance.random()
                if kind < 0.15:
                    self.end(self.begin(3))
                elif kind < 0.6:
                    self.end(self.begin(self.chance.randint(0, 3), self.chance.randint(1, STEPS)))
                elif kind < 0.8:
                    self.end(self.begin(self.chance.randint(0, 3)), after_s=self.chance.uniform(0, 0.15))
                else:
                    pair = [self.begin(self.chance.randint(1, 3), self.chance.randint(20, STEPS)) for _ in range(2)]
                    for process in pair:
                        self.end(process)
            self.faulty = 0.0
            self.stop_api()
            self.mind_api()
            self.end(self.begin(10))
        finally:
            self.stop_api()
        self.judge()

    # -- the judgement -------------------------------------------------------------------------------------------------

    def judge(self) -> Counter[str]:
        """Compare what was promised, what the outbox says and what the API has; return the states."""
        made = books.booked(self.api, self.folder)
        promised = set((self.folder / "promised.txt").read_text().split())
        with contextlib.closing(OutboxStore(self.folder)) as store:
            entries = {entry.key: entry for entry in store.entries(everything=True, limit=1_000_000)}
        for key in promised - entries.keys():
            self.wrong.append(f"lost: {key[:12]} was promised and is not in the outbox")
        for key in made.keys() - entries.keys():
            self.wrong.append(f"from nowhere: {key[:12]} is booked and not in the outbox")
        for key, entry in entries.items():
            ids = made.get(key, [])
            if len(ids) > 1:
                self.wrong.append(f"twice: {key[:12]} is booked {len(ids)} times and {entry.state}")
            may_be = {"accepted"} if entry.body["customer_name"] else {"refused"}
            if self.api == "forgets":
                may_be.add("uncertain")
            if entry.state not in may_be:
                self.wrong.append(f"{key[:12]} ends as {entry.state}: {entry.reason}")
            if entry.state == "accepted" and ids != [entry.answer]:
                self.wrong.append(f"{key[:12]} is accepted as {entry.answer!r} and booked as {ids}")
            if entry.state == "refused" and ids:
                self.wrong.append(f"{key[:12]} is refused and booked")
        self.states = Counter(entry.state for entry in entries.values())
        return self.states

    def report(self) -> dict[str, object]:
        """What happened, for a reader."""
        faults = Counter(
            line.partition(" ")[2]
            for line in (self.folder / "faults.txt").read_text().splitlines()
            if "none" not in line
        )
        return {
            "api": self.api,
            "crash_points": self.crash_points,
            "killed": self.killed,
            "lives": self.lives,
            "bookings": self.bookings,
            "states": self.states,
            "faults": dict(sorted(faults.items())),
            "wrong": self.wrong[:20],
        }


def in_peace(api: Api, seed: int, senders: int = 4, each: int = 50) -> dict[str, object]:
    """Several senders at once in one folder, and nothing goes wrong: each row is sent by one of them, once."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        schedule = Schedule(api, Path(folder), random.Random(seed), faulty=0.0)
        try:
            schedule.mind_api()
            for process in [schedule.begin(each) for _ in range(senders)]:
                schedule.end(process)
        finally:
            schedule.stop_api()
        schedule.judge()
        report = schedule.report()
        requests = len((schedule.folder / "faults.txt").read_text().splitlines())
    if requests != senders * each or schedule.states["uncertain"]:
        schedule.wrong.append(f"{requests} requests for {senders * each} bookings: {dict(schedule.states)}")
    return report | {"wrong": schedule.wrong[:20]}


def every_step(api: Api, seed: int) -> dict[str, object]:
    """Kill a sender in front of its first step, its second and so on, each in a folder of its own."""
    wrong: list[str] = []
    step = 0
    states: Counter[str] = Counter()
    while True:
        step += 1
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            schedule = Schedule(api, Path(folder), random.Random(seed), faulty=0.0)
            try:
                schedule.mind_api()
                killed = schedule.end(schedule.begin(1, step))
                schedule.end(schedule.begin(0))
            finally:
                schedule.stop_api()
            (schedule.folder / "promised.txt").touch()
            states += schedule.judge()
            wrong += [f"step {step}: {what}" for what in schedule.wrong]
        if not killed:
            return {"api": api, "crash_points": step - 1, "states": states, "wrong": wrong[:20]}


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=60, help="crash points of each API")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--api", choices=get_args(Api), action="append")
    parser.add_argument("--every-step", action="store_true", help="one after the other instead of by chance")
    parser.add_argument("--in-peace", action="store_true", help="nobody is killed: many senders share a directory")
    options = parser.parse_args()
    gc.freeze()
    reports = []
    for api in options.api or get_args(Api):
        if options.every_step:
            reports.append(every_step(api, options.seed))
            continue
        if options.in_peace:
            reports.append(in_peace(api, options.seed))
            continue
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            schedule = Schedule(api, Path(folder), random.Random(options.seed))
            schedule.run(options.points)
            reports.append(schedule.report())
    print(json.dumps({"seed": options.seed, "reports": reports}, indent=2))
    return 1 if any(report["wrong"] for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
