"""A call's record as rows of the database, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import PurePath
from statistics import median_low
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes, Word
from agent.office.figures import counts_of
from agent.office.models import Call, CallEvent, CallTurn
from agent.office.steps import in_steps
from agent.office.words import code_words, number_words, words_of
from agent.telephony.numbers import normalise_number

LONGEST_UUID = 36
_TIMES = tuple(item.name for item in fields(TurnTimes))
_KNOWN_TIMES = frozenset(_TIMES)
_KNOWN_OF_WORDS = frozenset(item.name for item in fields(Word))
_TURN: tuple[Any, ...] = (
    *(CallTurn.caller, CallTurn.start_ms, CallTurn.agent, CallTurn.heard, CallTurn.interrupted, CallTurn.end_ms),
    *(CallTurn.drafts, CallTurn.wasted),
    *(cast(column, Text).label(column.key) for column in (CallTurn.times, CallTurn.tools, CallTurn.words)),
)


@dataclass(frozen=True, slots=True)
class CallRows:
    """What is inserted for one call."""

    call: dict[str, Any]
    """All of it but the company's ID, which the database knows."""
    turns: list[dict[str, Any]]
    events: list[dict[str, Any]]
    words: list[str]
    """What it is found by, in any order and number."""
    counts: dict[str, float]
    """What it adds to the figures of its day."""


def rows_of(record: CallRecord, region: str) -> CallRows:
    """What is to be written of a record.

    Raises `ValueError`, `TypeError` or `AttributeError` for one whose fields are of other types, as a document may
    hold them.
    """
    if not 0 < len(record.uuid) <= LONGEST_UUID:
        raise ValueError("a call's UUID is missing or too long")
    latencies = record.latencies_ms
    call = {
        "uuid": record.uuid,
        "company_name": _text(record.company, 200),
        "did": _text(normalise_number(record.did, region), 64),
        "caller_id": _text(normalise_number(record.caller_id, region), 64),
        "caller_name": _text(record.caller_name, 200),
        "repeat_caller": bool(record.repeat_caller),
        "unique_id": _text(record.unique_id, 64),
        "linked_id": _text(record.linked_id, 64),
        "source": _text(record.source, 16),
        "started": _moment(record.started),
        "seconds": float(record.seconds),
        "ended_by": _text(record.ended_by, 32),
        "outcome": _text(record.outcome, 32),
        "verdict": _text(record.verdict, 128),
        "booking_id": _text(record.booking_id, 64),
        "turn_count": len(record.turns),
        "barge_ins": sum(mark.what == "barge_in" for mark in record.marks),
        "latency_ms": median_low(latencies) if latencies else None,
        "vendor_errors": dict(record.vendor_errors),
        "early_answers": dict(record.early_answers),
        "media": dict(record.media),
        "vendors": dict(record.vendors),
        "usage": dict(record.usage),
        "unpriced": list(record.unpriced),
        "costs": dict(record.costs),
        "cost": float(record.cost),
        "currency": _text(record.currency, 3),
        "recording": _text(PurePath(record.recording).name, 500),
        "version": int(record.version),
    }
    turns = [_turn_row(record.uuid, position, turn) for position, turn in enumerate(record.turns)]
    events = [
        {
            "call_uuid": record.uuid,
            "at_ms": int(mark.at_ms),
            "what": _text(mark.what, 32),
            "detail": _text(mark.detail, 500),
        }
        for mark in record.marks
    ]
    return CallRows(call, turns, events, list(_words(record, region)), counts_of(record))


async def read_call(session: AsyncSession, where: ColumnElement[bool]) -> tuple[CallRecord, Call] | None:
    """Read a call and make its record anew: a long one in steps. `recording` is the file's name alone."""
    call = await session.scalar(select(Call).where(where))
    if call is None:
        return None
    # As plain rows, and as JSON that is read a turn at a time: a long call has thousands of words.
    turns = await session.execute(select(*_TURN).where(CallTurn.call_uuid == call.uuid).order_by(CallTurn.position))
    events = await session.execute(
        select(CallEvent.at_ms, CallEvent.what, CallEvent.detail)
        .where(CallEvent.call_uuid == call.uuid)
        .order_by(CallEvent.id)
    )
    marks = [Mark(at_ms, what, detail) for at_ms, what, detail in events]
    return _record_of(call, await in_steps(_turn_of(turn) for turn in turns.all()), marks), call


