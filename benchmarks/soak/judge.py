"""Judges a soak by what was measured, without I/O: each finding says what was looked at, the figure, and its limit.

A trend is a slope over blocks of samples, each of them its median, with the standard error of the slope. What is above
its limit by more than two errors is a fault; what is below it by as much is none; anything else cannot be told, and
such a run proves nothing ("void"), as does one whose callers or vendors were late themselves.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Literal

State = Literal["ok", "FAILED", "void"]
BLOCKS = 12
ERRORS = 2.0
TIMELY = ("kept up", "frame rate", "latency", "log", "admission")
"""Findings that a host makes which is too slow for the callers or the vendors."""
LATE_MS = 15.0
"""A tick so late may owe a frame, as heard at the other end."""
POOL = 48
"""A pool may have so many whatever the number of calls: three files for each connection to a database."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is tolerated. The defaults are for half an hour and more."""

    leak_kib_a_call: float = 4.0
    """Growth of resident memory in the last half, for each call that ended."""
    rest_kib_a_call: float = 1.0
    """What is allocated by malloc at the end and was not at the start, for each call that ended."""
    rest_blocks_a_call: float = 10.0
    files_a_call: float = 0.02
    drift_ppm: float = 100.0
    rated_s: float = 30.0
    """Shorter calls tell no rate."""
    latency_share: float = 0.10
    latency_ms: float = 30.0
    """The medians of the first and last answers may differ by the share, or by so much."""
    loop_lag_ms: float = 100.0
    media_late_ms: float = 60.0
    callers_late_ms: float = 40.0
    vendors_late_ms: float = 50.0
    others_percent: float = 25.0
    """Of the agent's core that others may have."""
    late_share: float = 0.05
    """Of samples in which one of these may have been above its limit: a host stands still now and then."""
    spare_tasks: int = 2
    spare_threads: int = 2
    spare_files: int = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the verdict."""

    what: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a process has open while no call runs."""

    files: Mapping[str, int]
    """Open files by kind. A kind that ends with "pool" is kept for later calls, here and below."""
    threads: Mapping[str, int]
    tasks: Mapping[str, int]
    malloc_kib: int = 0
    python_blocks: int = 0
    """Small objects of Python's, which have an allocator of their own."""


