"""What goes to the caller, by hand: a call without an engine, one tick at a time."""

import struct
from typing import Any

import pytest

from fastaudio._reference import EventKind
from fastaudio.errors import StaleGeneration

UUID = bytes(range(16))
SILENCE = bytes(320)


def level(value: int, frames: float = 1) -> bytes:
    """Constant samples, so that each frame shows where it came from."""
    return struct.pack("<h", value) * round(160 * frames)


def live(core: Any, **options: Any) -> Any:
    """A live call with no lead and a detector that needs no warm-up, unless told otherwise."""
    call = core.Call(1, **{"detector": "rms", "lead": 0, **options})
    call.start(UUID)
    return call


def frames(sent: bytes) -> list[bytes]:
    """The audio of the frames in what was sent."""
    assert len(sent) % 323 == 0
    assert all(sent[at : at + 3] == b"\x10\x01\x40" for at in range(0, len(sent), 323))
    return [sent[at + 3 : at + 323] for at in range(0, len(sent), 323)]


def told(call: Any) -> list[tuple[EventKind, int, int]]:
    """(kind, generation, value) of the events so far."""
    return [(EventKind(kind), generation, value) for kind, _, generation, value, _, _ in call.events()]


def test_silence_is_a_frame(core: Any) -> None:
    call = live(core)
    assert [frames(call.tick()) for _ in range(3)] == [[SILENCE]] * 3


def test_an_utterance_is_played_padded_and_accounted(core: Any) -> None:
    call = live(core)
    assert call.write(1, level(7, 2.5)) == 800
    assert call.end(1)
    sent = [frames(call.tick()) for _ in range(4)]
    assert sent == [[level(7)], [level(7)], [level(7, 0.5) + bytes(160)], [SILENCE]]
    assert told(call) == [(EventKind.BEGAN, 1, 0), (EventKind.PLAYED, 1, 400)]
    assert call.heard() == (1, 400)


def test_the_odd_tail_waits_for_the_next_chunk(core: Any) -> None:
    call = live(core)
    call.write(1, level(7, 0.5))
    assert frames(call.tick()) == [SILENCE]
    call.write(1, level(7, 0.5))
    assert frames(call.tick()) == [level(7)]
    call.tick()
    assert call.counters()["underruns"] == 1
    call.tick()
    assert call.counters()["underruns"] == 1  # counted once, however long it lasts


def test_a_full_ring_takes_no_more_and_loses_nothing(core: Any) -> None:
    call = live(core, playback_slots=32)
    pcm = b"".join(level(n + 1) for n in range(40))
    taken = call.write(1, pcm)
    assert taken == 32 * 320
    assert call.write(1, pcm[taken:]) == 0
    assert call.end(1) is False
    call.ask_space()
    got = b""
    for _ in range(60):
        got += b"".join(frames(call.tick()))
        taken += call.write(1, pcm[taken:])
    assert got.startswith(pcm)
    assert [kind for kind, *_ in told(call)].count(EventKind.SPACE) == 1


def test_the_lead_is_sent_ahead_and_given_back(core: Any) -> None:
    call = live(core, lead=2)
    call.tick()
    call.write(1, b"".join(level(n) for n in range(1, 6)))
    call.end(1)
    counts = [len(frames(call.tick())) for _ in range(8)]
    assert counts == [3, 1, 1, 0, 0, 1, 1, 1]


def test_the_lead_is_given_back_by_late_ticks_too(core: Any) -> None:
    call = live(core, lead=3)
    call.write(1, b"".join(level(n) for n in range(1, 5)))
    call.end(1)
    assert len(frames(call.tick())) == 4
    assert [len(frames(call.tick(periods=periods))) for periods in (2, 1, 1)] == [0, 0, 1]


def test_owed_speech_is_caught_up_and_owed_silence_is_not_sent(core: Any) -> None:
    call = live(core)
    call.write(1, b"".join(level(n) for n in range(1, 4)))
    call.end(1)
    assert frames(call.tick(periods=2)) == [level(1), level(2)]
    assert call.counters()["caught_up"] == 1
    assert frames(call.tick(periods=4)) == [level(3), SILENCE]
    assert frames(call.tick(periods=4)) == [SILENCE]


def test_a_stall_loses_no_speech_and_nothing_goes_out_twice_as_fast(core: Any) -> None:
    call = live(core, lead=2)
    call.write(1, b"".join(level(n) for n in range(1, 9)))
    call.end(1)
    first = frames(call.tick())
    assert first == [level(1), level(2), level(3)]
    after = [frames(call.tick(periods=50, stalled=True, late_ns=980_000_000))]
    after += [frames(call.tick()) for _ in range(4)]
    assert after == [[level(n)] for n in range(4, 9)]
    counters = call.counters()
    assert (counters["stalls"], counters["skipped"], counters["late_max_ns"]) == (1, 49, 980_000_000)


def test_the_capture_places_what_is_sent_behind_the_stall(core: Any) -> None:
    call = live(core)
    reader = call.reader()
    call.write(1, level(9))
    call.end(1)
    call.tick(periods=10, stalled=True)
    for _ in range(6):
        call.tick()
    _, _, sent, flags = reader.read(64, True)
    audio = [n for n, flag in enumerate(flags) if flag & 8]
    assert audio == [9]
    assert sent[9 * 320 : 10 * 320] == level(9)