def _record_of(call: Call, turns: list[TurnRecord], marks: list[Mark]) -> CallRecord:
    return CallRecord(
        uuid=call.uuid,
        did=call.did,
        caller_id=call.caller_id,
        caller_name=call.caller_name,
        unique_id=call.unique_id,
        linked_id=call.linked_id,
        source=call.source,
        company=call.company_name,
        started=call.started.isoformat(timespec="milliseconds"),
        seconds=call.seconds,
        ended_by=call.ended_by,
        outcome=call.outcome,
        verdict=call.verdict,
        booking_id=call.booking_id,
        turns=turns,
        marks=marks,
        early_answers=dict(call.early_answers),
        media=dict(call.media),
        vendors=dict(call.vendors),
        vendor_errors=dict(call.vendor_errors),
        usage=dict(call.usage),
        unpriced=list(call.unpriced),
        costs=dict(call.costs),
        currency=call.currency,
        repeat_caller=call.repeat_caller,
        recording=call.recording,
        version=call.version,
    )


def _turn_of(row: Any) -> TurnRecord:
    return TurnRecord(
        caller=row.caller,
        start_ms=row.start_ms,
        agent=row.agent,
        heard=row.heard,
        interrupted=row.interrupted,
        end_ms=row.end_ms,
        times=TurnTimes(**_known(_KNOWN_TIMES, orjson.loads(row.times))),
        tools=json.loads(row.tools),
        words=[Word(**_known(_KNOWN_OF_WORDS, word)) for word in orjson.loads(row.words)],
        drafts=row.drafts,
        wasted=row.wasted,
    )


def words_of_booking(customer_name: str, postcode: str) -> list[str]:
    """What a booking adds to the words that its call is found by."""
    return [*words_of(customer_name), *code_words(postcode)]


def _turn_row(uuid: str, position: int, turn: TurnRecord) -> dict[str, Any]:
    return {
        "call_uuid": uuid,
        "position": position,
        "start_ms": int(turn.start_ms),
        "end_ms": None if turn.end_ms is None else int(turn.end_ms),
        "caller": _text(turn.caller),
        "agent": _text(turn.agent),
        "heard": _text(turn.heard),
        "interrupted": bool(turn.interrupted),
        "latency_ms": turn.times.latency_ms,
        "times": {name: getattr(turn.times, name) for name in _TIMES},
        # By hand: `asdict` takes ten times as long, and these are most of a call.
        "words": [
            {"who": word.who, "text": word.text, "start_ms": word.start_ms, "end_ms": word.end_ms}
            for word in turn.words
        ],
        "tools": list(turn.tools),
        "drafts": int(turn.drafts),
        "wasted": int(turn.wasted),
    }


def _words(record: CallRecord, region: str) -> Iterator[str]:
    for turn in record.turns:
        yield from words_of(turn.caller)
        yield from words_of(turn.agent)
        for tool in turn.tools:
            yield from _words_of_tool(tool)
    yield from words_of(record.caller_name)
    yield from code_words(record.booking_id)
    for number in (record.caller_id, record.did):
        normal = normalise_number(number, region)
        if normal:
            yield from number_words(normal, region)


def _words_of_tool(tool: Mapping[str, Any]) -> Iterator[str]:
    """What the agent took down in the caller's name: a postcode, a name, an address."""
    arguments = tool.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return
    if isinstance(arguments, Mapping):
        for name, value in arguments.items():
            if isinstance(value, str):
                yield from code_words(value) if "postcode" in name else words_of(value)


def _text(value: str, longest: int | None = None) -> str:
    """A text as both databases take it. Raises `TypeError` for what is none."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text should be")
    return value.replace("\0", "")[:longest]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _known(names: frozenset[str], values: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of; a document may come from another one."""
    return values if values.keys() <= names else {name: value for name, value in values.items() if name in names}
