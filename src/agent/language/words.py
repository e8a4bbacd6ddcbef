"""What the words alone tell of a turn: whether it sounds finished, whether it only says "go on", or says "stop".

The words may have Deepgram's punctuation and formatting, or none; an interim breaks off anywhere. Nothing here is
learnt: what a phrase is comes from a file (`turn_words.py`), and what an answer should hold from the question
(`asked.py`).
"""

from __future__ import annotations

import enum
import re

from agent.language.asked import (
    Ask,
    Asked,
    Tokens,
    ends,
    holds,
    sentences_of,
    starts,
    tokens_of,
    understand,
    without_end,
    without_start,
)
from agent.language.spelled import Form, Run, last_run, phone_limits, postcode_form
from agent.language.turn_words import BRITISH, TurnWords

BACKCHANNEL_PHRASES = 3
"""As many may follow one another and still only mean "go on"; the same one as often as it likes."""

_TAIL = 250  # characters that are looked at
_SHORT_TEXT = 100  # characters: nobody says "go on" at greater length, and a "stop" comes before
_PAUSE_MARKS = (",", ";", ":", "-", "\N{EN DASH}", "\N{EM DASH}", "\N{HORIZONTAL ELLIPSIS}", "...")
_STOP_MARKS = (".", "!")
_SENTENCE_WORDS = 3  # with a verb among them they are a sentence
_CLAUSE_WORDS = 6  # or fewer, behind a "when" or an "if", are not the main clause yet
_SHORT_ANSWER_WORDS = 4
_ECHO_WORDS = 6  # "I've tried that", "she is, yes": a longer one says more than was asked
_SHORT_NUMBER = 4  # digits: the number of a house; more are not
_HOUSE = re.compile(r"\d{1,4}[A-Z]?")


class Completeness(enum.Enum):
    """How complete a turn sounds: how long the caller's silence must be before it is answered."""

    BARE = "bare"
    """A "yes", a name, a number that was asked for: there is nothing to add."""
    COMPLETE = "complete"
    """A whole answer to what was asked, or a question."""
    STATEMENT = "statement"
    """A whole sentence that something else was not asked for: another may follow."""
    UNSURE = "unsure"
    """It could be over."""
    INCOMPLETE = "incomplete"
    """It breaks off in mid-phrase."""


_BARE, _COMPLETE, _STATEMENT, _UNSURE, _INCOMPLETE = Completeness


def completeness(text: str, asked: str = "", words: TurnWords = BRITISH) -> Completeness:
    """How complete `text` sounds as an answer to what the agent `asked` last; `words` are the language's."""
    text = text.strip()[-_TAIL:]
    spoken = tokens_of(text)
    if not spoken or spoken[-1] in words.hesitations:
        return _INCOMPLETE
    want = understand(asked[-_TAIL:], words)
    tokens = [one for one in spoken if one not in words.hesitations]
    spelled = _of_spelled(without_end(tokens, words.asides), want, words)
    if spelled is not None:
        return spelled
    if text.endswith("?"):  # an STT puts it behind what is cut short, too
        return _UNSURE if _hangs(tokens, words) else _COMPLETE
    if text.endswith(_PAUSE_MARKS):
        # An STT puts a comma also behind a "yes" that is all there is: it is no more than a doubt.
        bare = text.endswith(",") and completeness(text.rstrip(" ,"), asked, words) is _BARE
        return _UNSURE if bare else _INCOMPLETE
    last = [one for one in tokens_of(_last_sentence(text, words)) if one not in words.hesitations]
    judged = _of_sentence(last or tokens, text.endswith(_STOP_MARKS), len(last) < len(tokens), want, words)
    if judged is _STATEMENT and _sentences_before(text, words):
        return _COMPLETE  # a story of two sentences is told
    if judged is None:  # nothing but a greeting or a courtesy
        if not without_end(last, words.courtesies):
            return _COMPLETE
        before = len(last) < len(tokens) and starts(tokens, words.openers) < len(tokens) - len(last)
        return _COMPLETE if before else _UNSURE if want.wants & Ask.YES_NO else _INCOMPLETE
    return judged


def _sentences_before(text: str, words: TurnWords) -> int:
    """How many sentences come before the last one; greetings and the like are none."""
    before = sentences_of(text)[:-1]
    return sum(len(without_start(tokens_of(one), words.openers | words.answers)) >= _SENTENCE_WORDS for one in before)


