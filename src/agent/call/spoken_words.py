"""When the words of a call were spoken: what the vendors tell of it, and estimates where they tell nothing.

A turn's text is put together of finals, interims and typed keys, and an answer's is what was thought; neither need be
word for word what a vendor timed. So the text's words are looked up among those with times, and what is not found
there is spread, by its length, over the time between what is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from agent.call import seam
from agent.call.record import Word
from agent.call.seam import LETTER_MS, TimedWord
from agent.providers.base import EndOfTurn, HeardWord, Transcript

KEPT = 1000
"""Words of the caller that no turn has taken; what is older is forgotten."""
TIMED_SPAN_MS = 400
"""Of a word without a time, at most, where nothing follows it."""


def spread(texts: Sequence[str], start_ms: float, end_ms: float) -> list[HeardWord]:
    """Each word's share of a stretch of time, by its length: an estimate."""
    end_ms = max(start_ms, end_ms)
    letters = sum(len(text) + 1 for text in texts)
    words, at = [], 0
    for text in texts:
        begin, at = at, at + len(text) + 1
        words.append(
            HeardWord(
                text,
                round(start_ms + (end_ms - start_ms) * begin / letters),
                round(start_ms + (end_ms - start_ms) * at / letters),
            )
        )
    return words


def align(texts: Sequence[str], timed: Sequence[HeardWord]) -> list[HeardWord]:
    """The words of a text with the times of those that are known, the latest of them where a word is there twice.

    Words that are not among them share the time of what stands in their place, or else the time between. Without any
    times there are no words.
    """
    if not timed:
        return []
    # Backwards: what was said last is what a turn holds, and what is left over comes before it.
    wanted = [_plain(text) for text in reversed(texts)]
    known = [_plain(word.text) for word in reversed(timed)]
    found: list[HeardWord] = []
    operations = SequenceMatcher(None, known, wanted, autojunk=False).get_opcodes()
    for kind, known_from, known_to, from_, to in reversed(operations):
        if from_ == to:
            continue
        mine = texts[len(texts) - to : len(texts) - from_]
        theirs = timed[len(timed) - known_to : len(timed) - known_from]
        if kind == "equal":
            found += [HeardWord(text, word.start_ms, word.end_ms) for text, word in zip(mine, theirs, strict=True)]
        elif kind == "replace":
            found += spread(mine, theirs[0].start_ms, theirs[-1].end_ms)
        else:  # nobody timed them
            lasts_ms = LETTER_MS * sum(map(len, mine))
            follows = timed[len(timed) - known_from] if known_from else None
            if found:
                begin = found[-1].end_ms
                end = min(begin + lasts_ms, follows.start_ms if follows is not None else begin + TIMED_SPAN_MS)
            else:
                end = float(follows.start_ms if follows is not None else timed[-1].end_ms)
                begin = max(0, round(end - lasts_ms))
            found += spread(mine, begin, end)
    return found


def placed(texts: Sequence[str], words: Sequence[TimedWord], heard_ms: int, place: Callable[[int], int]) -> list[Word]:
    """The agent's words that were heard, in ms of the call.

    `words` has the vendor's times, ms of the audio, of which `heard_ms` went out; `place` tells where in the call.
    Without any, the text's words are spread over what was heard.
    """
    timed = [
        HeardWord(word.text, word.start_ms, min(seam.end_of(words, index), heard_ms))
        for index, word in enumerate(words)
        if word.start_ms < heard_ms
    ]
    found = align(texts, timed) if timed else spread(texts, 0, heard_ms)
    return [Word("agent", word.text, place(word.start_ms), place(word.end_ms)) for word in found]


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold() or text


class CallerWords:
    """What the STT has heard and no turn has taken yet, with times."""

    def __init__(self) -> None:
        self._finals: deque[HeardWord] = deque(maxlen=KEPT)
        self._interim: Transcript | None = None
        self._seen: list[tuple[int, int]] = []  # words of the interims of this utterance, and how far they reach

    def heard(self, heard: Transcript | EndOfTurn) -> None:
        """The STT told what it heard."""
        if isinstance(heard, EndOfTurn) or heard.final:
            self._finals += heard.words or self._estimated(heard)
            self._interim = None
            self._seen.clear()
        elif heard.text:
            self._interim = heard
            count = len(heard.text.split())
            while self._seen and self._seen[-1][0] > count:
                self._seen.pop()
            if not self._seen or self._seen[-1][0] < count:
                self._seen.append((count, heard.covered_ms or heard.end_ms))

    def of_turn(self, text: str) -> list[Word]:
        """The words of a turn that is over, or seems so; none where nothing is known of them."""
        timed = list(self._finals)
        if self._interim is not None:
            timed += self._estimated(self._interim)
        return [Word("caller", *word) for word in align(text.split(), timed)]

    def forget(self) -> None:
        """All of them are answered."""
        self._finals.clear()
        self._interim = None
        self._seen.clear()

    def _estimated(self, heard: Transcript | EndOfTurn) -> list[HeardWord]:
        """Words between the moments at which the interims that first held them were made; else over all of it."""
        texts = heard.text.split()
        words: list[HeardWord] = []
        begin = float(heard.start_ms)
        for count, reached_ms in self._seen:
            new = texts[len(words) : count]
            end = min(reached_ms, heard.end_ms)
            words += spread(new, max(begin, end - LETTER_MS * sum(len(text) + 1 for text in new)), end)
            begin = max(begin, end)
        return words + spread(texts[len(words) :], begin, heard.end_ms)
