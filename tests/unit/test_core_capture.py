"""The caller's side of a call: placement, fill, speech, and readers."""

import random
import struct
import tracemalloc
from typing import Any

from fastaudio import _core
from fastaudio._reference import EventKind

UUID = bytes(range(16))
FILLED, HELD, SPEECH, SENT = 1, 2, 4, 8


def live(core: Any, **options: Any) -> Any:
    call = core.Call(1, **{"detector": "rms", "lead": 0, "listen_rms": 1000, **options})
    call.start(UUID)
    return call


def frame(core: Any, value: int) -> bytes:
    """A frame of constant samples on the wire: loud from 1000 on."""
    message: bytes = core.message(0x10, struct.pack("<h", value) * 160)
    return message


def blocks(reader: Any) -> list[tuple[int, int]]:
    """(caller's sample, flags) of each block."""
    got = reader.read(10_000)
    if got is None:
        return []
    _, caller, _, flags = got
    return [(struct.unpack_from("<h", caller, 320 * n)[0], flag) for n, flag in enumerate(flags)]


def test_frames_are_placed_in_order_of_arrival(core: Any) -> None:
    call = live(core)
    reader = call.reader()
    for n in range(1, 11):
        call.input(frame(core, n))
        call.tick()
    assert blocks(reader) == [(n, 0) for n in range(1, 11)]


def test_jitter_below_100_ms_fills_nothing(core: Any) -> None:
    call = live(core)
    reader = call.reader()
    for _ in range(5):
        call.tick()
    for n in range(1, 6):
        call.input(frame(core, n))
    call.tick()
    call.tick()
    assert blocks(reader) == [(n, 0) for n in range(1, 6)]
    assert call.counters()["filled"] == 0


def test_a_gap_is_filled_and_what_comes_behind_it_ends_now(core: Any) -> None:
    call = live(core)
    reader = call.reader()
    call.input(frame(core, 1))
    for _ in range(20):
        call.tick()
    assert call.counters()["filled"] == 14  # all but the 100 ms that may still come
    call.input(frame(core, 2))
    call.tick()
    assert blocks(reader) == [(1, 0)] + [(0, FILLED)] * 18 + [(2, 0)]


def test_speech_in_surplus_is_kept_and_quiet_frames_make_room(core: Any) -> None:
    call = live(core)
    call.tick()
    for _ in range(10):
        call.input(frame(core, 5000))
    for _ in range(10):
        call.input(frame(core, 1))
    call.tick()
    counters = call.counters()
    assert counters["left_out"] > 0
    assert counters["overrun"] == 0


def test_a_flood_is_dropped_and_counted(core: Any) -> None:
    call = live(core)
    for _ in range(40):
        call.input(frame(core, 5000))
    call.tick()
    assert call.counters()["overrun"] == 15


def test_speech_is_dated_back_to_its_first_sample(core: Any) -> None:
    call = live(core, stop_ms=60)
    for value in [1] * 5 + [5000] * 6 + [1] * 5:
        call.input(frame(core, value))
        call.tick()
    events = [(EventKind(kind), position) for kind, _, _, _, position, _ in call.events()]
    assert events == [(EventKind.SPEECH, 5 * 160), (EventKind.QUIET, 11 * 160)]