def _last_sentence(text: str, words: TurnWords) -> str:
    """The last sentence, where the full stop of "Mr. Khan" ends none."""
    *before, last = sentences_of(text)
    while before and tokens_of(before[-1])[-1:] and tokens_of(before[-1])[-1] in words.titles:
        last = f"{before.pop()} {last}"
    return last


def is_backchannel(text: str, words: TurnWords = BRITISH) -> bool:
    """Whether it only says "go on": up to three phrases such as "mm-hm" or "I see", or one again and again."""
    if len(text) > _SHORT_TEXT or text.rstrip().endswith("?"):
        return False
    tokens: Tokens = tokens_of(text)
    said = []
    while tokens:
        count = starts(tokens, words.backchannels)
        if count == 0:
            return False
        said.append(" ".join(tokens[:count]))
        tokens = tokens[count:]
    return 0 < len(said) <= BACKCHANNEL_PHRASES or len(set(said)) == 1


def interrupts_at_once(text: str, words: TurnWords = BRITISH) -> bool:
    """Whether it bids the agent stop, however short it is: "stop", "hang on", "no", or a question ("hello?")."""
    if is_backchannel(text, words):
        return False
    tokens = without_start(tokens_of(text[:_SHORT_TEXT]), words.hesitations)
    if not tokens:
        return False
    if text.rstrip().endswith("?") and not is_backchannel(text.rstrip("? "), words):
        return True
    begun = starts(tokens, words.stops)
    while begun == 0 and (lead := starts(tokens, words.acknowledgements)):
        tokens = tokens[lead:]
        begun = starts(tokens, words.stops)
    return begun > 0


