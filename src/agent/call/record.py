"""A call's record: who, when, what was said by whom, how long each turn took, and what came of it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

VERSION = 1


@dataclass(slots=True)
class TurnTimes:
    """When things happened in one exchange: ms of the call, None for what did not happen.

    `speech_end` is the true end of the caller's speech: local voice activity, back-dated to the sample. `turn_end` is
    when the agent was certain that the turn is over; an answer that it thought of early has its `llm_request` before.
    """

    speech_end: int | None = None
    final_transcript: int | None = None
    turn_end: int | None = None
    llm_request: int | None = None
    first_token: int | None = None
    first_tts_text: int | None = None
    first_audio: int | None = None
    first_frame: int | None = None

    @property
    def latency_ms(self) -> int | None:
        """From the true end of the caller's speech to the first frame of the answer."""
        if self.speech_end is None or self.first_frame is None:
            return None
        return self.first_frame - self.speech_end


@dataclass(slots=True)
class TurnRecord:
    """One exchange. `heard` is what the caller heard of `agent`; it differs after an interruption."""

    caller: str
    start_ms: int
    agent: str = ""
    heard: str = ""
    interrupted: bool = False
    end_ms: int | None = None
    times: TurnTimes = field(default_factory=TurnTimes)
    tools: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Mark:
    """Something that happened at a moment: hold, resume, barge_in, flush, dtmf and the like."""

    at_ms: int
    what: str
    detail: str = ""


@dataclass(slots=True)
class CallRecord:
    """Everything that is kept of a call. `caller_id` is empty when it was withheld."""

    uuid: str
    did: str = ""
    caller_id: str = ""
    caller_name: str = ""
    unique_id: str = ""
    linked_id: str = ""
    source: str = "none"
    company: str = ""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    seconds: float = 0.0
    ended_by: str = ""
    """Who ended it: one of fastaudio's END_REASONS."""
    outcome: str = "no_booking"
    """booked, transferred, no_booking, silent or failed."""
    verdict: str = ""
    booking_id: str = ""
    turns: list[TurnRecord] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    media: dict[str, int] = field(default_factory=dict)
    vendors: dict[str, dict[str, int]] = field(default_factory=dict)
    recording: str = ""
    version: int = VERSION

    def mark(self, at_ms: int, what: str, detail: str = "") -> None:
        """Note that something happened."""
        self.marks.append(Mark(at_ms, what, detail))

    @property
    def latencies_ms(self) -> list[int]:
        """The latency of each turn that has one."""
        return [latency for turn in self.turns if (latency := turn.times.latency_ms) is not None]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        document = asdict(self)
        for turn, entry in zip(self.turns, document["turns"], strict=True):
            entry["latency_ms"] = turn.times.latency_ms
        return document

    def metrics_line(self) -> str:
        """The one line a call that goes to the log: no number, no name, no word that was said."""
        latencies = self.latencies_ms
        average = round(sum(latencies) / len(latencies)) if latencies else 0
        barge_ins = sum(mark.what == "barge_in" for mark in self.marks)
        return (
            f"CALL_METRICS uuid={self.uuid} duration_s={self.seconds:.1f} turns={len(self.turns)} "
            f"barge_ins={barge_ins} avg_latency_ms={average} outcome={self.outcome} "
            f"booking={self.booking_id or '-'} ended_by={self.ended_by}"
        )


def write_record(record: CallRecord, directory: Path) -> Path:
    """Write the record to `directory`, whole or not at all; it is readable by its owner alone. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{record.uuid}.json"
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(record.as_dict(), option=orjson.OPT_INDENT_2))
    temporary.replace(path)
    return path