def test_speech_ends_behind_its_last_consonant(core: Any) -> None:
    call = live(core, stop_ms=60, detector="adaptive")
    hiss = random.Random(2)

    def hear(frames: int, voice: int, rough: int) -> None:
        for _ in range(frames):
            buzz = (voice if n % 80 < 40 else -voice for n in range(160))  # 100 Hz
            samples = (level + hiss.randint(-rough, rough) for level in buzz)
            call.input(core.message(0x10, struct.pack("<160h", *samples)))
            call.tick()

    hear(80, 0, 12)
    hear(16, 3000, 12)
    hear(10, 0, 100)  # below the level from which anything is a voice
    hear(10, 0, 12)
    events = [(EventKind(kind), position // 160) for kind, _, _, _, position, _ in call.events()]
    assert [kind for kind, _ in events] == [EventKind.SPEECH, EventKind.QUIET]
    assert events[1][1] == 106


def test_a_gap_ends_speech(core: Any) -> None:
    call = live(core, stop_ms=60)
    for _ in range(6):
        call.input(frame(core, 5000))
        call.tick()
    for _ in range(20):
        call.tick()
    events = [(EventKind(kind), position) for kind, _, _, _, position, _ in call.events()]
    assert events == [(EventKind.SPEECH, 0), (EventKind.QUIET, 6 * 160)]


def test_what_was_said_before_a_gap_is_no_interruption_behind_it(core: Any) -> None:
    held = []
    for ticks in (0, 30):
        call = live(core)
        for _ in range(3):
            call.input(frame(core, 5000))
            call.tick()
        for _ in range(ticks):
            call.tick()
        call.write(1, struct.pack("<h", 7) * 1600)
        call.input(frame(core, 5000))
        call.tick()
        held.append(EventKind.HOLD in [kind for kind, *_ in call.events()])
    assert held == [True, False]


def test_a_slow_reader_loses_its_own_copy_alone(core: Any) -> None:
    call = live(core, capture_blocks=128)
    slow, quick, got = call.reader(), call.reader(), 0
    for n in range(500):
        call.input(frame(core, n))
        call.tick()
        got += len(blocks(quick))
    assert (got, quick.lost) == (500, 0)
    kept = blocks(slow)
    assert slow.lost == 500 - len(kept)
    assert slow.lost > 0
    assert [value for value, _ in kept] == list(range(slow.lost, 500))


def test_a_reader_begins_at_its_preroll(core: Any) -> None:
    call = live(core)
    for n in range(50):
        call.input(frame(core, n))
        call.tick()
    assert call.reader(25).read(1)[0] == 25
    assert call.reader().read() is None
    assert call.reader(1000).position == 0


def test_a_batch_is_copied_once() -> None:
    """From the ring into the bytes that Python gets: nothing else is allocated, not even for a moment."""
    call = live(_core)
    reader = call.reader()
    for n in range(60):
        call.input(frame(_core, 2000 + n))
        call.tick()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        got = reader.read(64, True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got is not None
    assert len(got[1]) == 60 * 320
    assert peak - before < 2 * 60 * 320 + 60 + 1024


def test_a_capture_is_told_once(core: Any) -> None:
    call = live(core)
    call.ask_capture(3)
    for n in range(6):
        call.input(frame(core, n))
        call.tick()
    told = [(EventKind(kind), position) for kind, _, _, _, position, _ in call.events()]
    assert told == [(EventKind.CAPTURE, 3)]


def test_another_rate_is_told_once_and_counted(core: Any) -> None:
    call = live(core)
    for _ in range(3):
        assert call.input(core.message(0x12, bytes(640))) is None
    assert [(kind, value) for kind, _, _, value, _, _ in call.events()] == [(EventKind.FORMAT, 16000)]
    assert call.counters()["other_format"] == 3


def test_a_digit_is_told(core: Any) -> None:
    call = live(core)
    call.tick()
    call.input(b"\x03\x00\x01#", 77)
    assert call.events() == [(EventKind.DTMF, 1, 0, ord("#"), 160, 77)]


def test_an_empty_message_is_a_lost_frame(core: Any) -> None:
    call = live(core)
    call.input(b"\x10\x00\x00")
    assert call.counters()["lost_in"] == 1


def test_how_a_peer_ends_a_call(core: Any) -> None:
    for data, reason in (
        (b"\x00\x00\x00", "peer_hangup"),
        (b"\xff\x00\x01\x01", "peer_error"),
        (b"\x01\x00\x10" + UUID, "second_uuid"),
        (b"\x77\x00\x00", "bad_kind"),
    ):
        call = live(core)
        assert call.input(frame(core, 1)) is None
        assert call.input(frame(core, 1) + data) == reason
        assert call.counters()["frames_in"] == 2


def test_a_full_event_ring_counts_and_offers_again(core: Any) -> None:
    call = core.Call(1, detector="rms", lead=0)
    call.start(UUID, 2)
    call.ask_space()
    for _ in range(5):
        call.input(b"\x03\x00\x011")
    call.tick()
    assert call.counters()["events_lost"] == 4
    assert len(call.events()) == 2
    call.tick()
    assert [kind for kind, *_ in call.events()] == [EventKind.SPACE]


def test_a_held_block_is_flagged_and_what_is_sent_stands_beside(core: Any) -> None:
    call = live(core)
    reader = call.reader()
    call.write(1, struct.pack("<h", 7) * 1600)
    for n in range(4):
        if n == 2:
            call.do_hold()
        call.input(frame(core, n))
        call.tick()
    _, _, sent, flags = reader.read(64, True)
    assert list(flags) == [SENT, SENT, SENT | HELD, HELD]
    assert sent[:320] == struct.pack("<h", 7) * 160
    assert sent[3 * 320 :] == bytes(320)
