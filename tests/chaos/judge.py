"""Judges a call by its recording alone: how long nobody spoke, and whether each word was heard once.

The rule for silence is strict and simple. A recording has two sides, and there must be no stretch of more than
`LIMIT_S` in which neither is heard:

* from the beginning of the call to the agent's first sound;
* from the true end of the caller's sound to the agent's next one. What the caller goes on with after a pause, an
  unfinished phrase, ends one stretch and begins the next: patience counts from the end of the audio as well;
* inside what the agent says, between any two of its sounds, also when one is "Bear with me.";
* from anybody's last sound to the end of the call, unless the caller hangs up after the agent's last word.

The callers of a trial answer within a second of what they understand, so a longer silence behind the agent is the
agent's: it stopped in the middle, or said what no caller can answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product
from typing import Literal

import numpy as np

from agent.ops.recording import Tracks
from agent.sandbox.caller.listen import LOUD_RMS
from agent.speech_engines import Word
from agent.speech_engines.audio import resample, to_float, to_int16
from agent.speech_engines.tones import ToneRecogniser

LIMIT_S = 2.0
WINDOW_S = 0.01
CLICK_S = 0.06
"""Sound that is shorter is a click and ends no silence."""
PICTURE_S = 0.1

Side = Literal["start", "caller", "agent", "end"]
_BEFORE = {"start": "the beginning of the call", "caller": "the caller's last sound", "agent": "the agent's last sound"}
_AFTER = {"caller": "the caller spoke again", "agent": "the agent spoke", "end": "the call ended"}


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch in which neither side is heard. Seconds of the recording."""

    start_s: float
    end_s: float
    before: Side
    after: Side

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s of silence at {self.start_s:.2f} s, from {_BEFORE[self.before]} until "
            f"{_AFTER[self.after]}"
        )


@dataclass(frozen=True, slots=True)
class Hearing:
    """What became of the words: what is wrong, and words that were cut off and said again, which is no fault."""

    wrong: tuple[str, ...]
    cut: tuple[str, ...] = ()


# ---- silence --------------------------------------------------------------------------------------------------------


