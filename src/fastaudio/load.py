"""The load generator: many callers at once, on the clock, who time what they hear.

`python -m fastaudio load HOST:PORT --calls N --seconds S` on the command line; `run` from Python. It works with any
AudioSocket server that sends audio all the time, as one for Asterisk must.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastaudio import _load
from fastaudio.errors import FastAudioError

UUID_PREFIX_BYTES = 12
THREAD = "fastaudio-load"
"""Name of the thread in which the calls run."""
LAG_P99_MS = 2.0
"""A generator that sends later than this at P99 was the bottleneck: what it measured is partly itself."""
CPU_PERCENT = 90.0
"""The same when its thread used more than this of a core."""
UNTIMED_SHARE = 0.001
"""The same when the kernel gave no receive time for more than this share of messages."""

Phase = Literal["connecting", "warming up", "measuring", "over"]


class LoadError(FastAudioError):
    """A run came to no measurement; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: calls on the line, messages of audio received within the measurement."""

    phase: Phase
    connected: int
    messages: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the callers measured, over all calls.

    Arrivals are of whole audio messages, by the kernel's receive time. `gap_*`: between two arrivals of one call.
    `rate_ppm_*`: slope of arrival time over audio time of each call (least squares) as an error of its rate, positive
    for audio that comes too fast; the median call, and the one that is furthest off. `slip_*`: what a call should have
    received by the end, from its first arrival in the measurement on, less what it has. `merged`: messages that one
    read took together with a later one, so that the time of each is not known (their gap is left out, the gap before
    them is an upper bound). `untimed`: messages without a time of the kernel's. `ended`: calls that ended early, by
    reason; `silent`: calls that heard nothing. `lag_*` and `cpu_percent`: the generator's own lateness in sending, and
    what its thread used of a core. Times are in ms.

    Of callers who converse: `turns` of theirs, `answers` of the agent (first sounds after a turn), `unanswered` turns
    (nothing for 8 s), `overlaps` (the agent began before the caller had finished); `answer_*`: from the caller's last
    message of speech to the agent's first sound.
    """

    calls: int
    seconds: float
    rate: int
    packet_ms: int
    frames_sent: int
    frames: int
    gap_p50_ms: float
    gap_p99_ms: float
    gap_p999_ms: float
    gap_max_ms: float
    gaps_over_40_ms: int
    merged: int
    untimed: int
    rate_ppm_median: float
    rate_ppm_worst: float
    slip_median_ms: float
    slip_worst_ms: float
    ended_early: int
    ended: dict[str, int]
    silent: int
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    cpu_percent: float
    turns: int
    answers: int
    unanswered: int
    overlaps: int
    answer_p50_ms: float
    answer_p99_ms: float
    answer_max_ms: float

    @property
    def carried(self) -> bool:
        """Every call was heard from, and lasted to the end."""
        return self.ended_early == 0 and self.silent == 0

    @property
    def objections(self) -> tuple[str, ...]:
        """Why the generator, not the server, may be what was measured, and what to do; empty for a valid run."""
        found = []
        if self.lag_p99_ms > LAG_P99_MS:
            found.append(
                f"the generator was late itself: {self.lag_p99_ms:.1f} ms at P99, of at most {LAG_P99_MS:g}; give it a "
                "core that nothing else uses (taskset -c), a quiet machine, or fewer calls"
            )
        if self.cpu_percent > CPU_PERCENT:
            found.append(
                f"the generator used {self.cpu_percent:.0f} % of a core, of at most {CPU_PERCENT:g}; share the calls "
                "among several generators, each on a core of its own"
            )
        if self.untimed > UNTIMED_SHARE * self.frames:
            found.append(
                f"the kernel gave no receive time for {self.untimed} of {self.frames} messages (SO_TIMESTAMPNS on "
                "TCP); run it on Linux itself, not in a sandbox that imitates it"
            )
        return tuple(found)

    @property
    def valid(self) -> bool:
        """The generator was not the bottleneck."""
        return not self.objections


