"""What the caller hears: the agent's audio put on the call's time line, cut into utterances by its level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import fastaudio

LOUD_RMS = 60.0
"""A frame above this level (of 32768) is sound: well above a telephone line's noise, well below quiet speech."""
JITTER_SECONDS = 0.1
"""A frame so much later than the end of the one before leaves a gap on the time line; less is jitter."""
STOP_SECONDS = 0.3
"""A pause this long after an interruption means that the agent has stopped."""


def rms(samples: bytes) -> int:
    """Level of 16-bit PCM, of 32768."""
    return fastaudio.rms(samples)


@dataclass(slots=True)
class Utterance:
    """A stretch of speech; times are seconds since the UUID."""

    who: str
    """ "caller" or "agent"."""
    start_s: float
    end_s: float
    text: str = ""
    """What was said, or what the recogniser made of it; empty when nobody can tell."""
    answered_after_ms: float | None = None
    """From the end of what the caller said to the first sound of the agent's answer."""


def note_answers(utterances: Iterable[Utterance]) -> None:
    """Work out for each utterance of the agent that follows one of the caller how long the caller waited."""
    last: Utterance | None = None
    for utterance in sorted(utterances, key=lambda u: u.start_s):
        if utterance.who == "agent" and last is not None and last.who == "caller":
            utterance.answered_after_ms = (utterance.start_s - last.end_s) * 1000
        last = utterance


def stopped_after_ms(loud_times: Sequence[float], since: float) -> float | None:
    """Return how long after second `since` the agent fell silent, in ms: until its last sound before a pause.

    None when it made no sound from then on: there was nothing to interrupt any more.
    """
    last = since
    for at in loud_times:
        if at <= since:
            continue
        if at - last > STOP_SECONDS:
            break
        last = at
    return (last - since) * 1000 if last > since else None


def at_rate(samples: bytes, rate: int, wanted: int) -> bytes:
    """The same 16-bit PCM at another rate. It needs the extra `local`."""
    import numpy as np

    from agent.speech_engines.audio import resample, to_float, to_int16

    return to_int16(resample(to_float(np.frombuffer(samples, "<i2")), rate, wanted)).tobytes()


class Ear:
    """Hears the agent. An utterance ends when it has been quiet for `quiet_s`."""

    def __init__(self, quiet_s: float, on_utterance: Callable[[Utterance], None], rate: int = 8000) -> None:
        """Tell `on_utterance` of each utterance when it has ended; its text is still empty then.

        `rate`: samples a second of the track; what comes at another one is brought to it.
        """
        self._rate = rate
        self._quiet_s = quiet_s
        self._on_utterance = on_utterance
        self._end_s = 0.0
        self.track = bytearray()
        """The agent's audio on the call's time line: 16 bits, silence where nothing came."""
        self.speaking_since: float | None = None
        """Where on the time line the present utterance begins; None while the agent is quiet."""
        self.loud_at = 0.0
        """When the last frame with sound came in."""
        self.loud_times: list[float] = []
        """When each frame with sound came in; as many as the call is long (50 a second)."""
        self.lead_ms = 0.0
        """The most that audio was ahead of the clock: what a telephone would have had to buffer."""

    def hear(self, at: float, samples: bytes, rate: int) -> None:
        """Take in one message of audio that came at second `at`."""
        if rate != self._rate:
            samples = at_rate(samples, rate, self._rate)
        place = self._length_s
        if at - place > (JITTER_SECONDS if self.track else 0.0):
            self.track += bytes(2 * round((at - place) * self._rate))
            place = self._length_s
        self.track += samples
        self.lead_ms = max(self.lead_ms, (place - at) * 1000)
        if rms(samples) <= LOUD_RMS:
            return
        self.loud_at = at
        self.loud_times.append(at)
        self._end_s = self._length_s
        if self.speaking_since is None:
            self.speaking_since = place

    def pass_time(self, now: float) -> None:
        """End the utterance if it has been quiet for long enough at second `now`."""
        if self.speaking_since is not None and now - self.loud_at >= self._quiet_s:
            self.finish()

    def finish(self) -> None:
        """End the present utterance, if there is one."""
        if self.speaking_since is None:
            return
        utterance = Utterance("agent", self.speaking_since, self._end_s)
        self.speaking_since = None
        self._on_utterance(utterance)

    def audio_of(self, utterance: Utterance) -> bytes:
        """Return the samples of an utterance, with 100 ms of what is around it."""
        first = max(0, round((utterance.start_s - 0.1) * self._rate))
        return bytes(self.track[2 * first : 2 * round((utterance.end_s + 0.1) * self._rate)])

    @property
    def _length_s(self) -> float:
        return len(self.track) / 2 / self._rate
