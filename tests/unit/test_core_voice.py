"""Level, detector, gate and the rules of barge-in."""

import math
import random
import struct
from typing import Any

import pytest


def tone(peak: int, samples: int = 160, hz: int = 440, rate: int = 8000) -> bytes:
    """A sine."""
    wave = (round(peak * math.sin(2 * math.pi * hz * n / rate)) for n in range(samples))
    return b"".join(struct.pack("<h", sample) for sample in wave)


def noise(peak: int, samples: int = 160, seed: int = 1) -> bytes:
    """White noise."""
    random_ = random.Random(seed)
    return b"".join(struct.pack("<h", random_.randint(-peak, peak)) for _ in range(samples))


def test_rms(core: Any) -> None:
    assert core.rms(b"") == core.rms(b"x") == 0
    assert core.rms(struct.pack("<4h", 3, -3, 3, -3)) == 3
    assert core.rms(struct.pack("<2h", 1, 2)) == 1  # sqrt(2.5), rounded down
    assert core.rms(struct.pack("<h", -32768) * 160) == 32768
    assert core.rms(struct.pack("<h", 500) + b"x") == 500  # an odd last byte is no sample


def test_rms_batch_is_rms_of_each_whole_frame(core: Any) -> None:
    pcm = noise(9000, 500)
    assert core.rms_batch(pcm, 160) == [core.rms(pcm[at : at + 320]) for at in (0, 320, 640)]
    assert core.rms_batch(b"", 160) == []
    with pytest.raises(ValueError, match="frame_samples"):
        core.rms_batch(pcm, 0)


def test_gate_starts_with_three_of_five_and_dates_back(core: Any) -> None:
    gate = core.Gate(stop_frames=3)
    assert [gate.frame(v) for v in (True, False, True, False)] == [None] * 4
    assert gate.frame(True) == ("start", 4)
    assert gate.frame(True) is None
    assert [gate.frame(False), gate.frame(False)] == [None, None]
    assert gate.frame(False) == ("stop", 3)
    # What was voiced before the stop counts no more.
    assert [gate.frame(True), gate.frame(True)] == [None, None]
    assert gate.frame(True) == ("start", 2)


def test_gate_stays_open_while_speech_goes_on(core: Any) -> None:
    gate = core.Gate(stop_frames=2)
    assert [gate.frame(False, True) for _ in range(5)] == [None] * 5  # which begins nothing
    assert [gate.frame(True) for _ in range(3)][-1] == ("start", 2)
    assert [gate.frame(False, goes_on) for goes_on in (False, True, True, False)] == [None] * 4
    assert gate.frame(False, False) == ("stop", 2)


def test_gate_ignores_short_noise(core: Any) -> None:
    gate = core.Gate()
    assert all(gate.frame(n % 10 < 2) is None for n in range(200))


def test_vad_by_level(core: Any) -> None:
    vad = core.Vad("rms")
    level = core.rms(tone(1000))
    assert vad.frame(tone(1000), level, level) == (level, True, True, True, True, True)
    assert vad.frame(tone(1000), level + 1, level) == (level, False, True, True, True, True)
    assert vad.frame(bytes(320), 1, 1) == (0, False, False, False, True, True)


def test_vad_by_both_hears_no_hiss_as_speech(core: Any) -> None:
    vad = core.Vad("rms+webrtc", webrtc_mode=3)
    assert not any(vad.frame(bytes(320), 0, 0)[2] for _ in range(20))
    vad = core.Vad("rms+webrtc", webrtc_mode=1)
    heard = [vad.frame(tone(8000, hz=200), 800, 300) for _ in range(20)]
    assert heard[-1][1:] == (True, True, True, True, True)


@pytest.mark.parametrize(
    "options", [{"rate": 11025}, {"webrtc_mode": 4}, {"rate": 8000, "detector": "ear"}, {"rate": 48000}]
)
def test_vad_refuses(core: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"out of range|no detector"):
        core.Vad(**options)


def test_vad_takes_one_frame(core: Any) -> None:
    with pytest.raises(ValueError, match="640 bytes, not 320"):
        core.Vad("rms", rate=16000).frame(bytes(320), 1, 1)


# ---- barge-in


def drive(machine: Any, voiced: str, playing: bool = True) -> list[str | None]:
    """A frame and a tick for each letter: `x` voiced, `.` not, ` ` no frame at all."""
    told = []
    for letter in voiced:
        if letter != " ":
            machine.frame(letter == "x")
        told.append(machine.tick(playing))
    return told


def test_hold_then_barge_in_then_flush_at_the_limit(core: Any) -> None:
    machine = core.BargeIn(limit_ticks=5)
    told = drive(machine, "x" * 17)
    assert [(n, what) for n, what in enumerate(told) if what] == [(3, "hold"), (8, "barge_in"), (13, "flush")]


def test_the_classic_rule_is_unbroken(core: Any) -> None:
    assert "barge_in" not in drive(core.BargeIn(unbroken=True, decide_ticks=0), "xxxxxxxxx." * 6)
    told = drive(core.BargeIn(unbroken=True, barge_ms=300), "x" * 15)
    assert told[14] == "barge_in"
    assert "barge_in" not in told[:14]


def test_a_cough_is_resumed(core: Any) -> None:
    told = drive(core.BargeIn(release_ticks=4), "xxxx" + "." * 6)
    assert [(n, what) for n, what in enumerate(told) if what] == [(3, "hold"), (7, "resume")]


def test_no_frames_are_silence_too(core: Any) -> None:
    assert drive(core.BargeIn(release_ticks=4), "xxxx      ").count("resume") == 1


def test_what_neither_lasts_nor_stops_is_a_barge_in(core: Any) -> None:
    told = drive(core.BargeIn(decide_ticks=20), "xxxx" + "..x" * 10)
    assert told.index("barge_in") == 23


def test_nothing_is_held_while_nothing_plays_or_when_off(core: Any) -> None:
    assert set(drive(core.BargeIn(), "x" * 40, playing=False)) == {None}
    assert set(drive(core.BargeIn(enabled=0), "x" * 40)) == {None}


def test_reset_forgets_what_was_heard(core: Any) -> None:
    machine = core.BargeIn()
    assert drive(machine, "xxxx")[-1] == "hold"
    machine.reset()
    assert drive(machine, "xxx") == [None] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"hold_window": 0},
        {"hold_window": 65},
        {"hold_need": 6},
        {"barge_need": 0},
        {"barge_window": 3, "barge_need": 4},
        {"rewind_ms": 201},
        {"release_ticks": 0},
        {"limit_ticks": 0},
    ],
)
def test_bargein_refuses(core: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        core.BargeIn(**options)


def test_bargein_names_an_unknown_option(core: Any) -> None:
    with pytest.raises(TypeError, match="loudness"):
        core.BargeIn(loudness=1)