def run(
    host: str,
    port: int,
    *,
    calls: int,
    seconds: float,
    warmup: float = 2.0,
    rate: int = 8000,
    packet_ms: int = 20,
    talk_percent: int = 60,
    turn_ms: int = 0,
    calls_a_second: int = 500,
    uuid_prefix: bytes | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Call a server `calls` times at once, and measure for `seconds` what it sends.

    Blocks; the calls run in a thread of their own, without the GIL. The soft limit of open files is raised when it is
    too low.

    Args:
        host: Name or address of the server.
        port: Its TCP port.
        calls: 1..65536.
        seconds: Length of the measurement.
        warmup: Seconds between the last connection and the measurement.
        rate: Samples a second that the callers send: 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000 or 192000.
        packet_ms: Audio in one message, 10..60 ms.
        talk_percent: How much of a caller's time is speech, 0..100; the rest is faint noise.
        turn_ms: Let the callers converse with an agent: speech of this length, 100..4000 ms, then silence until the
            agent has spoken and paused for 0.7 s. 0: they talk by the clock, whatever they hear.
        calls_a_second: How fast the calls come, from 1.
        uuid_prefix: 12 bytes that the calls' UUIDs begin with (`call_uuid`), for a server that wants to know them in
            advance; None for random ones.
        on_progress: Called some ten times a second in the calling thread. What it raises ends the run.

    Raises:
        ValueError: An argument is out of range.
        LoadError: The server cannot be reached, refused, or ended a call before the measurement.

    """
    if not 0 < port < 65536:
        raise ValueError(f"a port is 1 to 65535, not {port}")
    if not 1 <= calls <= 65536:
        raise ValueError(f"calls are 1 to 65536, not {calls}")
    if not 1 <= calls_a_second <= 1_000_000:
        raise ValueError(f"calls_a_second is 1 to 1000000, not {calls_a_second}")
    if not 10 <= packet_ms <= 60:
        raise ValueError(f"packet_ms is 10 to 60, not {packet_ms}")
    if not 0 <= talk_percent <= 100:
        raise ValueError(f"talk_percent is 0 to 100, not {talk_percent}")
    if turn_ms != 0 and not 100 <= turn_ms <= 4000:
        raise ValueError(f"turn_ms is 0, or 100 to 4000, not {turn_ms}")
    if not (0 < seconds <= 86400 and 0 <= warmup <= 86400):
        raise ValueError(
            f"a measurement takes more than 0 s, a warm-up no less, neither over a day: {seconds}, {warmup}"
        )
    if rate not in RATES:
        raise ValueError(f"AudioSocket has no audio at {rate} samples a second: {', '.join(map(str, RATES))}")
    address = _resolve(host, port)
    _make_room(calls)
    generator = _load.Generator(
        address,
        port,
        uuid_prefix=os.urandom(UUID_PREFIX_BYTES) if uuid_prefix is None else uuid_prefix,
        calls=calls,
        calls_a_second=calls_a_second,
        rate=rate,
        packet_ms=packet_ms,
        talk_percent=talk_percent,
        turn_ms=turn_ms,
        warmup_ns=round(warmup * 1e9),
        measure_ns=round(seconds * 1e9),
    )
    if not _run_in_thread(generator, on_progress):
        raise LoadError(_trouble(generator, f"{host}:{port}", calls))
    return _report(generator, calls, rate, packet_ms)


def call_uuid(prefix: bytes, number: int) -> uuid.UUID:
    """Return the UUID of a call: the prefix of 12 bytes, and the call's number from 0."""
    return uuid.UUID(bytes=prefix + number.to_bytes(4, "big"))


RATES = (8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)
"""Samples a second that AudioSocket has a kind for (0x10 to 0x18)."""


def _run_in_thread(generator: _load.Generator, on_progress: Callable[[Progress], None] | None) -> bool:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(generator.run()), name=THREAD)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
            if on_progress is not None:
                on_progress(Progress(*generator.progress()))  # type: ignore[arg-type]  # the names of PHASES
    finally:
        generator.stop()
        thread.join()
    return results[0]


def _resolve(host: str, port: int) -> str:
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise LoadError(f"the host {host!r} is not known: {error.strerror}") from error


def _make_room(calls: int) -> None:
    """Let this process open a file for each call."""
    needed = calls + len(os.listdir("/proc/self/fd")) + 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(f"{calls} calls need {needed} open files, and this process may have {hard}: ulimit -n {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _trouble(generator: _load.Generator, server: str, calls: int) -> str:
    kind, call, number, end = generator.trouble()
    which = f"call {call + 1} of {calls}"
    if kind == "ended":
        hint = {
            "closed": "it closed the connection; see its log, and whether it has room for as many calls",
            "reset": "it reset the connection; see its log",
            "hung_up": "it hung up; raise its limit of calls, or ask for fewer",
            "protocol": "it sent what Asterisk does not take: is it an AudioSocket server?",
            "not_reading": "it left the caller's audio unread until no more fitted",
        }.get(end, "the socket failed")
        return f"{server} ended {which} before the measurement: {hint}"
    if kind == "socket" and number in (errno.EMFILE, errno.ENFILE):
        return f"no file for {which}: raise ulimit -n"
    if kind == "socket":
        return f"no socket for {which}: {os.strerror(number)}"
    if kind == "connect":
        hint = {
            errno.ECONNREFUSED: "nobody listens there, or its backlog is full",
            errno.ETIMEDOUT: "no answer within 5 s; a firewall, or a backlog that is full: fewer calls a second",
            errno.EADDRNOTAVAIL: "no local port is left: see net.ipv4.ip_local_port_range",
        }.get(number, "is the address right?")
        return f"cannot reach {server} for {which}: {os.strerror(number)} ({hint})"
    return "the run was stopped"


def _report(generator: _load.Generator, calls: int, rate: int, packet_ms: int) -> Report:
    got = generator.report()

    def ms(ns: int) -> float:
        return round(ns / 1e6, 3)

    return Report(
        calls=calls,
        seconds=round(got["measured_ns"] / 1e9, 3),
        rate=rate,
        packet_ms=packet_ms,
        frames_sent=got["sent"],
        frames=got["messages"],
        gap_p50_ms=ms(got["gap_p50_ns"]),
        gap_p99_ms=ms(got["gap_p99_ns"]),
        gap_p999_ms=ms(got["gap_p999_ns"]),
        gap_max_ms=ms(got["gap_max_ns"]),
        gaps_over_40_ms=got["long_gaps"],
        merged=got["merged"],
        untimed=got["untimed"],
        rate_ppm_median=round(got["ppm_median"], 1),
        rate_ppm_worst=round(got["ppm_worst"], 1),
        slip_median_ms=ms(got["slip_median_ns"]),
        slip_worst_ms=ms(got["slip_worst_ns"]),
        ended_early=sum(got["ended"].values()),
        ended=got["ended"],
        silent=got["silent"],
        lag_p50_ms=ms(got["lag_p50_ns"]),
        lag_p99_ms=ms(got["lag_p99_ns"]),
        lag_max_ms=ms(got["lag_max_ns"]),
        cpu_percent=round(100 * got["cpu_ns"] / max(1, got["measured_ns"]), 1),
        turns=got["turns"],
        answers=got["answers"],
        unanswered=got["unanswered"],
        overlaps=got["overlaps"],
        answer_p50_ms=ms(got["answer_p50_ns"]),
        answer_p99_ms=ms(got["answer_p99_ns"]),
        answer_max_ms=ms(got["answer_max_ns"]),
    )
