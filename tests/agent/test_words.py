"""How complete words sound: against labelled turns, with a floor for what is answered too early and too late."""

from __future__ import annotations

import collections
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.language.turn_words import BRITISH, turn_words
from agent.language.words import Completeness, completeness, interrupts_at_once, is_backchannel

DATA = Path(__file__).parent / "data"
BARE, COMPLETE, STATEMENT, UNSURE, INCOMPLETE = Completeness
WHOLE = (BARE, COMPLETE, STATEMENT)
ANY_TEXT = st.text(max_size=300) | st.lists(
    st.sampled_from("yes no it's M14 6 for mike double and the um , . ? ! + 07 oh i is what … ' -".split()), max_size=30
).map(" ".join)


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
@pytest.mark.parametrize(
    ("name", "early", "whole"), [("turns.txt", 0.02, 0.95), ("turns_unseen.txt", 0.08, 0.92)], ids=["mended", "unseen"]
)
def test_few_are_answered_early_and_few_late(name: str, early: float, whole: float, plain: bool) -> None:
    found = table(turns(name), plain=plain)
    print(f"\n{found}")
    assert found.share((INCOMPLETE,), WHOLE) <= early, found
    assert found.share(WHOLE, WHOLE) >= whole, found
    assert found.share(WHOLE, (INCOMPLETE,)) <= 0.02, found


def test_a_code_cut_short_is_never_taken_for_whole() -> None:
    """Each beginning of each code, written and spelled out, after each question that it answers."""
    digits = dict(zip("0123456789", "oh one two three four five six seven eight nine".split(), strict=True))
    letters = dict(zip("MBTLSDQ", "mike bravo tango lima sierra delta quebec".split(), strict=True))
    spoken = digits | letters
    for asked, code in (
        ("And what's your postcode?", "M146BT"),
        ("Can I take your postcode, please?", "LS115DQ"),
        ("What's the best number to call you back on?", "07700900123"),
        ("And a contact number for you?", "01614960123"),
    ):
        for count in range(1, len(code) + 1):
            for said in (code[:count], " ".join(code[:count]), " ".join(spoken[one] for one in code[:count])):
                for text in (said, f"It's {said}.", f"yeah it's {said}", f"Um, {said},"):
                    judged = completeness(text, asked)
                    short = UNSURE if code[:2] == "01" and count == 10 else INCOMPLETE  # a few have ten
                    assert judged is (BARE if count == len(code) else short), (text, asked)


