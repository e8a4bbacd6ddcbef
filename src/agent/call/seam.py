"""Where speech that broke off is cut, so that another synthesis goes on with no word said twice and none left out."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LAST_WORD_MS = 300  # how long a word is taken to last that neither its end nor another word follows
FADE_MS = 5  # at a cut within sound, so that it does not click
FRAME_MS = 20
SILENT_RMS = 150.0  # of 32768
LETTER_MS = 65.0  # of English, where nothing tells when words are spoken


@dataclass(slots=True)
class TimedWord:
    """A word, and the ms at which it is spoken; an end of 0 is not known."""

    text: str
    start_ms: int
    end_ms: int = 0


@dataclass(frozen=True, slots=True)
class HalfWord:
    """A word that broke off when `out_ms` of its `length_ms` were out already."""

    out_ms: int
    length_ms: int

    def out_of(self, length_ms: int) -> int:
        """As much of the word where it lasts `length_ms`: another synthesis may speak faster."""
        return round(length_ms * min(1.0, self.out_ms / max(1, self.length_ms)))


def end_of(words: Sequence[TimedWord], index: int) -> int:
    """The ms at which a word ends, as far as one can tell."""
    if words[index].end_ms:
        return words[index].end_ms
    return words[index + 1].start_ms if index + 1 < len(words) else words[index].start_ms + LAST_WORD_MS


def last_joint(words: Sequence[TimedWord], audio_ms: int) -> tuple[int, int]:
    """How many words are whole in audio up to `audio_ms`, and the last place in it, ms, that is within none."""
    for index in reversed(range(len(words))):
        if (end_ms := end_of(words, index)) <= audio_ms:
            following = words[index + 1].start_ms if index + 1 < len(words) else end_ms
            return index + 1, max(end_ms, min(audio_ms, following))
    return 0, min(audio_ms, words[0].start_ms) if words else 0


def spoken_length(text: str, words: Iterable[str]) -> int:
    """How much of the beginning of `text`, in characters, these words are that a vendor says it has spoken.

    They are matched letter by letter, for a vendor may part "65.50" or join two; what it calls quite otherwise counts
    as one word of the text.
    """
    place = 0
    for word in words:
        reached = place
        for letter in filter(str.isalnum, word):
            while reached < len(text) and not text[reached].isalnum():
                reached += 1
            if text[reached : reached + 1].lower() != letter.lower():
                following = re.compile(r"\s*\S*").match(text, place)
                reached = following.end() if following else len(text)
                break
            reached += 1
        place = reached
    while 0 < place < len(text) and not (text[place].isalnum() or text[place].isspace()):
        place += 1  # the marks behind the last of them
    return place


def silent_place(pcm: bytes | bytearray, rate: int) -> int | None:
    """The last place in 16-bit PCM at which nothing sounds, in bytes; None when there is none."""
    size = 2 * rate * FRAME_MS // 1000
    for start in range(len(pcm) // size * size - size, -1, -size):
        samples = array("h", bytes(pcm[start : start + size]))
        if math.sqrt(sum(sample * sample for sample in samples) / len(samples)) < SILENT_RMS:
            return start + size // 4 * 2
    return None


def reckoned_length(text: str, spoken_ms: float) -> int:
    """The same where nothing tells: as much as is spoken in so much time, in whole words, and in clauses if near."""
    reached = spoken_ms / LETTER_MS
    best, score = 0, reached
    for match in re.finditer(r"\S+", text):
        distance = abs(match.end() - reached) - (4 if match[0][-1] in ",.;:!?…" else 0)
        if distance < score:
            best, score = match.end(), distance
    return best


def fade(pcm: bytes | bytearray, rate: int, *, rising: bool) -> bytes:
    """16-bit PCM that comes from silence within 5 ms, or goes there."""
    samples = array("h", bytes(pcm))
    length = min(len(samples), rate * FADE_MS // 1000)
    for step in range(length):
        index = step if rising else len(samples) - 1 - step
        samples[index] = samples[index] * (step + 1) // (length + 1)
    return samples.tobytes()
