"""What came of a trial: everything that is wrong, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.call.prompts import Prompt
from agent.call.record import CallRecord, TurnRecord
from agent.ops.recording import read_tracks
from agent.sandbox.scenarios.rig import STALL_MS
from tests.chaos import conversation, judge
from tests.chaos.trial import Called, Evidence

ASIDES = (*(prompt.value for prompt in Prompt), "Bear with me.", "Just a moment.")
"""What the agent may say beside the replies, any number of times."""
REPLIES = (
    (conversation.GREETING,),
    (conversation.ASKS,),
    (conversation.BOOKED, conversation.KEPT, conversation.NOT_BOOKED),
    (conversation.GOODBYE,),
)


@dataclass(slots=True)
class Outcome:
    """The judgement of one trial."""

    row: str
    seed: int
    wrong: list[str] = field(default_factory=list)
    longest_silence_s: float = 0.0
    cut_words: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    bookings: int = 0
    calls: int = 0
    stalled_ms: float = 0.0
    spoilt: list[float] = field(default_factory=list)
    """Of the trials of this row and seed that were made in vain before this one: how late this host was, ms."""
    folder: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything came as it must."""
        return not self.wrong

    @property
    def stalled(self) -> bool:
        """Whether this host stood still for long enough to be the reason."""
        return self.stalled_ms >= STALL_MS


def end_of(call: Called) -> str:
    """How a call ended, as `row.End` says."""
    result = call.result
    if "start says" in result.failure or "no FastAGI" in result.failure:
        return "turned away"
    if result.verdict == "transfer":
        return "transfer"
    if result.verdict == "hangup":
        return "goodbye"
    if result.ended_by == "caller":
        return "the caller gave up"
    return "fallback"


def judge_trial(found: Evidence) -> Outcome:
    """Judge everything: the recordings first, then the office, then what the operator sees."""
    row = found.row
    outcome = Outcome(row.name, found.seed, stalled_ms=found.stalled_ms, calls=len(found.calls))
    for call in found.calls:
        outcome.wrong += [f"{call.name}: {wrong}" for wrong in _call(call, found, outcome)]
    must = {call.name: _must(call, found) for call in found.calls}
    waiting = [name for name, state in found.kept.items() if state in ("waiting", "sending", "uncertain")]
    refused = [name for name, state in found.kept.items() if state == "refused"]
    outcome.wrong += judge.bookings_wrong(must, found.booked, waiting, refused)
    outcome.wrong += [
        f"the booking of {name} is {state} in the outbox, and should be {' or '.join(row.kept)}"
        for name, state in found.kept.items()
        if state not in row.kept
    ]
    outcome.bookings = len(found.booked)
    outcome.wrong += _operator(found)
    return outcome


def _must(call: Called, found: Evidence) -> bool:
    """Whether this caller's booking must be somewhere."""
    if found.row.booked == "each":
        return True
    told = any(text in turn.heard for turn in _turns(call.record) for text in (conversation.BOOKED, conversation.KEPT))
    return found.row.booked == "each who asked" and (told or call.name in found.kept)


def _call(call: Called, found: Evidence, outcome: Outcome) -> Iterator[str]:
    row, result = found.row, call.result
    end = end_of(call)
    outcome.ends[end] = outcome.ends.get(end, 0) + 1
    if end not in row.ends:
        yield f"the call ended with {end}, not {' or '.join(row.ends)} ({result.failure or result.verdict})"
    if end == "turned away":
        return
    tracks = read_tracks(call.recording)
    quiet = [silence.seconds for silence in judge.silences(tracks)]
    outcome.longest_silence_s = max([outcome.longest_silence_s, *quiet[:-1]])
    yield from judge.too_silent(tracks, result.ended_by)
    heard = judge.words_of(tracks.agent, tracks.rate)
    replies = REPLIES if row.exact else REPLIES[:0]
    if replies:
        hearing = judge.misheard(heard, replies, ASIDES)
        outcome.cut_words += len(hearing.cut)
        yield from hearing.wrong
    if call.record is None:
        if not row.acts:
            yield "the agent has no record of the call"
        return
    yield from _misunderstood(call, row.exact)
    said = " ".join(turn.heard for turn in _turns(call.record))
    for phrase in row.says:
        if not any(choice in said for choice in phrase.split("|")):
            yield f"{phrase!r} was not said"


def _misunderstood(call: Called, exact: bool) -> Iterator[str]:
    """Whether the agent has heard each of the caller's words once."""
    told = judge.plain(" ".join(turn.caller for turn in _turns(call.record)))
    meant = judge.plain(" ".join(conversation.lines_of(call.name)))
    if exact and told != meant:
        yield f"the caller said {' '.join(meant)!r}, and the agent heard {' '.join(told)!r}"


def _turns(record: CallRecord | None) -> list[TurnRecord]:
    return list(record.turns) if record is not None else []


def _operator(found: Evidence) -> Iterator[str]:
    counted: Counter[str] = Counter()
    for call in found.calls:
        if call.record is not None:
            for vendor, counters in call.record.vendors.items():
                counted.update({f"{vendor}.{name}": value for name, value in counters.items()})
            counted.update(f"mark.{mark.what}" for mark in call.record.marks)
            counted.update([f"outcome.{call.record.outcome}"])
    for name, least in found.row.shows.items():
        value = counted.get(name, found.metrics.get(name, 0))
        if value < least:
            yield f"{name} is {value:g} and must be {least} at least"
    for pattern in found.row.log:
        if not re.search(pattern, found.log):
            yield f"the agent's log has no line like {pattern!r}"
    for line in re.findall(r"^(?:Traceback .*|.*Task exception was never retrieved.*)$", found.log, re.MULTILINE):
        yield f"the agent's log has {line.strip()!r}"
