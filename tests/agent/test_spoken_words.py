"""When words were spoken: in the record as in the recording, whatever was held, cut off or told by nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.call.record import CallRecord, Word
from agent.call.seam import TimedWord
from agent.call.spoken_words import CallerWords, align, placed, spread
from agent.ops.recording import read_tracks
from agent.providers.base import EndOfTurn, HeardWord, Transcript
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from fastaudio.placement import Placement

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker


def timed(text: str, *, start_ms: int = 0, each_ms: int = 100) -> tuple[HeardWord, ...]:
    words = text.split()
    return tuple(
        HeardWord(word, start_ms + each_ms * at, start_ms + each_ms * (at + 1)) for at, word in enumerate(words)
    )


# ---- whole calls, in tones: what the recording says is beyond doubt -------------------------------------------------


@pytest.fixture
def voice() -> ToneVoice:
    return ToneVoice()


def agrees(record: CallRecord, who: str, within_ms: int) -> int:
    """Compare the record's words of one side with what is heard in the recording; returns how many there are."""
    tracks = read_tracks(Path(record.recording))
    samples = np.frombuffer(tracks.caller if who == "caller" else tracks.agent, "<i2")
    heard = list(ToneRecogniser().transcribe(samples))
    words = [word for turn in record.turns for word in turn.words if word.who == who]
    within_ms += 20 * record.media["skipped"]  # where the host stood still nothing tells which words were late
    left = heard[:]
    for word in words:
        found = next((one for one in left if one.text == word.text), None)
        if found is None:
            assert word is words[-1] or word.text != heard[-1].text, f"{word} is not in the recording"
            continue  # cut off in its middle
        del left[: left.index(found) + 1]
        assert abs(1000 * found.start - word.start_ms) <= within_ms, (word, found)
        assert abs(1000 * found.end - word.end_ms) <= within_ms + 100, (word, found)
    return len(words)


async def test_words_stand_where_the_recording_has_them(rig: Rig) -> None:
    result, record = await rig.call("say: My tap leaks\ninterrupt 900ms: how much is that in all\nhangup")
    assert result.failure == ""
    greeting, cut, last = record.turns
    assert " ".join(word.text for word in greeting.words) == greeting.heard == greeting.agent
    assert cut.interrupted
    assert " ".join(word.text for word in cut.words if word.who == "agent") == cut.heard
    flushed = next(mark.at_ms for mark in record.marks if mark.what == "flush")
    assert max(word.end_ms for word in cut.words) <= flushed + 40
    assert [word.text for word in last.words if word.who == "caller"] == last.caller.split()
    assert agrees(record, "agent", 60) > 10
    assert agrees(record, "caller", 60) == 9
    for turn in record.turns:
        starts = [word.start_ms for word in turn.words]
        assert starts == sorted(starts)
        assert all(word.end_ms >= word.start_ms for word in turn.words)


async def test_a_hold_moves_the_words_behind_it(rig: Rig) -> None:
    result, record = await rig.call("say: My tap leaks\ninterrupt 900ms: yeah\nhangup", rig.plan(quiet_s=0.8))
    assert result.failure == ""
    marks = [mark.what for mark in record.marks]
    assert "resume" in marks
    assert "flush" not in marks
    quote = record.turns[1]
    held, resumed = (next(mark.at_ms for mark in record.marks if mark.what == what) for what in ("hold", "resume"))
    assert resumed - held > 100, "nothing was held for long enough to tell"
    spoken = [word for word in quote.words if word.who == "agent"]
    assert " ".join(word.text for word in spoken) == quote.agent
    assert agrees(record, "agent", 140) > 15  # a resume goes back by up to 120 ms
    assert not [word for word in quote.words if word.text == "yeah"], "a backchannel is no turn"


