"""The judge of the stall benchmark finds each fault that it is there to find."""

from array import array

import pytest

from benchmarks.stalls.caller import Heard, numbered
from benchmarks.stalls.judge import judge

FRAMES = 200
SAMPLES = 160 * FRAMES
START, END = 1.0, 1.2


def stream(lead: int = 0, frozen: bool = False, catch_up: bool = False) -> Heard:
    """Speech as an exact server sends it; one that is frozen is silent from 1.0 s to 1.2 s."""
    speech = numbered(SAMPLES)
    heard = Heard()
    for n in range(FRAMES):
        at = 0.02 * max(0, n - lead)
        if frozen and at >= START:
            at = max(END, at) if catch_up else at + END - START
        heard.times.append(at)
        heard.payloads.append(speech[320 * n : 320 * n + 320])
    return heard


def test_nothing_is_wrong_with_an_exact_server() -> None:
    verdict = judge(stream(), START, END, 2.0)
    assert (verdict.lost, verdict.repeated, verdict.misplaced) == (0, 0, 0)
    assert verdict.gap_ms == pytest.approx(20)
    assert verdict.silence_ms == pytest.approx(0, abs=0.1)
    assert verdict.slip_ms == pytest.approx(0, abs=0.1)
    assert verdict.burst <= 2


def test_a_freeze_is_a_gap_and_a_slip_or_a_burst() -> None:
    late = judge(stream(frozen=True), START, END, 2.0)
    assert late.gap_ms == pytest.approx(220)
    assert late.silence_ms == pytest.approx(200)
    assert late.slip_ms == pytest.approx(200)
    assert late.burst <= 2
    caught_up = judge(stream(frozen=True, catch_up=True), START, END, 2.0)
    assert caught_up.slip_ms == pytest.approx(0, abs=0.1)
    assert caught_up.burst == pytest.approx(11)


def test_what_was_sent_ahead_is_not_heard_as_silence() -> None:
    verdict = judge(stream(lead=2, frozen=True), START, END, 2.0)
    assert verdict.gap_ms == pytest.approx(220)
    assert verdict.silence_ms == pytest.approx(160)


def test_lost_repeated_and_misplaced_samples_are_counted() -> None:
    heard = stream()
    heard.payloads[7] = array("H", [*range(1, 11), *range(1131, 1281)]).tobytes()  # for 1121..1280
    verdict = judge(heard, START, END, 2.0)
    assert (verdict.lost, verdict.repeated, verdict.misplaced) == (10, 10, 1)


def test_a_server_that_stops_playing_is_no_measurement() -> None:
    heard = stream()
    with pytest.raises(ValueError, match="stopped playing"):
        judge(Heard(heard.times[:80], heard.payloads[:80]), START, END, 2.0)