@dataclass(slots=True)
class Evidence:
    """Everything that a run left. Samples are dicts, as `watch.py` takes them."""

    samples: Sequence[Mapping[str, Any]]
    before: Inventory
    after: Inventory
    heard: Sequence[Mapping[str, Any]]
    """Calls, as the callers tell them."""
    records: Mapping[str, Mapping[str, Any]]
    """The agent's records, by UUID."""
    bookings: Sequence[tuple[str, str]]
    """Rows of the office: ID of the booking, UUID of the call."""
    left_open: int = 0
    """Calls that the agent still had at the end."""
    log: Sequence[str] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope with its standard error, in units of y for each unit of x."""

    slope: float
    error: float

    def judge(self, limit: float) -> State:
        """Whether it is above a limit, below it, or whether that cannot be told."""
        if self.slope - ERRORS * self.error > limit:
            return "FAILED"
        return "ok" if self.slope + ERRORS * self.error <= limit else "void"


def trend(points: Sequence[tuple[float, float]], blocks: int = BLOCKS) -> Trend | None:
    """The slope of y over x, by least squares over the medians of blocks; None with too few of them that differ."""
    blocks = min(blocks, len(points) // 2)
    if blocks < 4:
        return None
    size = len(points) / blocks
    cut = [points[round(block * size) : round((block + 1) * size)] for block in range(blocks)]
    xs, ys = ([median(point[axis] for point in block) for block in cut] for axis in (0, 1))
    middle_x, middle_y = sum(xs) / blocks, sum(ys) / blocks
    spread = sum((x - middle_x) ** 2 for x in xs)
    if len(set(xs)) < blocks / 2:  # hardly anything has happened: the error would be too small
        return None
    slope = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return Trend(slope, math.sqrt(rest / (blocks - 2) / spread))


def judge(evidence: Evidence, limits: Limits | None = None) -> list[Finding]:
    """All findings, in the order in which they are told."""
    limits = limits or Limits()
    validity = _validity(evidence, limits)
    findings = [
        *validity,
        _kept_up(evidence, limits),
        _memory(evidence, limits),
        _at_rest(evidence, limits),
        *_inventory(evidence, limits),
        _drift(evidence, limits),
        _latency(evidence, limits),
        *_nothing_lost(evidence),
        _log(evidence),
        _admission(evidence),
    ]
    if status(validity) == 0:
        return findings
    # On a host that others keep busy, what has to do with time tells of the others.
    return [
        replace(finding, state="void") if finding.state == "FAILED" and finding.what in TIMELY else finding
        for finding in findings
    ]


def status(findings: Sequence[Finding]) -> int:
    """The exit status: 1 when something failed, 2 when something cannot be told, else 0."""
    states = {finding.state for finding in findings}
    return 1 if "FAILED" in states else 2 if "void" in states else 0


def _validity(evidence: Evidence, limits: Limits) -> list[Finding]:
    found = []
    for who, limit in (("callers", limits.callers_late_ms), ("vendors", limits.vendors_late_ms)):
        late = [sample[f"{who}_late_ms"] for sample in evidence.samples]
        bad = sum(ms > limit for ms in late)
        state: State = "ok" if bad <= limits.late_share * len(late) else "void"
        text = (
            f"{median(late) if late else 0:.1f} ms late at P99 (median of the samples), more than {limit:g} in {bad} "
            f"of {len(late)} samples, of at most {100 * limits.late_share:g} %"
        )
        found.append(Finding(f"{who} in time", state, text))
    others = [sample["others_percent"] for sample in evidence.samples]
    bad = sum(percent > limits.others_percent for percent in others)
    text = (
        f"others had {median(others) if others else 0:.0f} % of the agent's core (median of the samples), more than "
        f"{limits.others_percent:g} in {bad} of {len(others)} samples"
    )
    found.append(Finding("a core alone", "ok" if bad <= limits.late_share * len(others) else "void", text))
    return found


def _kept_up(evidence: Evidence, limits: Limits) -> Finding:
    lag = [sample["loop_lag_ms"] for sample in evidence.samples]
    late = [sample["media_late_ms"] for sample in evidence.samples]
    calls = [sample["calls"] for sample in evidence.samples]
    bad = sum(a > limits.loop_lag_ms or b > limits.media_late_ms for a, b in zip(lag, late, strict=True))
    state: State = "FAILED" if bad > limits.late_share * len(lag) or not lag else "ok"
    text = (
        f"{median(calls) if calls else 0:.0f} calls at a time (median; {evidence.wanted} callers); loop P95 up to "
        f"{max(lag, default=0):.1f} ms (gate {limits.loop_lag_ms:g}), media P99 up to {max(late, default=0):.1f} ms "
        f"(gate {limits.media_late_ms:g}), above a gate in {bad} of {len(lag)} samples"
    )
    return Finding("kept up", state, text)


def last_half(evidence: Evidence) -> list[Mapping[str, Any]]:
    """The samples of the second half of the run."""
    return [sample for sample in evidence.samples if sample["at_s"] >= evidence.seconds / 2]


def _memory(evidence: Evidence, limits: Limits) -> Finding:
    half = last_half(evidence)
    found = trend([(sample["ended"], sample["rss_kib"]) for sample in half])
    if found is None:
        return Finding("memory", "void", "too few samples in the last half")
    first, last = half[0]["rss_kib"], half[-1]["rss_kib"]
    text = (
        f"{found.slope:+.2f} ± {ERRORS * found.error:.2f} KiB for each call that ended in the last half (limit "
        f"{limits.leak_kib_a_call:g}); {first / 1024:.1f} MiB at its beginning, {last / 1024:.1f} at its end"
    )
    return Finding("memory", found.judge(limits.leak_kib_a_call), text)


REST_KIB, REST_BLOCKS = 4096, 30_000
"""What is kept within limits of its own, such as verdicts and a database's statements, fills in the first minutes."""


def _at_rest(evidence: Evidence, limits: Limits) -> Finding:
    """What calls left allocated: free of how long the live ones have lasted, and of what the allocators keep."""
    before, after = evidence.before, evidence.after
    ended = max((sample["ended"] for sample in evidence.samples), default=0)
    kib, blocks = after.malloc_kib - before.malloc_kib, after.python_blocks - before.python_blocks
    grown = kib > REST_KIB + limits.rest_kib_a_call * ended or blocks > REST_BLOCKS + limits.rest_blocks_a_call * ended
    text = (
        f"{kib:+d} KiB of malloc's and {blocks:+d} blocks of Python's when all {ended} calls had ended, of "
        f"{before.malloc_kib} KiB and {before.python_blocks} blocks"
    )
    return Finding("memory at rest", "FAILED" if grown else "ok", text)