def test_hold_falls_silent_within_5_ms_and_keeps_everything(core: Any) -> None:
    call = live(core)
    call.write(1, level(1000, 6))
    call.end(1)
    call.tick()
    call.do_hold()
    fall = struct.unpack("<160h", frames(call.tick())[0])
    assert list(fall[:40]) == [1000 * (39 - n) // 40 for n in range(40)]
    assert not any(fall[40:])
    assert [frames(call.tick()) for _ in range(20)] == [[SILENCE]] * 20
    call.do_resume()
    rise = struct.unpack("<160h", frames(call.tick())[0])
    assert list(rise[:41]) == [1000 * n // 40 for n in range(41)]
    for _ in range(8):
        call.tick()
    assert told(call)[-1] == (EventKind.PLAYED, 1, 960)  # each sample once, silence not counted


def test_resume_goes_back_at_most_200_ms(core: Any) -> None:
    pcm = b"".join(level(n) for n in range(1, 31))
    for rewind_ms, first in ((0, 13), (60, 10), (200, 3), (1000, 3)):
        call = live(core)
        call.write(1, pcm)
        for _ in range(12):
            call.tick()
        call.do_hold()
        call.tick()
        call.do_resume(rewind_ms)
        got = struct.unpack("<160h", frames(call.tick())[0])
        assert (got[60], got[130]) == (first, first + 1)  # behind the ramp, and to the sample: 40 of a frame were out
        assert call.heard() == (1, 12 * 160 + 40 + (0 if rewind_ms else 160))


def test_a_hold_at_the_very_end_leaves_the_place_for_a_resume(core: Any) -> None:
    call = live(core)
    call.write(1, level(1000, 1) + level(1000, 0.125))  # the last frame has 20 samples, less than a ramp
    call.end(1)
    call.tick()
    call.do_hold()
    call.tick()
    assert call.heard() == (1, 179)
    assert (EventKind.PLAYED, 1, 180) not in told(call)
    call.do_resume()
    call.tick()
    assert told(call)[-1] == (EventKind.PLAYED, 1, 180)


def test_flush_is_told_with_what_was_heard_and_refuses_the_rest(core: Any) -> None:
    call = live(core)
    call.write(1, level(1000, 8))
    call.tick()
    call.forget(1)
    call.do_flush(1)
    assert told(call)[-1] == (EventKind.FLUSHED, 1, 200)
    with pytest.raises(StaleGeneration):
        call.write(1, level(1))
    assert call.stale_bytes == 320
    call.write(2, level(5))
    call.end(2)
    fall, fresh = frames(call.tick())[0], frames(call.tick())[0]
    assert struct.unpack("<160h", fall)[:40] == tuple(1000 * (39 - n) // 40 for n in range(40))
    assert fresh == level(5)


def test_each_flush_is_answered(core: Any) -> None:
    call = live(core)
    call.do_flush(3)
    assert told(call) == [(EventKind.FLUSHED, 3, 0)]


def test_a_hold_names_the_utterance_that_waits(core: Any) -> None:
    call = live(core)
    call.write(1, level(1))
    call.end(1)
    call.tick()
    call.tick()
    call.write(2, level(2, 3))
    call.do_hold()
    assert told(call)[-1] == (EventKind.HOLD, 2, 0)


def test_a_hold_without_a_word_is_flushed_at_the_limit(core: Any) -> None:
    call = live(core, bargein={"limit_ticks": 10})
    call.write(2, level(2, 3))
    call.do_hold()
    for _ in range(10):
        assert frames(call.tick()) == [SILENCE]
    assert told(call) == [(EventKind.HOLD, 2, 0), (EventKind.FLUSHED, 2, 0)]
    call.write(3, level(3))
    assert frames(call.tick()) == [level(3)]


def test_while_held_a_newer_utterance_takes_its_place(core: Any) -> None:
    call = live(core)
    call.write(1, level(1000, 5))
    call.tick()
    call.do_hold()
    call.tick()
    call.write(2, level(7))
    assert frames(call.tick()) == [level(7)]
    assert told(call)[-2:] == [(EventKind.FLUSHED, 1, 200), (EventKind.BEGAN, 2, 0)]


def test_close_sends_the_trail_then_the_hangup_once(core: Any) -> None:
    call = live(core)
    call.tick()
    call.do_close(trail_ticks=3)
    assert told(call) == []  # nobody waits for an answer to a close
    assert [call.tick() for _ in range(5)] == [b"\x10\x01\x40" + SILENCE] * 3 + [b"\x00\x00\x00", b""]


def test_a_peer_that_takes_nothing_costs_time_but_no_speech(core: Any) -> None:
    call = live(core)
    call.write(1, level(4, 2))
    assert call.tick(can_send=False) == b""
    assert call.counters()["blocked"] == 1
    assert frames(call.tick()) == [level(4)]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 44100},
        {"lead": 4},
        {"playback_slots": 33},
        {"playback_slots": 16},
        {"capture_blocks": 64},
        {"stop_ms": 10},
        {"bargein": {"rewind_ms": 300}},
        {"detector": "ear"},
    ],
)
def test_a_call_refuses(core: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"out of range|no detector"):
        core.Call(1, **options)
    with pytest.raises(ValueError, match="out of range"):
        core.Call(0)


def test_generation_zero_is_none(core: Any) -> None:
    with pytest.raises(ValueError, match="out of range"):
        live(core).write(0, level(1))


def test_an_ended_utterance_takes_no_more(core: Any) -> None:
    call = live(core)
    call.write(1, level(1))
    call.end(1)
    with pytest.raises(StaleGeneration):
        call.write(1, level(1))
