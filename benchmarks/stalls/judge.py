"""What a caller says about numbered speech that it heard: what is missing, what came twice, and when."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

from benchmarks.stalls.caller import FRAME_S, Heard

RATE = 8000
NEAR_S = 0.5
"""Over how long a slip is taken: long enough for the ticks of a timer to even out."""


@dataclass(frozen=True)
class Verdict:
    """How speech came through a disturbance. Times are in ms.

    `lost`, `repeated`: samples. `misplaced`: places at which a sample follows that is not the next one or later.
    `gap_ms`: the longest time in which no speech came; `silence_ms`: the longest one that is heard where all is played
    as soon as it comes: less than the gap by what was sent ahead. `slip_ms`: how much later than before the disturbance
    speech is, a while after it. `burst`: the most frames of 20 ms within 20 ms, from the disturbance on.
    """

    lost: int
    repeated: int
    misplaced: int
    gap_ms: float
    silence_ms: float
    slip_ms: float
    burst: float


def judge(speech: Heard, start: float, end: float, after_s: float) -> Verdict:
    """Compares speech, disturbed from `start` to `end`, with the numbers from 1 on; the slip is that at `after_s`.

    Raises ValueError when there is too little speech before or behind the disturbance to tell.
    """
    heard = array("H", speech.audio)
    once = set(heard) - {0}
    before = _slip_ms(speech, start - NEAR_S, start)
    behind = _slip_ms(speech, end + after_s - NEAR_S, end + after_s)
    return Verdict(
        lost=max(once, default=0) - len(once),
        repeated=len(heard) - heard.count(0) - len(once),
        misplaced=sum(b <= a for a, b in pairwise(heard)),
        gap_ms=round(1000 * max(b - a for a, b in pairwise(speech.times)), 1),
        silence_ms=round(_longest_silence_ms(speech), 1),
        slip_ms=round(behind - before, 1),
        burst=speech.between(start, end + after_s).most_within(FRAME_S),
    )


def _slip_ms(speech: Heard, start: float, end: float) -> float:
    """How far speech is behind a clock that began with it, between two times."""
    played = [0, *accumulate(len(pcm) // 2 for pcm in speech.payloads)]
    slips = [
        at - speech.times[0] - played[n] / RATE
        for n, at in enumerate(speech.times[: bisect_right(speech.times, end)])
        if at >= start
    ]
    if not slips:
        raise ValueError("no speech where it was to be compared: the server stopped playing")
    return 1000 * median(slips)


def _longest_silence_ms(speech: Heard) -> float:
    longest, played_until = 0.0, speech.times[0]
    for at, pcm in zip(speech.times, speech.payloads, strict=True):
        longest = max(longest, at - played_until)
        played_until = max(played_until, at) + len(pcm) / 2 / RATE
    return 1000 * longest