# ---- what is spelled out --------------------------------------------------------------------------------------------


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but case, punctuation and spaces, as an interim and its final may."""
    return re.findall(r"\w+", one.lower()) == re.findall(r"\w+", other.lower())


def _of_spelled(tokens: Tokens, want: Asked, words: TurnWords) -> Completeness | None:
    """Judge what ends in letters or digits that were asked for, or look like it; None for all else."""
    lead = tokens[:-1]
    announced = ends(lead, words.introductions) or not without_start(lead, words.leads)
    run = last_run(tokens, words, code=bool(want.wants & Ask.POSTCODE and announced))
    if run is None:
        return None
    before = tokens[: run.start]
    alone = not without_start(before, words.leads)
    code = bool(want.wants & Ask.POSTCODE) or holds(before, words.asks_postcode)
    if _HOUSE.fullmatch(run.characters) and alone and want.wants & Ask.HOUSE_NUMBER and not want.wants & Ask.ADDRESS:
        return _BARE
    if run.number and not (code and not want.wants & Ask.PHONE):
        return _of_number(run, before, alone, want, words)
    if not run.characters or (run.dangling and (code or alone)):
        return _INCOMPLETE if code or alone else None
    if want.wants & Ask.NAME and not code and run.characters.isalpha():
        return _of_spelled_name(run, before, words)
    return _of_postcode(run, code, alone, want, words)


def _of_postcode(run: Run, code: bool, alone: bool, want: Asked, words: TurnWords) -> Completeness | None:
    form = postcode_form(run.characters, words)
    if form is Form.WHOLE:
        return _BARE if alone else _COMPLETE
    mixed = alone and not run.characters.isalpha() and len(run.characters) > 1
    if not code and not mixed:
        return None
    if form in (Form.FIRST_HALF, Form.SECOND_HALF) and want.wants & Ask.PART:
        return _BARE
    if form in (Form.FIRST_HALF, Form.CUT_SHORT):
        return _INCOMPLETE
    return _UNSURE if code or form is Form.SECOND_HALF else None


def _of_spelled_name(run: Run, before: Tokens, words: TurnWords) -> Completeness | None:
    """A name that is spelled after it was said is whole when all its letters came."""
    if len(run.characters) < 2:
        return None
    name = before[-1].upper() if before else ""
    if name == run.characters:
        return _BARE
    return _INCOMPLETE if name.startswith(run.characters) else _UNSURE


def _of_number(run: Run, before: Tokens, alone: bool, want: Asked, words: TurnWords) -> Completeness | None:
    wants, count = want.wants, len(run.number.lstrip("+"))
    if want.digits:
        return _INCOMPLETE if run.dangling or count < want.digits else _BARE
    announced = holds(before, words.asks_phone) or ends(before[:-1], words.announced) > 0
    long = count >= _SHORT_NUMBER and run.number[0] in "0+"
    if (wants & Ask.PHONE and (alone or count >= _SHORT_NUMBER)) or announced or long:
        least, most = phone_limits(run.number, words.phone_lengths)
        if run.dangling or count < least:
            return _INCOMPLETE
        return _UNSURE if count < most else _BARE
    if run.dangling:
        return _INCOMPLETE
    return _INCOMPLETE if count <= _SHORT_NUMBER and alone and wants & Ask.ADDRESS else None


# ---- what is said ---------------------------------------------------------------------------------------------------


def _of_sentence(tokens: Tokens, stopped: bool, follows: bool, want: Asked, words: TurnWords) -> Completeness | None:
    """Judge a sentence, None when it is a greeting or a courtesy alone.

    `stopped`: it has a full stop; `follows`: another one comes before it, which a few words may add to.
    """
    if " ".join(tokens) in words.whole:
        return _COMPLETE
    core = without_end(tokens, words.courtesies)
    if want.wants & Ask.CHOICE and core and core[-1] in want.tokens - words.hanging:
        return _COMPLETE
    core = without_start(core, words.openers)
    bare = _of_yes_or_no(core or tokens, stopped, want, words)
    if bare is not None:
        return bare
    if not core:
        return None
    polite = len(core) < len(tokens) and core[-1] != tokens[-1]  # what has a "please" behind it does not hang
    if " ".join(core) in words.whole:
        return _COMPLETE
    if not polite and _hangs(core, words):
        return _INCOMPLETE
    short = _of_short_answer(core, want, words)
    if short is not None:
        return short
    whole = _COMPLETE if polite or starts(core, words.asks_for) else _whole(tokens, want, words)
    return _of_clause(without_end(core, words.tags) or core, whole, stopped or polite, follows, words)


def _of_clause(core: Tokens, whole: Completeness, stopped: bool, follows: bool, words: TurnWords) -> Completeness:
    """Judge a clause that does not hang, by whether it holds what a sentence does: `whole` when it is one."""
    verbal = any(_is_verb(one, words) for one in core)
    closed = stopped and core[-1] in words.closers
    if core[-1] in words.particles and not closed and not _moves(core, words):
        return _UNSURE
    if starts(core, words.subordinators) and len(core) <= _CLAUSE_WORDS:
        return _UNSURE
    if core[-1] in words.auxiliaries and core[-1].endswith(words.negations):
        return _UNSURE  # "the thermostat doesn't"
    if stopped and (verbal or follows or len(core) > _SENTENCE_WORDS):
        return whole
    if len(core) == 2:
        return _COMPLETE if "'" in core[0] and _is_verb(core[1], words) else _UNSURE
    return whole if verbal and len(core) >= _SENTENCE_WORDS else _UNSURE


def _moves(core: Tokens, words: TurnWords) -> bool:
    """Whether the particle at its end belongs to a verb: "turn it off", "it's off"."""
    verb = core[-2] if len(core) > 1 else ""
    moved = len(core) >= _SENTENCE_WORDS and any(one in words.moves for one in core[-4:-1])
    return moved or verb in words.auxiliaries or "'" in verb


def _whole(tokens: Tokens, want: Asked, words: TurnWords) -> Completeness:
    """A sentence: an answer or a question, or the first of some where it is neither, or a story was asked for."""
    if len(tokens) > 1 and tokens[-2] in words.dwellings and tokens[-1].isdigit():
        return _UNSURE  # "flat 6": of which street?
    if want.wants & Ask.ALL:
        return _UNSURE
    if _is_question(without_start(tokens, words.beginnings), words):
        return _COMPLETE
    rest = without_start(tokens, words.answers)
    subject = rest[0].partition("'")[0] if rest else ""
    echoes = subject in words.subjects and (subject != rest[0] or (len(rest) > 1 and rest[1] in words.auxiliaries))
    answers = not rest or (echoes and len(rest) <= _ECHO_WORDS)
    if want.wants & Ask.STORY or not want.tokens or (want.wants & Ask.YES_NO and not answers):
        return _STATEMENT
    return _COMPLETE


def _is_question(plain: Tokens, words: TurnWords) -> bool:
    """Whether it begins as a question does: "can you", "how much do", but not "what I want"."""
    if len(plain) < 2:
        return False
    if plain[0] in words.question_words:
        return plain[1] not in words.subjects and any("'" in one or one in words.auxiliaries for one in plain[:4])
    return plain[0] in words.auxiliaries


def _is_verb(word: str, words: TurnWords) -> bool:
    """Whether it may be one, alone or with a pronoun: "leaks", "leaking", "it's"."""
    return word in words.verbs or word in words.moves or "'" in word or word.endswith(words.verb_endings)


def _of_yes_or_no(core: Tokens, stopped: bool, want: Asked, words: TurnWords) -> Completeness | None:
    """Judge what is made of a yes or a no, with "it is" behind it or without."""
    agrees = refuses = False
    rest = core
    while count := starts(rest, words.answers):
        phrase = " ".join(rest[:count])
        agrees |= phrase in words.yes
        refuses |= phrase in words.no
        rest = rest[count:]
    asked = want.wants & (Ask.YES_NO | Ask.CHOICE)
    if rest:
        echo = len(rest) == 2 and rest[0] in words.subjects and rest[1] in words.auxiliaries
        if not echo or not (asked or ((agrees or refuses) and stopped)):
            return None
        return _BARE if agrees or refuses or stopped else _UNSURE
    if want.wants & Ask.MORE:
        return _BARE if refuses else _INCOMPLETE
    if want.wants & Ask.CHOICE:
        return _UNSURE
    if want.wants & Ask.OPEN:
        return _UNSURE if refuses else _INCOMPLETE
    return _BARE


def _hangs(core: Tokens, words: TurnWords) -> bool:
    """Whether it breaks off: what it ends with wants more."""
    last, before = core[-1], core[-2] if len(core) > 1 else ""
    plain = without_start(core, words.beginnings)
    asks = bool(plain) and plain[0] in words.question_words
    count = ends(core, words.hanging)
    if (whole := ends(core, words.endings)) and whole >= count:
        return False
    if count:
        embedded = last in words.auxiliaries and any(one in words.embedders for one in plain[1:-2])
        return not embedded and not (asks and len(plain) > count + 1 and _ends_a_question(last, before, count, words))
    if last.endswith(words.hanging_endings) or (len(plain) == 1 and last in words.particles):
        return True
    if last in words.subjects and starts(plain, words.subordinators):
        return True
    if last in words.subjects and before in words.auxiliaries and not asks:
        return not before.endswith(words.negations)  # "could it", but not "isn't it"
    if last in words.auxiliaries and before in words.subjects:
        return not asks
    if ends(core, words.announced):
        return not any(_is_verb(one, words) for one in core)
    return bool(plain) and len(core) <= _SENTENCE_WORDS and ends(core, words.tags) == len(plain)


def _ends_a_question(last: str, before: str, count: int, words: TurnWords) -> bool:
    """Whether a question with a "what" may end in the `count` words that would hang elsewhere: "what time is it"."""
    if last in words.determiners:
        return False
    return count > 1 or (before in words.subjects and last in words.auxiliaries) or last in words.strands


def _of_short_answer(core: Tokens, want: Asked, words: TurnWords) -> Completeness | None:
    """Judge a few words by what was asked for; None where that does not tell."""
    wants = want.wants
    plain = without_start(core, words.beginnings)
    if wants & Ask.NAME:
        name = without_start(plain, words.introductions)
        if len(name) == 1:
            return _BARE if wants & Ask.ONE_NAME and not wants & Ask.FULL_NAME else _UNSURE
        named = without_start(name, words.titles)
        if len(name) > 1 and len(named) <= 2 and not any(_is_verb(one, words) or one in words.hanging for one in named):
            return _BARE
    if wants & Ask.ADDRESS and any(one in words.streets for one in core[-3:]):
        return _UNSURE if wants & (Ask.POSTCODE | Ask.ALL) or len(plain) == 1 else _COMPLETE
    if wants & Ask.ADDRESS and starts(core, words.names_house):
        return _UNSURE  # its street is still to come
    if wants & Ask.TIME and len(plain) <= _SHORT_ANSWER_WORDS:
        return _COMPLETE
    return None