def _inventory(evidence: Evidence, limits: Limits) -> list[Finding]:
    before, after = evidence.before, evidence.after
    # A pool may be larger than before the first calls, but not than the calls that there were at a time.
    most = max((sample["calls"] for sample in evidence.samples), default=0)
    found = [_left("open files", before.files, after.files, limits.spare_files, most)]
    half = trend([(sample["ended"], sum(sample["files"].values())) for sample in last_half(evidence)])
    if half is None:
        found.append(Finding("files over time", "void", "too few samples in the last half"))
    else:
        text = f"{half.slope:+.4f} ± {ERRORS * half.error:.4f} for each call that ended in the last half"
        state = half.judge(limits.files_a_call)
        found.append(Finding("files over time", state, f"{text} (limit {limits.files_a_call:g})"))
    found.append(_left("tasks", before.tasks, after.tasks, limits.spare_tasks, most))
    found.append(_left("threads", before.threads, after.threads, limits.spare_threads, most))
    return found


def _left(what: str, before: Mapping[str, int], after: Mapping[str, int], spare: int, most: int) -> Finding:
    """What there is more of than at the start: nothing by more than `spare`, no pool beyond `most`."""
    more = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    pools = {name: count for name, count in more.items() if name.endswith("pool") and after[name] <= max(most, POOL)}
    grown = {name: count for name, count in more.items() if name not in pools and count > spare}
    text = f"{sum(before.values())} at the start, {sum(after.values())} at the end"
    for title, kinds in (("more", grown), ("kept for later calls", pools)):
        text += f"; {title}: " + ", ".join(f"{name} +{count}" for name, count in kinds.items()) if kinds else ""
    return Finding(what, "FAILED" if grown else "ok", text)


def _drift(evidence: Evidence, limits: Limits) -> Finding:
    rated = [call for call in evidence.heard if call.get("ppm") is not None and call["rated_s"] >= limits.rated_s]
    if len(rated) < 3:
        return Finding("frame rate", "void", f"{len(rated)} calls of {limits.rated_s:g} s and more tell nothing")
    off = [call for call in rated if abs(call["ppm"]) > limits.drift_ppm]
    worst = max((call["ppm"] for call in rated), key=abs)
    slipped = [call for call in rated if call["slips"]]
    # The core sends no silence that it owes after a late tick. Frames that are missing without one are lost.
    lost = [call for call in slipped if _late_ms(evidence.records.get(call["uuid"])) < LATE_MS]
    text = (
        f"{median(call['ppm'] for call in rated):+.1f} ppm of 50/s at the median, {worst:+.1f} at worst, more than "
        f"{limits.drift_ppm:g} on {len(off)} of {len(rated)} calls of {limits.rated_s:g} s and more; frames of silence "
        f"left out after late ticks on {len(slipped)}, without one on {len(lost)}"
    )
    return Finding("frame rate", "FAILED" if off or lost else "ok", text)


def _late_ms(record: Mapping[str, Any] | None) -> float:
    """The latest tick of a call, by the core."""
    return record["media"].get("late_max_ns", 0) / 1e6 if record else 0.0


def answers(evidence: Evidence) -> list[tuple[float, float]]:
    """All answers that callers timed: second of the run, ms; in order."""
    return sorted((at, ms) for call in evidence.heard for at, ms in call.get("answers", ()))


def _latency(evidence: Evidence, limits: Limits) -> Finding:
    begin = min(60.0, evidence.seconds / 10)  # at first all calls are at their beginning, which is no fair sample
    window = min(evidence.seconds / 3, max(60.0, evidence.seconds / 10))
    timed = answers(evidence)
    first = [ms for at, ms in timed if begin <= at <= begin + window]
    last = [ms for at, ms in timed if at >= evidence.seconds - window]
    if len(first) < 10 or len(last) < 10:
        return Finding("latency", "void", f"{len(first)} answers at first and {len(last)} at last are too few")
    before, after = median(first), median(last)
    allowed = max(limits.latency_ms, limits.latency_share * before)
    change = Trend(after - before, math.hypot(_median_error(first), _median_error(last)))
    state = change.judge(allowed)
    text = (
        f"median answer {before:.0f} ms in {window:.0f} s from {begin:.0f} s on, {after:.0f} ms in "
        f"the last {window:.0f} s ({change.slope:+.0f} ± "
        f"{ERRORS * change.error:.0f}, at most {allowed:.0f} more; {len(first)} and {len(last)} answers)"
    )
    return Finding("latency", state, text)


