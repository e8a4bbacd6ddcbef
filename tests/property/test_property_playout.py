"""Conservation: what an agent writes is what the caller gets, once, in order, and the account says so."""

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaudio import _core, _reference
from fastaudio._reference import EventKind

UUID = bytes(range(16))
both = pytest.mark.parametrize("module", [_core, _reference], ids=["compiled", "reference"])
due = st.one_of(st.just((1, False)), st.just((1, False)), st.tuples(st.integers(2, 4), st.just(False)),
                st.tuples(st.integers(5, 40), st.just(True)))  # fmt: skip


def frames(sent: bytes) -> list[bytes]:
    assert len(sent) % 323 == 0
    return [sent[at + 3 : at + 323] for at in range(0, len(sent), 323)]


def ramp_of(count: int, start: int) -> bytes:
    """Samples that are never silence and tell their own place."""
    return struct.pack(f"<{count}h", *(1 + (start + n) % 30000 for n in range(count)))


@both
@given(
    lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=4),
    chunk=st.integers(1, 2000),
    lead=st.integers(0, 3),
    lateness=st.lists(due, max_size=30),
)
def test_all_speech_goes_out_once_however_late(
    module: Any, lengths: list[int], chunk: int, lead: int, lateness: list[tuple[int, bool]]
) -> None:
    call = module.Call(1, detector="rms", lead=lead, playback_slots=32)
    call.start(UUID)
    script: list[tuple[int, bytes | None]] = []
    for generation, length in enumerate(lengths, start=1):
        pcm = ramp_of(length, 1000 * generation)
        script += [(generation, pcm[at : at + chunk]) for at in range(0, len(pcm), chunk)] + [(generation, None)]
    ticks = [*lateness, *[(1, False)] * 60]
    heard: list[bytes] = []
    clock = sent = 0
    for periods, stalled in ticks:
        while script:
            generation, rest = script[0]
            taken = call.end(generation) if rest is None else call.write(generation, rest)
            if taken != (True if rest is None else len(rest)):
                script[0] = (generation, rest and rest[taken:])
                break
            script.pop(0)
        out = frames(call.tick(periods, stalled, (periods - 1) * 20_000_000))
        clock += periods
        sent += len(out)
        assert len(out) <= (1 if stalled else periods) + lead  # nothing is burst
        assert sent <= clock + lead  # never more than the lead ahead of the clock
        heard += [frame for frame in out if any(frame)]
    assert not script
    events = call.events()
    assert [(kind, generation) for kind, _, generation, *_ in events] == [
        item
        for generation in range(1, len(lengths) + 1)
        for item in ((EventKind.BEGAN, generation), (EventKind.PLAYED, generation))
    ]
    assert [value for kind, _, _, value, *_ in events if kind == EventKind.PLAYED] == lengths
    expected = b""
    for generation, length in enumerate(lengths, start=1):
        pcm = ramp_of(length, 1000 * generation)
        expected += pcm + bytes(-len(pcm) % 320)  # silence only at the end of an utterance
    assert b"".join(heard) == expected
    assert call.counters()["audio_out"] == len(expected) // 320


@both
@given(
    length=st.integers(200, 4000),
    rewind_ms=st.sampled_from([0, 0, 20, 35, 200]),
    steps=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["hold", "resume"])), max_size=8),
    lead=st.integers(0, 3),
)
def test_a_hold_keeps_every_sample_and_the_account(
    module: Any, length: int, rewind_ms: int, steps: list[tuple[int, str]], lead: int
) -> None:
    """Between hold and resume nothing is lost; without a rewind nothing is heard twice either."""
    call = module.Call(1, detector="rms", lead=lead, bargein={"limit_ticks": 1000, "enabled": 0})
    call.start(UUID)
    # Values that no ramp makes of another one: 39/40 of the highest is below the lowest.
    pcm = struct.pack(f"<{length}h", *(28_000 + n % 700 for n in range(length)))
    assert call.write(1, pcm) == len(pcm)
    assert call.end(1)
    out: list[bytes] = []
    for ticks, what in steps:
        for _ in range(ticks):
            out += frames(call.tick())
        if what == "hold":
            call.do_hold()
        else:
            call.do_resume(rewind_ms)
    call.do_resume(rewind_ms)
    for _ in range(90):
        out += frames(call.tick())
    assert [value for kind, _, _, value, *_ in call.events() if kind == EventKind.PLAYED] == [length]
    if rewind_ms == 0:
        # Outside the ramps the samples come in order, none twice; only what two ramps of 5 ms made soft is missing.
        whole = [sample - 28_000 for frame in out for sample in struct.unpack("<160h", frame) if sample >= 28_000]
        skipped = [(b - a) % 700 - 1 for a, b in pairwise([-1, *whole])]
        assert all(0 <= gap < 700 - 1 for gap in skipped)
        assert len(whole) + sum(skipped) <= length
        holds = sum(what == "hold" for _, what in steps)
        assert length - len(whole) <= holds * 2 * 40
