"""How complete words sound: against labelled turns, with a floor for what is answered too early and too late."""

from __future__ import annotations

import collections
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.call.words import Completeness, completeness, interrupts_at_once, is_backchannel

DATA = Path(__file__).parent / "data"
WHOLE = (Completeness.BARE, Completeness.COMPLETE)


@dataclass(frozen=True)
class Turn:
    asked: str
    text: str
    label: Completeness


def turns(name: str) -> list[Turn]:
    asked, found = "", []
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if line.startswith(">"):
            asked = line[1:].strip()
        elif line and not line.startswith("#"):
            label, text = line.split(": ", 1)
            found.append(Turn(asked, text, Completeness(label)))
    return found


def unpunctuated(text: str) -> str:
    """As an STT gives it that does not punctuate."""
    return re.sub(r"[.,?!;:…]", "", text).replace("-", " ").lower()


@dataclass(frozen=True)
class Table:
    """Rows: the label; columns: what was said of it."""

    counts: collections.Counter[tuple[Completeness, Completeness]]
    wrong: list[str]

    def share(self, of: tuple[Completeness, ...], said: tuple[Completeness, ...]) -> float:
        all_of = sum(count for (label, _), count in self.counts.items() if label in of)
        return sum(self.counts[label, one] for label in of for one in said) / all_of

    def __str__(self) -> str:
        head = f"{'':12}" + "".join(f"{one.value:>12}" for one in Completeness)
        rows = [
            f"{label.value:12}" + "".join(f"{self.counts[label, said]:12}" for said in Completeness)
            for label in Completeness
        ]
        return "\n".join([head, *rows, *self.wrong])


def table(which: list[Turn], *, plain: bool) -> Table:
    counts: collections.Counter[tuple[Completeness, Completeness]] = collections.Counter()
    wrong = []
    for turn in which:
        text = unpunctuated(turn.text) if plain else turn.text
        said = completeness(text, turn.asked)
        counts[turn.label, said] += 1
        early = turn.label is Completeness.INCOMPLETE and said in WHOLE
        late = turn.label in WHOLE and said not in WHOLE
        if early or late:
            wrong.append(f"{turn.label.value} -> {said.value}: {text!r} to {turn.asked!r}")
    return Table(counts, wrong)


@pytest.mark.parametrize("plain", [False, True], ids=["punctuated", "plain"])
def test_few_are_answered_early_and_few_late(plain: bool) -> None:
    found = table(turns("turns.txt"), plain=plain)
    print(f"\n{found}")
    assert found.share((Completeness.INCOMPLETE,), WHOLE) <= 0.02, found
    assert found.share(WHOLE, WHOLE) >= 0.85, found


GO_ON = """Yeah.|mm-hm|Mm-hmm.|Uh-huh|Okay, yeah|I see.|Got it.|right|Sure|Lovely!|of course|yeah yeah yeah|Okay, okay.|
yeah yeah yeah yeah yeah|Oh, I see, yeah.|Right. Okay. Yeah.|no problem"""
NO_GO_ON = """no|Yes, but|Okay, hold on.|okay?|Yeah, Thursday|right so the|hello|I see the|yeah okay right sure|M14"""
STOP = """Stop.|wait|Wait wait wait|Hang on.|hold on a minute|No.|no no no|Hello?|What?|what|Sorry?|Pardon?|pardon|
Oh, wait.|Um, hang on|Yeah, but|okay stop|How much?|Actually, no|Excuse me|that's wrong|Can I just|No, that's|oh sorry|
hello hello|No thank you."""
MAY_WAIT = """Okay?|Really?|yeah|Tuesday|hello|My|I|the stopcock|no problem|m"""


@pytest.mark.parametrize("text", GO_ON.split("|"))
def test_what_only_says_go_on(text: str) -> None:
    assert is_backchannel(text)
    assert not interrupts_at_once(text)


@pytest.mark.parametrize("text", ["", *NO_GO_ON.split("|")])
def test_what_is_no_go_on(text: str) -> None:
    assert not is_backchannel(text)


@pytest.mark.parametrize("text", STOP.split("|"))
def test_what_bids_the_agent_stop(text: str) -> None:
    assert interrupts_at_once(text)


@pytest.mark.parametrize("text", ["", *MAY_WAIT.split("|")])
def test_what_may_wait_for_more(text: str) -> None:
    assert not interrupts_at_once(text)