def _median_error(values: Sequence[float]) -> float:
    """Standard error of a median, by the quartiles."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return 0.93 * (ordered[-1 - quarter] - ordered[quarter]) / math.sqrt(len(ordered))


def _nothing_lost(evidence: Evidence) -> list[Finding]:
    taken = [call for call in evidence.heard if call["status"] == "OK" and "seconds" in call]
    lost = [call["uuid"] for call in taken if call["uuid"] not in evidence.records]
    known = {call["uuid"] for call in evidence.heard}
    strange = [uuid for uuid in evidence.records if uuid not in known]
    broken = Counter(call["ended"] for call in evidence.heard if str(call.get("ended", "")).startswith("failure"))
    broken += Counter(call["verdict"] for call in evidence.heard if str(call.get("verdict", "")).startswith("failure"))
    verdicts = sum(call.get("verdict") in ("", "UNKNOWN") for call in taken if call.get("ended") == "agent")
    wrong = lost or strange or broken or verdicts or evidence.left_open
    text = f"{len(taken)} calls and {len(evidence.records)} records; {len(lost)} without a record"
    for count, what in (
        (len(strange), "records of no call"),
        (verdicts, "ended by the agent without a verdict"),
        (evidence.left_open, "calls never ended"),
    ):
        text += f", {count} {what}" if count else ""
    text += "".join(f"; {count} times {what}" for what, count in broken.items())
    found = [Finding("calls", "FAILED" if wrong or not taken else "ok", text)]
    promised = {record["booking_id"]: uuid for uuid, record in evidence.records.items() if record.get("booking_id")}
    rows = Counter(booking for booking, _ in evidence.bookings)
    gone = [booking for booking in promised if booking not in rows]
    calls = Counter(uuid for _, uuid in evidence.bookings)
    twice = [uuid for uuid, count in calls.items() if count > 1]
    stray = [booking for booking, uuid in evidence.bookings if uuid not in evidence.records]
    text = (
        f"{len(promised)} that callers were told of, {len(evidence.bookings)} in the office; {len(gone)} lost, "
        f"{len(twice)} made twice, {len(stray)} of no call"
    )
    if not promised:
        text += "; no booking was made, so none could be lost"
    found.append(Finding("bookings", "FAILED" if gone or twice or stray else "ok" if promised else "void", text))
    return found


_LEVEL = re.compile(r" (ERROR|CRITICAL) +([\w.]+): (.*)")
_TRACE = re.compile(r"^Traceback|was never retrieved|was never awaited|was destroyed but it is pending")
EXPECTED_ERRORS: tuple[re.Pattern[str], ...] = ()
"""What the agent may log as an error when a vendor fails once: nothing; such things are warnings."""


def _log(evidence: Evidence) -> Finding:
    odd: Counter[str] = Counter()
    for line in evidence.log:
        match = _LEVEL.search(line)
        if match and not any(pattern.search(match[0]) for pattern in EXPECTED_ERRORS):
            odd[f"{match[2]}: {re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', '…', match[3])}"] += 1
        elif _TRACE.search(line):
            odd[line.strip()] += 1
    warnings = sum(" WARNING " in line for line in evidence.log)
    text = f"{warnings} warnings, {sum(odd.values())} errors"
    text += "".join(f"; {count} times {what[:160]}" for what, count in odd.most_common(5))
    return Finding("log", "FAILED" if odd else "ok", text)


def _admission(evidence: Evidence) -> Finding:
    turned_away = Counter(call["status"] for call in evidence.heard if call["status"] != "OK")
    refused = {reason: count for reason, count in evidence.refused.items() if count}
    if not turned_away and not refused:
        return Finding("admission", "ok", f"none of {len(evidence.heard)} calls turned away")
    text = ", ".join(f"{count} times {what}" for what, count in turned_away.items()) or "nobody"
    text += "; reasons: " + (", ".join(f"{reason} {count}" for reason, count in refused.items()) or "none")
    return Finding("admission", "FAILED", f"of {len(evidence.heard)} calls were turned away: {text}")
