"""How many lines a traffic needs: the formulas of A. K. Erlang (1917), for calls that come at random."""

from __future__ import annotations

import math


def blocking(erlangs: float, lines: int) -> float:
    """Erlang B: the share of calls that find all lines taken and go elsewhere. Holds for any distribution of lengths.

    `erlangs`: calls an hour times their mean length in hours. Raises ValueError for a negative number.
    """
    if erlangs < 0 or lines < 0:
        raise ValueError(f"neither a traffic nor a number of lines is negative: {erlangs:g}, {lines}")
    if not erlangs:
        return 0.0 if lines else 1.0
    # The inverse is a sum that neither overflows nor cancels.
    inverse = 1.0
    for line in range(1, lines + 1):
        inverse = 1.0 + inverse * line / erlangs
        if inverse > 1e300:
            return 0.0
    return 1.0 / inverse


def waiting(erlangs: float, lines: int) -> float:
    """Erlang C: the share of calls that wait where they are queued; 1 when the lines cannot carry the traffic."""
    if erlangs >= lines:
        return 1.0
    lost = blocking(erlangs, lines)
    return lost / (1.0 - erlangs / lines * (1.0 - lost))


def lines_for(erlangs: float, most: float) -> int:
    """The fewest lines with which at most a share `most` (above 0, below 1) of calls find none."""
    if not 0 < most < 1:
        raise ValueError(f"a share of calls is between 0 and 1: {most:g}")
    if erlangs <= 0:
        return 0
    inverse, lines = 1.0, 0
    while 1.0 / inverse > most:
        lines += 1
        inverse = 1.0 + inverse * lines / erlangs
    return lines


def busy_at_once(calls: int, share: float, most: float) -> int:
    """Of so many calls, each busy for a share of its time: the number that is exceeded for at most a share `most`.

    A call that speaks has a context of the TTS, and calls speak independently of each other (binomial).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share is 0 to 1: {share:g}")
    if not calls or not share:
        return 0
    if share == 1:
        return calls
    log_odds = math.log(share) - math.log1p(-share)
    log_term = calls * math.log1p(-share)  # of nobody
    below = math.exp(log_term)
    busy = 0
    while below < 1 - most and busy < calls:
        log_term += math.log((calls - busy) / (busy + 1)) + log_odds
        busy += 1
        below += math.exp(log_term)
    return busy
