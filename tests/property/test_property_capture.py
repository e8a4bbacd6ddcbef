"""The caller's time line under any arrivals: in order, complete or counted, never far from the clock."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaudio import _core, _reference

UUID = bytes(range(16))
FILLED = 1
AHEAD_MAX, FILL_BEHIND = 25, 5


@pytest.mark.parametrize("module", [_core, _reference], ids=["compiled", "reference"])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0, 0, 1, 1, 1, 1, 2, 5, 30]),  # frames that arrive before the tick
            st.sampled_from([1, 1, 1, 1, 2, 4, 12, 40]),  # periods of the tick
        ),
        min_size=15,
        max_size=60,
    ),
    loud=st.booleans(),
)
def test_every_frame_is_placed_once_in_order_or_counted(module: Any, steps: list[tuple[int, int]], loud: bool) -> None:
    call = module.Call(1, detector="rms", lead=0, capture_blocks=128, listen_rms=1000, bargein={"enabled": 0})
    call.start(UUID)
    reader = call.reader()
    base = 2000 if loud else -900  # what a frame's samples say is its number; loud ones are speech
    came = clock = 0
    seen: list[int] = []
    fills = 0
    for arrivals, periods in steps:
        for _ in range(arrivals):
            call.input(module.message(0x10, struct.pack("<h", base + came % 1800) * 160))
            came += 1
        call.tick(periods, periods >= 5)
        clock += periods
        # Nothing is published before its time, nor kept back by more than 100 ms.
        assert clock - FILL_BEHIND <= call.captured() <= clock
        position = reader.position
        got = reader.read(1000)
        if got is None:
            continue
        first, caller, _, flags = got
        assert first == position
        for n, flag in enumerate(flags):
            if flag & FILLED:
                assert caller[320 * n : 320 * (n + 1)] == bytes(320)
                fills += 1
            else:
                seen.append(struct.unpack_from("<h", caller, 320 * n)[0] - base)
    assert reader.lost == 0
    assert seen == sorted(set(seen))
    counters = call.counters()
    waiting = came - counters["left_out"] - counters["overrun"] - len(seen)
    assert 0 <= waiting <= AHEAD_MAX  # placed, and still ahead of the clock
    assert counters["frames_in"] == came
    assert fills == counters["filled"]
    assert not loud or counters["left_out"] == 0  # speech is never left out to catch up