@pytest.mark.parametrize(
    ("text", "asked", "label"),
    [
        ("Yes.", "", BARE),
        ("Yes.", "Shall I book that?", BARE),
        ("Yes.", "What's your postcode?", INCOMPLETE),
        ("Yes.", "Would you like ten or eleven?", UNSURE),
        ("Yes.", "Is there anything else?", INCOMPLETE),
        ("Twelve", "What's the house number?", BARE),
        ("Twelve", "What's the address?", INCOMPLETE),
        ("Sarah", "What's your first name?", BARE),
        ("Sarah", "What's your full name?", UNSURE),
        ("six B T", "And the second half?", BARE),
        ("Wright, W R I", "Can I take your surname?", INCOMPLETE),
        ("Wright, W R I G H T", "Can I take your surname?", BARE),
        ("four two", "And the last four digits?", INCOMPLETE),
        ("four two four two", "And the last four digits?", BARE),
        ("0161 496 012", "And a phone number?", UNSURE),
        ("0161 496 012 double", "And a phone number?", INCOMPLETE),
        ("oh seven seven hundred nine hundred twenty one", "And a phone number?", INCOMPLETE),
        ("oh double seven oh oh nine double oh one two three", "And a phone number?", BARE),
        ("M for mother one four", "What's the postcode?", INCOMPLETE),
        ("LS 11 5DL", "What's the postcode?", BARE),
        ("Yes", "Could you tell me your postcode?", INCOMPLETE),
        ("Yes", "Could I take your postcode? It tells me who is near.", INCOMPLETE),
        ("Yes", "That's a postcode in Leeds. Is that right?", BARE),
        ("My boiler's", "", INCOMPLETE),
        ("I just want to know how much whitening is.", "", COMPLETE),
        ("It comes back, isn't it", "", STATEMENT),
        ("There's a leak.", "How can I help?", STATEMENT),
        ("The thermostat doesn't.", "How can I help?", UNSURE),
        ("I can't get the stopcock to turn.", "How can I help?", STATEMENT),
        ("It's Mr. Anderson.", "What name is it?", BARE),
        ("It's Mr.", "What name is it?", INCOMPLETE),
        ("M 1 4 M 1 4 6", "What's the postcode?", INCOMPLETE),
        ("12, M 1 4", "What's the postcode?", INCOMPLETE),
        ("I think the tooth is on its way out.", "How can I help?", STATEMENT),
        ("S 1 to H E", "What's the postcode?", BARE),
        ("N W one for our Y", "What's the postcode?", BARE),
        ("We've got no electricity in.", "How can I help?", UNSURE),
        ("The heating is off.", "How can I help?", STATEMENT),
        ("My radiator.", "How can I help?", UNSURE),
        ("Could you tell me how much?", "How can I help?", UNSURE),
        ("Any time after?", "When would suit you?", UNSURE),
        ("When I turn the shower on.", "What's the matter?", UNSURE),
        ("There's a leak, please.", "How can I help?", COMPLETE),
        ("can you come today", "How can I help?", COMPLETE),
        ("so how much do you charge", "How can I help?", COMPLETE),
        ("what I want is a plumber", "How can I help?", STATEMENT),
        ("It's on the ground floor.", "What's the address?", COMPLETE),
        ("Yes", "Is it leaking badly? What's your postcode?", INCOMPLETE),
    ],
)
def test_the_question_decides(text: str, asked: str, label: Completeness) -> None:
    assert completeness(text, asked) is label


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


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_judged(text: str, asked: str) -> None:
    judged = completeness(text, asked)
    assert isinstance(judged, Completeness)
    assert completeness(f"  {text} ", asked) is judged
    assert not (is_backchannel(text) and interrupts_at_once(text))


@given(st.sampled_from(turns("turns.txt") + turns("turns_unseen.txt")))
def test_capitals_are_not_what_decides(turn: Turn) -> None:
    assert completeness(turn.text.upper(), turn.asked) is completeness(turn.text, turn.asked)
    assert completeness(turn.text.replace("'", "\u2019"), turn.asked) is completeness(turn.text, turn.asked)


def test_own_words_replace_those_of_the_file() -> None:
    german = turn_words({"hanging": "und, der, die, das", "backchannels": ["genau", "ach so"], "stops": "halt"})
    assert completeness("Die Heizung und", words=german) is INCOMPLETE
    assert completeness("Die Heizung und") is not INCOMPLETE
    assert is_backchannel("Ach so, genau.", german)
    assert interrupts_at_once("Halt!", german)
    assert german.yes is BRITISH.yes
    swiss = turn_words({"postcode_shapes": "9999", "letters": {"A": "anton"}}, german)
    assert swiss.letters == {"anton": "A"}
    assert swiss.hanging is german.hanging


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"hangin": "und"}, "there is no hangin"),
        ({"hanging": 3}, "hanging is text parted by commas"),
        ({"hanging": ["und", 3]}, "hanging is text parted by commas"),
        ({"digits": "one"}, "digits is a table"),
        ({"digits": {"one": "I"}}, "digits.one is digits"),
        ({"multipliers": {"double": 20}}, "multipliers.double is 2 to 9"),
        ({"phone_lengths": {"07": [11, 10]}}, "phone_lengths.07 is"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(own: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        turn_words(own)