def sounds(track: bytes, rate: int) -> list[tuple[float, float]]:
    """Where one side is heard: start and end in seconds, pauses between windows of 10 ms counted as such."""
    size = round(WINDOW_S * rate)
    samples = np.frombuffer(track, "<i2").astype(np.float32)
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    loud = np.concatenate([[False], np.sqrt(np.mean(np.square(windows), axis=1)) > LOUD_RMS, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    found = [(start * WINDOW_S, end * WINDOW_S) for start, end in edges.reshape(-1, 2).tolist()]
    return [(start, end) for start, end in found if end - start >= CLICK_S - 1e-9]


def silences(tracks: Tracks) -> list[Silence]:
    """Every stretch in which neither side is heard, in order."""
    length_s = len(tracks.caller) / 2 / tracks.rate
    heard: list[tuple[float, float, Side]] = [(*span, "caller") for span in sounds(tracks.caller, tracks.rate)]
    heard += [(*span, "agent") for span in sounds(tracks.agent, tracks.rate)]
    end: tuple[float, float, Side] = (length_s, length_s, "end")
    found: list[Silence] = []
    quiet_from = 0.0
    side: Side = "start"
    for start, until, who in [*sorted(heard), end]:
        if start > quiet_from:
            found.append(Silence(quiet_from, start, side, who))
        if until >= quiet_from:
            quiet_from, side = until, who
    return found


def too_silent(tracks: Tracks, ended_by: str, limit_s: float = LIMIT_S) -> list[str]:
    """The silences that are too long, each with its place and a picture. `ended_by`: who hung up, as a call says."""
    wrong = []
    for silence in silences(tracks):
        if silence.seconds <= limit_s:
            continue
        if (silence.before, silence.after) == ("agent", "end") and ended_by == "caller":
            continue
        wrong.append(f"{silence}\n{picture(tracks, silence)}")
    return wrong


def picture(tracks: Tracks, silence: Silence) -> str:
    """Both sides around a silence, a character for 100 ms: # is sound."""
    first = max(0.0, silence.start_s - 1.5)
    columns = round((silence.end_s + 1.5 - first) / PICTURE_S)
    lines = []
    for name, track in (("caller", tracks.caller), ("agent", tracks.agent)):
        spans = sounds(track, tracks.rate)
        row = ""
        for column in range(columns):
            begin = first + column * PICTURE_S
            row += "#" if any(start < begin + PICTURE_S and end > begin for start, end in spans) else "."
        lines.append(f"  {name:6} {row}")
    return "\n".join(lines)


# ---- words ----------------------------------------------------------------------------------------------------------


def words_of(track: bytes, rate: int) -> list[Word]:
    """The words that one side carries in tones; speech of any other kind has none."""
    ears = ToneRecogniser()
    samples = np.frombuffer(track, "<i2")
    if rate != ears.sample_rate:
        samples = to_int16(resample(to_float(samples), rate, ears.sample_rate))
    return list(ears.transcribe(samples.astype(np.int16)))


def misheard(heard: Sequence[Word], replies: Sequence[Sequence[str]], asides: Iterable[str] = ()) -> Hearing:
    """Compare what was heard with what was to be said: each word once, in order.

    `replies` gives for each reply the texts that it may have; `asides` are phrases that may come in anywhere, any
    number of times ("Bear with me.").
    """
    words = _without(list(heard), [plain(aside) for aside in asides])
    attempts = [_compare(words, [word for text in choice for word in text.split()]) for choice in product(*replies)]
    return min(attempts, key=lambda attempt: len(attempt.wrong), default=Hearing(()))


def _compare(heard: list[Word], expected: list[str]) -> Hearing:
    said, wanted = [_norm(word.text) for word in heard], [_norm(word) for word in expected]
    wrong: list[str] = []
    cut: list[str] = []
    for what, i1, i2, j1, j2 in SequenceMatcher(None, wanted, said, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        rest = list(range(j1, j2))
        while what == "insert" and rest and i1 < len(wanted) and _cut_off(said[rest[-1]], wanted[i1]):
            cut.append(f"{heard[rest[-1]].text}- at {heard[rest[-1]].start:.2f} s")
            rest.pop()
        extra = " ".join(heard[j].text for j in rest)
        missing = " ".join(expected[i1:i2])
        place = f" at {heard[min(j1, len(heard) - 1)].start:.2f} s" if heard else ""
        if extra and missing:
            wrong.append(f"{missing!r} was to be heard and {extra!r} was{place}")
        elif missing:
            wrong.append(f"{missing!r} was not heard{place}")
        elif extra:
            again = all(said[j] in wanted for j in rest)
            wrong.append(f"{extra!r} was heard {'twice' if again else 'besides'}{place}")
    return Hearing(tuple(wrong), tuple(cut))


def _cut_off(piece: str, word: str) -> bool:
    """Whether a piece is the beginning of a word, which is said again behind it."""
    return len(piece) < len(word) and word.startswith(piece)


def _without(words: list[Word], asides: list[list[str]]) -> list[Word]:
    """The words without the asides, the longest first."""
    for aside in sorted((aside for aside in asides if aside), key=len, reverse=True):
        place = 0
        while place + len(aside) <= len(words):
            if [_norm(word.text) for word in words[place : place + len(aside)]] == aside:
                del words[place : place + len(aside)]
            else:
                place += 1
    return words


def plain(text: str) -> list[str]:
    return [_norm(word) for word in text.split()]


def _norm(word: str) -> str:
    return re.sub(r"[^\w£&]", "", word.lower())


# ---- bookings -------------------------------------------------------------------------------------------------------


def bookings_wrong(
    wanted: Mapping[str, bool], booked: Sequence[str], waiting: Sequence[str] = (), refused: Sequence[str] = ()
) -> list[str]:
    """What is lost or doubled. Names stand for callers, each of whom gives another one.

    `wanted` tells of each caller whether the booking must be there (it was made, or the caller was told so); without
    that it may be. `booked` are the rows of the office's database, `waiting` what the agent still keeps for it or shows
    as uncertain, `refused` what the office refused and the agent shows as such.
    """
    wrong = []
    for name, must in wanted.items():
        rows = booked.count(name)
        if rows > 1:
            wrong.append(f"the booking of {name} is in the office {rows} times")
        elif must and not rows and name not in waiting and name not in refused:
            wrong.append(f"the booking of {name} is lost")
    wrong += [f"the office has a booking of {name}, who made none" for name in booked if name not in wanted]
    return wrong
