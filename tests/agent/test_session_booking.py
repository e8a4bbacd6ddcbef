"""A whole call to the end: the eight steps, the booking in the database, the recording, the record."""

from __future__ import annotations

import json
import logging
import stat
import wave
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from agent.office.seed import LONDON_PLUMBER
from agent.sandbox.caller.listen import LOUD_RMS
from tests.agent.scripts import BOOKING

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

pytestmark = pytest.mark.alone  # each word of a long script arrives whole, or the caller has said another one

LONDON, CALLER = LONDON_PLUMBER.numbers[0], "+447700900123"

STEPS = (
    ("", "Hello, Thames Plumbing, good "),
    ("My kitchen tap is leaking", "callout fee is £65"),
    ("Yes that's fine", "what's the postcode"),
    ("SW4 7DQ", "S for Sierra, W for Whiskey, four, seven, D for Delta, Q for Quebec, is that right?"),
    ("Yes that's right", "house number and street"),
    ("Twelve Baker Street", "what name"),
    ("Anna Smith", "That's all booked"),
    ("No thanks", "bye for now"),
)


Samples: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]


def sound(samples: Samples) -> bytes:
    """Every sample that is not 0: the caller's time line has gaps where ours has silence."""
    return bytes(samples[samples != 0].astype("<i2").tobytes())


def loud_frames(samples: Samples) -> list[bytes]:
    """The frames of 20 ms that are no silence, in their order."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    levels = np.sqrt(np.mean(np.square(frames.astype(np.float64)), axis=1))
    return [frame.astype("<i2").tobytes() for frame, level in zip(frames, levels, strict=True) if level > LOUD_RMS]


async def test_a_tap_is_booked(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agent")
    # A caller who waits so long takes no stall of this host for the end of what the agent says.
    result, record = await rig.call(BOOKING, rig.plan(quiet_s=0.7, patience_s=10.0, longest_s=80.0))

    # The caller's side.
    assert result.failure == ""
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    assert result.wire.longest_gap_ms < 200 + result.wire.late_ms

    # The eight steps, in their order and one a reply.
    assert [turn.caller for turn in record.turns] == [caller for caller, _ in STEPS]
    for turn, (_, words) in zip(record.turns, STEPS, strict=True):
        assert words in turn.agent
        assert turn.heard == turn.agent
        assert not turn.interrupted
        assert turn.end_ms is not None

    # Nobody waited, so nobody was told to.
    assert "bear_with_me" not in [mark.what for mark in record.marks]

    # The booking.
    (booking,) = await rig.store.list_bookings()
    assert booking.as_dict()["booking_id"] == record.booking_id
    assert (booking.customer_name, booking.postcode, booking.address) == ("Anna Smith", "SW4 7DQ", "12 Baker Street")
    assert "tap is leaking" in booking.problem_description
    assert booking.caller_id == CALLER
    assert booking.call_uuid == record.uuid

    # What the LLM read: the prompt first and always the same, and each tool call answered.
    assert len({json.dumps(asked[0]) for asked in rig.llm.asked}) == 1
    assert f"Company: {LONDON_PLUMBER.name}" in rig.llm.asked[0][0]["content"]
    last = rig.llm.asked[-1]
    calls = [call["id"] for message in last for call in message.get("tool_calls", ())]
    assert calls == [message["tool_call_id"] for message in last if message["role"] == "tool"]
    assert len(calls) == 1

    # The record, as it lies on the disk.
    path = rig.agent.settings.records / f"{record.uuid}.json"
    document = json.loads(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert document["outcome"] == "booked"
    assert document["verdict"] == "hangup"
    assert document["ended_by"] == "agent"
    assert (document["did"], document["caller_id"], document["company"]) == (LONDON, CALLER, "Thames Plumbing")
    assert document["source"] == "fastagi"
    assert document["unique_id"]
    assert [turn["caller"] for turn in document["turns"]] == [caller for caller, _ in STEPS]
    assert document["turns"][6]["tools"][0]["name"] == "create_booking"
    assert document["turns"][6]["tools"][0]["ok"] is True
    assert document["vendors"]["stt"]["connected"] == 1
    assert document["media"]["frames_in"] > 500
    for turn in document["turns"][1:]:
        assert 100 < turn["latency_ms"] < 1500
        times = turn["times"]
        assert times["llm_request"] <= times["first_token"] <= times["first_tts_text"] <= times["first_audio"]
        assert times["speech_end"] < times["turn_end"] <= times["first_frame"], (
            "nothing is let out before it is certain"
        )
        assert times["first_audio"] <= times["first_frame"]
    assert sum(turn["drafts"] for turn in document["turns"]) >= 4, "most answers are thought of early"

    # The recording: the caller left, and right what the caller received, to the sample.
    with wave.open(document["recording"]) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        assert file.getnframes() / 8000 == pytest.approx(record.seconds, abs=0.3)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    received = np.frombuffer(result.agent_track, "<i2")
    assert len(sound(received)) > 2 * 8000 * 3
    assert sound(both[:, 1]) == sound(received)
    said = loud_frames(np.frombuffer(result.caller_track, "<i2"))
    assert loud_frames(both[:, 0]) == said

    # The log: one line of figures, and nothing about anybody.
    (line,) = (entry.getMessage() for entry in caplog.records if "CALL_METRICS" in entry.getMessage())
    assert f"uuid={record.uuid} " in line
    assert " turns=8 barge_ins=0 " in line
    assert f" outcome=booked booking={record.booking_id} ended_by=agent" in line
    ours = "\n".join(e.getMessage() for e in caplog.records if e.name.startswith(("agent.", "fastaudio")))
    for secret in ("Anna", "Baker", "SW4", "leaking", CALLER[1:], LONDON[1:], "secret-key"):
        assert secret not in ours, secret


async def test_a_booking_is_kept_while_its_api_is_down_and_made_by_the_next_agent(a_rig: RigMaker) -> None:
    async with a_rig(booking_api_url="http://127.0.0.1:1/create_booking") as rig:
        result, record = await rig.call(BOOKING, rig.plan(quiet_s=0.7, patience_s=10.0, longest_s=80.0))
        assert rig.agent.services.outbox.counts()["waiting"] == 1
        assert await rig.store.list_bookings() == []
    assert result.failure == ""
    assert (record.outcome, record.booking_id, record.verdict) == ("booking_kept", "", "hangup")
    assert "someone will ring you back to confirm" in record.turns[6].heard
    assert record.turns[6].tools[0]["ok"] is True
    (mark,) = (mark for mark in record.marks if mark.what == "booking_kept")
    told = [json.loads(message["content"]) for message in rig.llm.asked[-1] if message["role"] == "tool"]
    assert [answer["status"] for answer in told] == ["kept"]
    assert "outcome=booking_kept booking=- " in record.metrics_line()
    assert record.vendor_errors == {"booking": 1}

    async with a_rig() as rig:
        await rig.until(lambda: rig.agent.services.outbox.counts()["accepted"] == 1)
        (booking,) = await rig.store.list_bookings(call_uuid=record.uuid)
        assert booking.idempotency_key is not None
        assert booking.idempotency_key.startswith(mark.detail)
        assert (booking.customer_name, booking.postcode) == ("Anna Smith", "SW4 7DQ")
