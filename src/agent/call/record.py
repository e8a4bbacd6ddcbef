"""A call's record: who, when, what was said by whom, how long each turn took, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import orjson
from pydantic import ConfigDict

VERSION = 2

STAGES = {
    "stt": "end of the caller's speech to the final transcript",
    "endpoint": "end of the caller's speech to the certain end of the turn",
    "llm": "request to the LLM to its first word",
    "clause": "first word to the first text for the TTS",
    "tts": "first text for the TTS to its first audio",
    "gate": "audio that was ready and waited for the end of the turn",
    "wire": "audio that might go out to its first frame on the wire",
    "whole": "end of the caller's speech to the first frame of the answer",
}
"""The parts of a turn that are measured. With early thinking they overlap, so they do not add up to the whole."""


_DESCRIBED = ConfigDict(use_attribute_docstrings=True)
"""The JSON Schema of the document (record_schema.py) says what is said here of each field."""


class RecordError(ValueError):
    """A file is no call record; the text says why."""


@dataclass(slots=True)
class TurnTimes:
    """When things happened in one exchange: ms of the call, None for what did not happen.

    `speech_end` is the true end of the caller's speech: local voice activity, back-dated to the sample. `turn_end` is
    when the agent was certain that the turn is over; an answer that it thought of early has its `llm_request` before.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

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

    @property
    def early(self) -> bool:
        """Whether the answer was thought of before the turn was certain to be over."""
        return self.llm_request is not None and self.turn_end is not None and self.llm_request < self.turn_end

    def stages_ms(self) -> dict[str, int]:
        """How long each of `STAGES` took; what cannot be told is left out.

        The final transcript and the end of the turn may precede what the local detector takes for the end of the
        speech: such a stage is negative, and kept so.
        """
        return {name: end - begin for name, (begin, end) in self.spans().items()}

    def spans(self) -> dict[str, tuple[int, int]]:
        """From when to when each of `STAGES` lasted, ms of the call; what cannot be told is left out."""
        certain = self.turn_end if self.turn_end is not None else self.first_audio
        gate = ready = None
        if self.first_audio is not None and certain is not None:
            ready = max(self.first_audio, certain)
            gate = self.first_audio
        spans = {
            "stt": (self.speech_end, self.final_transcript),
            "endpoint": (self.speech_end, self.turn_end),
            "llm": (self.llm_request, self.first_token),
            "clause": (self.first_token, self.first_tts_text),
            "tts": (self.first_tts_text, self.first_audio),
            "gate": (gate, ready),
            "wire": (ready, self.first_frame),
            "whole": (self.speech_end, self.first_frame),
        }
        return {name: (begin, end) for name, (begin, end) in spans.items() if begin is not None and end is not None}

    def summary(self) -> str:
        """The wait and its parts for people, such as "310 ms, thought of early (stt 170, llm 35)"; empty without."""
        stages = self.stages_ms()
        if "whole" not in stages:
            return ""
        early = ", thought of early" if self.early else ""
        shown = ("stt", "endpoint", "llm", "tts", "gate", "wire")
        parts = ", ".join(f"{name} {stages[name]}" for name in shown if name in stages)
        return f"{stages['whole']} ms{early} ({parts})"


