"""A call's record: what it holds, and that the one line for the log tells nothing about anybody."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from agent.call.record import CallRecord, TurnRecord, TurnTimes, write_record


@pytest.fixture
def call() -> CallRecord:
    record = CallRecord(
        "8a7c0d3e-0000-4000-8000-000000000001",
        did="+442079460123",
        caller_id="+447700900123",
        caller_name="Anna Smith",
        unique_id="1700000000.42",
        company="Thames Plumbing",
        seconds=61.26,
        outcome="booked",
        booking_id="B-1",
        verdict="hangup",
        ended_by="agent",
        recording="/var/lib/voice-agent/recordings/x.wav",
    )
    times = TurnTimes(speech_end=1000, first_frame=1500)
    record.turns.append(TurnRecord("My tap leaks at Baker Street", 900, "We can come", "We can", True, times=times))
    record.turns.append(TurnRecord("Yes", 3000, "Lovely", "Lovely", times=TurnTimes(speech_end=3000, first_frame=3301)))
    record.turns.append(TurnRecord("", 5000))
    record.mark(1700, "hold")
    record.mark(1900, "barge_in")
    record.mark(2500, "dtmf", "7")
    return record


def test_the_line_for_the_log(call: CallRecord) -> None:
    assert call.metrics_line() == (
        "CALL_METRICS uuid=8a7c0d3e-0000-4000-8000-000000000001 duration_s=61.3 turns=3 barge_ins=1 "
        "avg_latency_ms=400 outcome=booked booking=B-1 ended_by=agent"
    )


def test_the_line_holds_no_number_no_name_and_no_word(call: CallRecord) -> None:
    line = call.metrics_line().lower()
    for secret in ("7700900123", "2079460123", "17000000", "anna", "smith", "thames", "tap", "baker", "lovely", "/var"):
        assert secret not in line
    fields = dict(pair.split("=", 1) for pair in line.split()[1:])
    assert set(fields) == {
        "uuid", "duration_s", "turns", "barge_ins", "avg_latency_ms", "outcome", "booking", "ended_by",
    }  # fmt: skip
    assert re.search(r"\d{7,}", line.replace(fields["uuid"], "")) is None


def test_a_call_without_a_turn_has_a_line_too() -> None:
    assert "avg_latency_ms=- outcome=no_booking booking=- ended_by=" in CallRecord("u").metrics_line()


def test_a_turns_latency_needs_both_ends() -> None:
    assert TurnTimes(speech_end=1000, first_frame=1400).latency_ms == 400
    assert TurnTimes(first_frame=1400).latency_ms is None
    assert TurnTimes(speech_end=1000).latency_ms is None
    assert TurnTimes(speech_end=0, first_frame=0).latency_ms == 0


def test_the_file_is_whole_and_for_its_owner_alone(call: CallRecord, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    path = write_record(call, folder)
    document = json.loads(path.read_bytes())
    assert path.name == f"{call.uuid}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert document["caller_id"] == "+447700900123"
    assert [turn["latency_ms"] for turn in document["turns"]] == [500, 301, None]
    assert document["turns"][0]["heard"] == "We can"
    assert document["marks"][1] == {"at_ms": 1900, "what": "barge_in", "detail": ""}
    assert document["version"] == 2
    call.outcome = "transferred"
    write_record(call, folder)
    assert json.loads(path.read_bytes())["outcome"] == "transferred"
    assert [file.name for file in folder.iterdir()] == [path.name], "no temporary file is left"