async def test_words_without_times_are_estimated_where_they_were_heard(
    a_rig: RigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flux need not time its words: what was new in each update was said shortly before."""
    monkeypatch.setattr("agent.providers.deepgram.DeepgramStream._heard_words", lambda self, words: ())
    async with a_rig(deepgram_model="flux-general-en") as rig:
        result, record = await rig.call("say: My tap leaks and the sink is overflowing\nwait: 300ms\nhangup")
        assert result.failure == ""
        assert agrees(record, "caller", 500) == 8


# ---- finding words -------------------------------------------------------------------------------------------------


def test_a_text_has_the_times_of_its_words() -> None:
    assert align("My tap leaks.".split(), timed("my tap leaks")) == [
        ("My", 0, 100), ("tap", 100, 200), ("leaks.", 200, 300)
    ]  # fmt: skip
    assert align(["hello"], ()) == []


def test_a_word_that_is_there_twice_is_the_later_one() -> None:
    assert align(["yes"], timed("yes no yes")) == [("yes", 200, 300)]


def test_what_nobody_timed_lies_between_what_is() -> None:
    words = align("it costs £65.50 today".split(), timed("it costs") + timed("today", start_ms=900))
    assert [word.text for word in words] == ["it", "costs", "£65.50", "today"]
    assert words[1].end_ms <= words[2].start_ms < words[2].end_ms <= words[3].start_ms == 900
    (other,) = align(["65"], timed("sixty five", start_ms=50))
    assert (other.start_ms, other.end_ms) == (50, 250), "what stands in its place is its time"
    first, second = align("oh dear".split(), timed("dear", start_ms=400))
    assert first.end_ms == 400 == second.start_ms
    *_, last = align("yes 1234".split(), timed("yes"))
    assert last.start_ms == 100 < last.end_ms


def test_an_estimate_goes_by_length() -> None:
    words = spread(["a", "plumber"], 1000, 2000)
    assert [word.start_ms for word in words] == [1000, 1200]
    assert words[-1].end_ms == 2000
    assert spread([], 0, 100) == []


def test_of_the_agents_words_those_count_that_were_heard() -> None:
    words = [TimedWord("we", 0, 100), TimedWord("can", 100), TimedWord("be", 250, 400), TimedWord("be", 400, 700)]
    found = placed("we can be".split(), words, 300, lambda ms: ms + 1000)
    assert found == [Word("agent", "we", 1000, 1100), Word("agent", "can", 1100, 1250), Word("agent", "be", 1250, 1300)]
    twice = [TimedWord("no", 0, 100), TimedWord("no", 400, 500)]
    assert [word.start_ms for word in placed(["no"], twice, 300, lambda ms: ms)] == [0]
    assert [word.start_ms for word in placed("bear with".split(), [], 500, lambda ms: ms)] == [0, 250]


def test_words_belong_to_the_turn_that_takes_them() -> None:
    caller = CallerWords()
    caller.heard(Transcript("mm hm", True, True, 0, 200, words=timed("mm hm")))
    caller.heard(Transcript("my tap", True, False, 1000, 1200, words=timed("my tap", start_ms=1000)))
    caller.heard(Transcript("leaks", False, False, 1200, 1500, 1500))
    assert [(word.text, word.start_ms) for word in caller.of_turn("my tap leaks")][:2] == [("my", 1000), ("tap", 1100)]
    assert caller.of_turn("my tap leaks")[-1].end_ms == 1500, "an interim that was taken for final"
    caller.heard(Transcript("leaks", True, True, 1200, 1600, words=timed("leaks", start_ms=1200)))
    assert len(caller.of_turn("my tap leaks")) == 3
    caller.forget()
    assert caller.of_turn("my tap leaks") == []


def test_an_estimate_knows_when_each_word_was_first_heard_of() -> None:
    caller = CallerWords()
    caller.heard(Transcript("my", False, False, 0, 5000, 3000))
    caller.heard(Transcript("my tap", False, False, 0, 5000, 3200))
    caller.heard(Transcript("my tap", False, False, 0, 5000, 3600))
    caller.heard(EndOfTurn("my tap leaks", 0, 5000))
    mine, tap, leaks = caller.of_turn("my tap leaks")
    assert 2700 < mine.start_ms < mine.end_ms == 3000
    assert (tap.start_ms, tap.end_ms) == (3000, 3200)
    assert (leaks.start_ms, leaks.end_ms) == (3200, 5000)


# ---- the time line -------------------------------------------------------------------------------------------------


def test_samples_have_a_place() -> None:
    line = Placement(8000)
    assert line.position_of(0) is None
    line.began(16000)
    assert line.position_of(400) == 16400
    line.held()
    line.seen(800, 60000)  # held: no gap of the voice
    line.resumed(800, 200, 20000)
    assert line.position_of(500) == 16500
    assert line.position_of(600) == 20000
    assert line.position_of(1000) == 20400
    line.seen(1000, 20500)
    assert line.position_of(1000) == 20400, "the lead, or a tick"
    line.seen(1000, 24000)
    assert line.position_of(999) == 20399
    assert line.position_of(1001) == 24001


def test_a_resume_at_the_beginning_is_another_beginning() -> None:
    line = Placement(8000)
    line.began(100)
    line.held()
    line.resumed(50, 960, 1000)
    assert line.position_of(0) == 1000
