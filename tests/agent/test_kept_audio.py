"""What is kept of a call's audio until its words are final, and how fast it goes again."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from agent.providers.kept_audio import BURST_MS, KEPT_MS, KeptAudio, Pace

A_MS = 16


def kept() -> KeptAudio:
    return KeptAudio(A_MS, Counter())


def numbered(position_ms: int, length_ms: int) -> bytes:
    """Audio in which each millisecond says which one it is."""
    return b"".join((position_ms + ms).to_bytes(A_MS, "little") for ms in range(length_ms))


def milliseconds(audio: list[tuple[int, bytes]]) -> list[int]:
    """Which ms of the call these pieces are, by what is in them; each must be where it says it is."""
    found = []
    for position_ms, pcm in audio:
        for at in range(0, len(pcm), A_MS):
            found.append(int.from_bytes(pcm[at : at + A_MS], "little"))
            assert found[-1] == position_ms + at // A_MS
    return found


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_and_nothing_final_comes_again(seed: int) -> None:
    """Random pieces, finals anywhere, losses anywhere: each ms is final once, on the stream that made it so."""
    dice = random.Random(seed)
    audio = kept()
    final: list[int] = []
    stream: list[int] = []  # what this stream has heard and is not final
    stream_ms = settled_ms = 0.0
    at_ms = 0
    for _ in range(400):
        match dice.choice("aaassssfl"):
            case "a":
                length = dice.choice((20, 40, 80, 80, 96))
                audio.add(at_ms, numbered(at_ms, length))
                at_ms += length
            case "s" if audio:
                position, pcm = audio.take(stream_ms)
                stream += milliseconds([(position, pcm)])
                stream_ms += len(pcm) // A_MS
            case "f":
                settle = dice.randint(0, len(stream))
                settled_ms += settle
                final += stream[:settle]
                del stream[:settle]
                audio.settle(settled_ms)
            case "l":
                audio.take_back()
                stream.clear()
                stream_ms = settled_ms = 0.0
    rest = milliseconds(audio.hand_over())
    assert sorted({*final, *rest}) == list(range(at_ms))
    assert len(final) == len(set(final))


def test_a_request_for_the_final_text_keeps_its_place() -> None:
    audio = kept()
    audio.ask()
    audio.ask()
    audio.add(0, numbered(0, 80))
    audio.ask()
    audio.add(80, numbered(80, 80))
    sent = 0.0
    pieces = []
    while audio:
        pieces.append(audio.take(sent))
        sent += len(pieces[-1][1]) / A_MS
    assert [len(pcm) // A_MS for _, pcm in pieces] == [0, 80, 0, 80]
    audio.settle(40)
    assert [(at, len(pcm) // A_MS) for at, pcm in audio.hand_over()] == [(40, 40), (0, 0), (80, 80)]


def test_both_what_waits_and_what_is_not_final_are_bounded_and_the_loss_is_counted() -> None:
    counters: Counter[str] = Counter()
    audio = KeptAudio(A_MS, counters)
    for second in range(40):
        audio.add(1000 * second, bytes(1000 * A_MS))
    assert counters["dropped_ms"] == 40_000 - KEPT_MS
    counters.clear()
    sent = 0.0
    for second in range(40):
        audio.add(1000 * second, bytes(1000 * A_MS))
        audio.take(sent)
        sent += 1000
    while audio:
        audio.take(sent)
        sent += 1000
    counters.clear()
    audio.settle(sent - KEPT_MS)  # it was let go, and is final now
    audio.take_back()
    assert (counters["dropped_ms"], counters["replayed_ms"]) == (0, KEPT_MS)
    for _ in range(30):
        audio.take(0.0)
    audio.add(0, bytes(2000 * A_MS))
    audio.take(30_000.0)
    audio.take_back()
    assert counters["dropped_ms"] == 2000, "it was not final, and there was no room for it"


def test_a_vendors_rest_comes_before_what_waits() -> None:
    audio = kept()
    audio.add(200, numbered(200, 80))
    audio.take_over([(40, numbered(40, 80)), (0, b""), (120, numbered(120, 80))])
    assert milliseconds(audio.hand_over()) == list(range(40, 280))
    assert not audio


def test_audio_goes_a_second_at_once_and_then_at_its_speed() -> None:
    pace, now, gone = Pace(4.0), 100.0, 0
    begun = now
    while gone < 10_000:
        if wait_s := pace.wait_s(now, 80):
            now += wait_s
        else:
            gone += 80
            assert gone <= BURST_MS + 4000 * (now - begun) + 1
    assert now - begun == pytest.approx((10_000 - BURST_MS) / 4000, abs=0.05)
    assert all(pace.wait_s(now + 60 + step, 1000) == 0 for step in range(5)), "what comes in its own time never waits"
    assert pace.wait_s(now + 90, 5000) == 0, "a piece of any size goes in the end"


def test_what_is_spoken_in_real_time_is_never_late() -> None:
    pace = Pace(1.25)
    assert pace.wait_s(0.0, BURST_MS) == 0
    assert [pace.wait_s(0.08 * step, 80) for step in range(1, 100)] == [0] * 99