@dataclass(slots=True)
class Word:
    """A word, and the ms of the call at which it is spoken; where a vendor does not tell, they are estimates."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    who: str
    """"caller" or "agent"."""
    text: str
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class TurnRecord:
    """One exchange. `heard` is what the caller heard of `agent`; it differs after an interruption."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    caller: str
    start_ms: int
    agent: str = ""
    heard: str = ""
    interrupted: bool = False
    end_ms: int | None = None
    times: TurnTimes = field(default_factory=TurnTimes)
    tools: list[dict[str, Any]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    """Of both, in the order in which they are spoken; of the agent only what was heard."""
    drafts: int = 0
    """Answers that were thought of before the turn was certain to be over."""
    wasted: int = 0
    """Those of them that were thrown away."""

    @property
    def unheard(self) -> str:
        """What was made of `agent` and not heard."""
        return " ".join(self.agent.split()[len(self.heard.split()) :]) if self.heard != self.agent else ""


@dataclass(slots=True)
class Mark:
    """Something that happened at a moment: hold, resume, barge_in, flush, dtmf and the like."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    at_ms: int
    what: str
    detail: str = ""


@dataclass(slots=True)
class CallRecord:
    """Everything that is kept of a call. `caller_id` is empty when it was withheld."""

    __pydantic_config__: ClassVar[ConfigDict] = _DESCRIBED

    uuid: str
    """Of the AudioSocket connection: the dialplan chose it."""
    did: str = ""
    """The number that was dialled, as Asterisk gave it."""
    caller_id: str = ""
    """In E.164 where it is a full number; empty when it was withheld."""
    caller_name: str = ""
    """As the network gave it."""
    unique_id: str = ""
    """Asterisk's UNIQUEID of the channel."""
    linked_id: str = ""
    """Asterisk's LINKEDID: the same for all channels of one call."""
    source: str = "none"
    """How the call was announced: fastagi, http, file, or none."""
    company: str = ""
    """In whose name it was answered."""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    """When the line was there: ISO 8601, UTC."""
    seconds: float = 0.0
    """From then on to the end."""
    ended_by: str = ""
    """Who ended it: one of fastaudio's END_REASONS."""
    outcome: str = "no_booking"
    """booked, booking_kept (to send later), transferred, no_booking, silent, machine, refused (a limit) or failed."""
    verdict: str = ""
    """What the dialplan was told to do next."""
    booking_id: str = ""
    """Of the booking that was made; empty without."""
    turns: list[TurnRecord] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    """What happened, in the order of time."""
    early_answers: dict[str, int] = field(default_factory=lambda: {"begun": 0, "used": 0, "thrown_away": 0})
    """What thinking early took: the last one counts requests to the LLM and the TTS that came to nothing."""
    media: dict[str, int] = field(default_factory=dict)
    """The media core's counters of this call; docs/fastaudio.md names them."""
    vendors: dict[str, dict[str, int]] = field(default_factory=dict)
    """Counters of the connections to vendors."""
    vendor_errors: dict[str, int] = field(default_factory=dict)
    """What went wrong, by whom: "stt", "llm", "tts", "context", "booking"; those without an error are left out."""
    usage: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """What the vendors charge for, by "stt", "llm" and "tts", then by model, then by unit.

    STT: `seconds` of audio that were sent, what was sent again included. LLM: `requests`; `tokens_in`, of which
    `tokens_cached` were read from a cache; `tokens_out`, reasoning and answers that were thrown away included;
    `tokens_estimated`: so many of them, in and out, are a quarter of the characters, since the vendor told nothing of
    an answer that was let go. TTS: `characters` that were sent, heard or not; of a greeting only when it was made for
    this call.
    """
    unpriced: list[str] = field(default_factory=list)
    """Models that were used and have no price: their cost counts as 0."""
    costs: dict[str, float] = field(default_factory=dict)
    """By "stt", "llm" and "tts", estimated at the prices that held when the call began."""
    currency: str = ""
    """Of the costs, as ISO 4217 has it."""
    repeat_caller: bool = False
    """Whether this number had called the company before."""
    recording: str = ""
    """The file; empty when there is none."""
    version: int = VERSION

    def mark(self, at_ms: int, what: str, detail: str = "") -> None:
        """Note that something happened."""
        self.marks.append(Mark(at_ms, what, detail))

    @property
    def cost(self) -> float:
        """The sum of `costs`."""
        return sum(self.costs.values())

    @property
    def latencies_ms(self) -> list[int]:
        """The latency of each turn that has one."""
        return [latency for turn in self.turns if (latency := turn.times.latency_ms) is not None]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        document = asdict(self)
        for turn, entry in zip(self.turns, document["turns"], strict=True):
            entry["latency_ms"] = turn.times.latency_ms
            entry["stages_ms"] = turn.times.stages_ms()
        return document

    def metrics_line(self) -> str:
        """The one line a call that goes to the log: no number, no name, no word that was said."""
        latencies = self.latencies_ms
        average = str(round(sum(latencies) / len(latencies))) if latencies else "-"
        barge_ins = sum(mark.what == "barge_in" for mark in self.marks)
        return (
            f"CALL_METRICS uuid={self.uuid} duration_s={self.seconds:.1f} turns={len(self.turns)} "
            f"barge_ins={barge_ins} avg_latency_ms={average} outcome={self.outcome} "
            f"booking={self.booking_id or '-'} ended_by={self.ended_by}"
        )


def read_record(path: Path) -> CallRecord:
    """Read what `write_record` wrote; fields that this version does not know are left out. Raises `RecordError`."""
    try:
        return record_from(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RecordError(f"{path} is no record of a call: {error}") from error
    except RecordError as error:
        raise RecordError(f"{path} is {error}") from error


def record_from(document: Mapping[str, Any]) -> CallRecord:
    """The record that `CallRecord.as_dict` told of. Raises `RecordError`."""
    try:
        values = _known(CallRecord, document)
        values["turns"] = [
            TurnRecord(
                **_known(TurnRecord, turn)
                | {
                    "times": TurnTimes(**_known(TurnTimes, turn.get("times", {}))),
                    "words": [Word(**_known(Word, word)) for word in turn.get("words", ())],
                }
            )
            for turn in document.get("turns", ())
        ]
        values["marks"] = [Mark(**_known(Mark, mark)) for mark in document.get("marks", ())]
        return CallRecord(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"no record of a call: {error}") from error


def _known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: document[item.name] for item in fields(kind) if item.name in document}


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
