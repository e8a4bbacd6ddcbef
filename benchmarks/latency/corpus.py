"""The turns that callers say (`turns.txt`): read, turned into sound, and answered by what is asked next."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from agent.sandbox.brain import Answer
from agent.speech_engines import Samples
from agent.speech_engines.tones import RATE, ToneVoice

FILE = Path(__file__).with_name("turns.txt")
GOODBYE = "Thanks for calling, bye now."
FRAME = RATE // 50
MEDIAN_MS, SIGMA = 400, 0.55
"""Of the log-normal distribution that the lengths of pauses are drawn from."""
_PAUSE = re.compile(r"\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a caller says in one turn, with silences of `pauses_ms` between its `parts`."""

    asked: str
    kind: str
    parts: tuple[str, ...]
    pauses_ms: tuple[int, ...]
    follows: str
    """What the agent asks next."""

    @property
    def text(self) -> str:
        """As it stands in the file."""
        marked = [f"{part} {{{ms}}}" for part, ms in zip(self.parts, self.pauses_ms, strict=False)]
        return " ".join([*marked, self.parts[-1]])

    def sound(self, voice: ToneVoice) -> Samples:
        """The turn at 8000 Hz, in whole frames: silence in front, so that its last sample is the last of a frame."""
        pieces: list[Samples] = []
        for index, part in enumerate(self.parts):
            if index:
                pieces.append(np.zeros(self.pauses_ms[index - 1] * RATE // 1000, np.int16))
            pieces.append(voice.speak(part, RATE).samples)
        said = np.concatenate(pieces)
        return np.concatenate([np.zeros(-len(said) % FRAME, np.int16), said])


@cache
def calls() -> tuple[tuple[Turn, ...], ...]:
    """The turns of each call, in order. Raises ValueError for a file that is not as its head says."""
    found = []
    for block in FILE.read_text("utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        split = [(kind, text) for kind, _, text in (line.partition(": ") for line in lines)]
        asked, said = split[0::2], split[1::2]
        if len(asked) != len(said) or any(kind != "agent" for kind, _ in asked):
            raise ValueError(f"{FILE}: a call must have a turn below each line of the agent: {lines}")
        follows = [text for _, text in asked[1:]] + [GOODBYE]
        found.append(
            tuple(
                Turn(
                    question,
                    kind,
                    tuple(part.strip() for part in _PAUSE.split(text)[0::2]),
                    tuple(int(ms) for ms in _PAUSE.findall(text)),
                    following,
                )
                for (_, question), (kind, text), following in zip(asked, said, follows, strict=True)
            )
        )
    return tuple(found)


def redrawn(seed: int) -> tuple[tuple[Turn, ...], ...]:
    """The same turns with the lengths of their pauses drawn anew, as those in the file were with seed 1."""
    count = sum(len(turn.pauses_ms) for call in calls() for turn in call)
    normal = NormalDist(math.log(MEDIAN_MS), SIGMA)
    lengths = [round(math.exp(normal.inv_cdf((index + 0.5) / count)) / 10) * 10 for index in range(count)]
    random.Random(seed).shuffle(lengths)
    left = iter(lengths)
    return tuple(
        tuple(replace(turn, pauses_ms=tuple(next(left) for _ in turn.pauses_ms)) for turn in call) for call in calls()
    )


def answer(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> Answer:
    """What the agent asks next: the LLM of the benchmark.

    A pure function of the conversation, which may hold half of what was said, or half of what was asked: the turn whose
    words these are most, with the question that they answer counted as half of the likeness.
    """
    said: list[str] = []
    asked = ""
    for message in messages:
        if message.get("role") == "user":
            said.append(str(message.get("content") or ""))
        elif message.get("role") == "assistant" and message.get("content"):
            said, asked = [], str(message["content"])
    words = _words(" ".join(said))

    def likeness(turn: Turn) -> float:
        mine = _words(" ".join(turn.parts))
        common = (words & mine).total()
        inside = common / words.total() if words else 0.0
        question = 0.5 if asked and turn.asked.startswith(asked.strip(" .?!")[:40]) else 0.0
        return inside + 0.25 * common / mine.total() + question

    return Answer(max((turn for call in calls() for turn in call), key=likeness).follows)


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9']+", text.lower()))
