"""Whether it is a machine that rings: a fax, a modem, or a recorded announcement that lets nobody in.

Pure: what the caller's line brings goes in, a finding comes out, once. Without it such a call would last until the
silence or the longest call ends it, and the line would be taken for as long.
"""

from __future__ import annotations

import enum
import math
import re
from operator import add, mul

import fastaudio

LISTENED_MS = 30_000
"""So much of the caller's audio is searched for tones: a machine that rings begins with them."""
BURST_MS = 320
"""A tone as long as this is none that a voice holds so pure. The calling tones last 400 to 700 ms."""
BURSTS = 2
STEADY_MS = 1500
"""A tone as long as this needs no second one."""
LOUD = 200.0
"""Below this level (RMS of 32768) there is nothing to search."""
IMPURE = 0.08
"""How much of a sound may be something else than one tone: noise 20 dB below it makes up to 0.02, two tones 0.3."""
TONES_HZ = (1100.0, 1300.0, 2100.0)
"""CNG of fax machines (T.30), calling tone of modems and answer tone (V.25)."""
TOLERANCE_HZ = 60.0
"""What T.30 lets a machine be off (38 Hz), and what noise does to the estimate."""
FAR = 5
"""So many neighbours away two tones differ from any one tone of `TONES_HZ`, whatever lies between them."""

PHRASES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bcalls? (?:is|are|may be|will be|might be)(?: being)? (?:recorded|monitored)\b",
        r"\bpress (?:\d|one|two|three|four|five|six|seven|eight|nine|zero|hash|star|the)\b",
        r"\byour call is (?:important|in a queue|being)\b",
        r"\b(?:please hold|hold the line|stay on the line|hold for)\b",
        r"\b(?:leave|record) (?:a|your) message\b|\bafter the (?:tone|beep)\b",
        r"\bthe (?:person|number) you (?:are calling|have called|have dialled|dialled|called)\b",
        r"\ball (?:of )?our \w+ are (?:busy|currently)\b",
        r"\bthis is an? (?:automated|recorded|pre-?recorded|important) (?:message|call|announcement)\b",
        r"\bthank you for calling\b",
        r"\bterms and conditions apply\b|\bunsubscribe\b|\bto opt out\b",
    )
)
"""What announcements say, and callers hardly ever do."""
KINDS = 3
"""So many different ones are no coincidence."""
MONOLOGUE_MS, MONOLOGUE_WORDS = 90_000, 200
"""Words without an end, in which the agent was never heard to finish a sentence."""


class Machine(enum.Enum):
    """What rings."""

    FAX = "fax"
    """A fax machine or a modem."""
    ANNOUNCEMENT = "announcement"


class MachineWatch:
    """Watches one call. `audio` and `words` return what was found, once; None before and after."""

    def __init__(self, rate: int) -> None:
        """Watch a call with `rate` samples a second."""
        self._rate = rate
        self._found = False
        self._searched_ms = 0.0
        self._tone = -1  # the one that sounds now, by its place in TONES_HZ
        self._tone_ms = 0.0
        self._bursts = 0
        self._said: set[int] = set()
        self._words = 0
        self._since_ms: float | None = None

    def audio(self, pcm: bytes) -> Machine | None:
        """Take in some of the caller's audio, in the order in which it came: 16 bits, 20 to 100 ms at a time."""
        if self._found or self._searched_ms >= LISTENED_MS:
            return None
        ms = len(pcm) / 2 * 1000 / self._rate
        self._searched_ms += ms
        tone = _tone_of(pcm, self._rate)
        if tone == self._tone and tone >= 0:
            self._tone_ms += ms
        else:
            self._bursts += self._tone_ms >= BURST_MS
            self._tone, self._tone_ms = tone, ms if tone >= 0 else 0.0
        bursts = self._bursts + (self._tone_ms >= BURST_MS)
        return self._find(Machine.FAX) if bursts >= BURSTS or self._tone_ms >= STEADY_MS else None

    def words(self, text: str, now_ms: float) -> Machine | None:
        """Take in final words of the caller."""
        if self._found:
            return None
        self._said.update(kind for kind, pattern in enumerate(PHRASES) if pattern.search(text))
        self._since_ms = now_ms if self._since_ms is None else self._since_ms
        self._words += len(text.split())
        endless = self._words >= MONOLOGUE_WORDS and now_ms - self._since_ms >= MONOLOGUE_MS
        return self._find(Machine.ANNOUNCEMENT) if endless or len(self._said) >= KINDS else None

    def agent_finished(self) -> None:
        """The agent was heard to the end of what it had to say: somebody listens."""
        self._words, self._since_ms = 0, None

    def _find(self, machine: Machine) -> Machine:
        self._found = True
        return machine


def _tone_of(pcm: bytes, rate: int) -> int:
    """Which of `TONES_HZ` the audio is nothing else than; -1 for none.

    A sine wave is known by x[n-k] + x[n+k] = 2 cos(kw) x[n], wherever one looks: some 70 places of 80 ms are enough, so
    that it costs a hundredth of a filter over all samples. At k = 1 two formants of a vowel look much like one wave
    between them, and at k = 5 they do not.
    """
    if fastaudio.rms(pcm) < LOUD:
        return -1
    lag = rate // 8000
    samples = memoryview(pcm).cast("h")
    far, before, after = FAR * lag, (FAR - 1) * lag, (FAR + 1) * lag
    middles = samples[far:-far:9].tolist()
    power = sum(map(mul, middles, middles))
    if not power:
        return -1
    cosine, impure = _fit(middles, samples[before:-after:9], samples[after:-before:9], power)
    if impure > IMPURE or not -1 < cosine < 1:
        return -1
    hertz = math.acos(cosine) * rate / (2 * math.pi * lag)
    tone = next((place for place, tone in enumerate(TONES_HZ) if abs(hertz - tone) <= TOLERANCE_HZ), -1)
    if tone >= 0 and _fit(middles, samples[: -2 * far : 9], samples[2 * far :: 9], power)[1] > IMPURE:
        return -1
    return tone


def _fit(middles: list[int], before: memoryview, after: memoryview, power: int) -> tuple[float, float]:
    """The cosine that fits best, and the share of the power that it leaves over."""
    sums = list(map(add, before, after))
    both = sum(map(mul, middles, sums))
    return both / (2 * power), (sum(map(mul, sums, sums)) - both * both / power) / (4 * power)
