"""The instrument of the latency benchmark: what it says callers waited is what they waited."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from agent.call.record import CallRecord, TurnRecord, TurnTimes
from agent.sandbox.caller.listen import LOUD_RMS, rms
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from benchmarks.latency import corpus
from benchmarks.latency.__main__ import judge
from benchmarks.latency.callers import Caller, Heard
from benchmarks.latency.corpus import FRAME, GOODBYE, Turn

LOUD = (b"\x00\x20" + b"\x00\xe0") * 80
SILENCE = bytes(320)


def test_the_corpus_is_what_the_documentation_says() -> None:
    turns = [turn for call in corpus.calls() for turn in call]
    assert len(corpus.calls()) == 20
    assert len(turns) == 120
    assert sum(any(ms > 200 for ms in turn.pauses_ms) for turn in turns) == 36
    pauses = sorted(ms for turn in turns for ms in turn.pauses_ms)
    assert len(pauses) == 51
    assert pauses[len(pauses) // 2] == 400
    assert sum(150 <= ms <= 1000 for ms in pauses) == 47
    assert all(len(turn.parts) == len(turn.pauses_ms) + 1 for turn in turns)
    assert all(part for turn in turns for part in turn.parts)
    assert turns[3].text == "It's M14. {300} 6BT."


def test_pauses_are_drawn_anew_from_the_same_distribution() -> None:
    def lengths(calls: tuple[tuple[Turn, ...], ...]) -> list[int]:
        return [ms for call in calls for turn in call for ms in turn.pauses_ms]

    assert corpus.redrawn(1) == corpus.calls()
    assert lengths(corpus.redrawn(2)) != lengths(corpus.calls())
    assert sorted(lengths(corpus.redrawn(2))) == sorted(lengths(corpus.calls()))


def test_a_turn_sounds_as_it_is_written_and_ends_with_a_frame() -> None:
    turn = Turn("", "postcode-pause", ("It's M14.", "6BT."), (300,), "")
    sound = turn.sound(ToneVoice())
    assert len(sound) % FRAME == 0
    assert rms(sound[-FRAME // 4 :].astype("<i2").tobytes()) > LOUD_RMS
    assert [word.text for word in ToneRecogniser().transcribe(sound)] == ["It's", "M14.", "6BT."]
    longer = replace(turn, pauses_ms=(500,)).sound(ToneVoice())
    assert abs(len(longer) - len(sound) - 1600) < FRAME


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_each_turn_is_answered_by_what_is_asked_next(share: float) -> None:
    """Also when the LLM is asked too early, with half of the words, and then again."""
    right = total = 0
    for call in corpus.calls():
        messages = [{"role": "system", "content": "Be brief"}, {"role": "assistant", "content": "Hello, good morning."}]
        for turn in call:
            words = " ".join(turn.parts).split()
            heard = " ".join(words[: max(1, round(share * len(words)))])
            messages.append({"role": "user", "content": heard})
            right += corpus.answer(messages).text == turn.follows
            total += 1
            messages.append({"role": "assistant", "content": turn.follows})
    assert right >= (1.0 if share == 1.0 else 0.9) * total
    assert corpus.calls()[0][-1].follows == GOODBYE


async def one_call(turn: Turn, frames_after: int, loud: int = 5) -> Heard:
    """A call to an agent that greets, and speaks so many frames after the last loud one of each stretch of speech."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(19)
        since, greeting, left, heard_any = 0, 5, 0, False
        try:
            while True:
                frame = (await reader.readexactly(323))[3:]
                if rms(frame) > LOUD_RMS:
                    since, heard_any = 0, True
                elif heard_any:
                    since += 1
                    if since == frames_after:
                        left, heard_any = loud, False
                speaks = greeting > 0 or left > 0
                greeting, left = max(0, greeting - 1), max(0, left - 1)
                writer.write(b"\x10\x01\x40" + (LOUD if speaks else SILENCE))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        (heard,) = await Caller([turn], ToneVoice()).run(server.sockets[0].getsockname()[1])
    return heard


async def test_a_wait_counts_from_the_true_end_to_the_first_sound() -> None:
    turn = Turn("", "sentence", ("Hi.",), (), "")
    heard = await one_call(turn, frames_after=15)
    assert heard.latency_ms is not None
    # The frame that answers is written when the 15th frame behind the last loud one has come: 300 ms later.
    assert 299 <= heard.latency_ms <= 310 + heard.late_ms
    assert heard.ended_ms - heard.began_ms == pytest.approx(20 * len(turn.sound(ToneVoice())) / FRAME, abs=21)
    assert not heard.early


async def test_an_answer_in_a_pause_is_early_and_one_behind_it_is_not() -> None:
    turn = Turn("", "two-sentences", ("No.", "Yes."), (400,), "")
    early = await one_call(turn, frames_after=10)
    assert early.early
    assert early.latency_ms is None
    assert early.answered_ms is not None
    assert early.answered_ms < early.ended_ms
    patient = await one_call(turn, frames_after=25)
    assert not patient.early
    assert patient.latency_ms is not None
    assert 499 <= patient.latency_ms <= 510 + patient.late_ms


def test_what_a_cell_comes_to() -> None:
    call = str(uuid.uuid4())
    good = [Heard(call, n, "sentence", "x", 0, 1000 * n, 1000 * n + 300 + n, False, 2.0) for n in range(1, 98)]
    early = Heard(call, 0, "phone", "07700. {1130} 900.", 0, 5000, 4000, True, 2.0)
    late = Heard(call, 0, "sentence", "x", 0, 5000, 9000, False, 25.0)
    silent = Heard(call, 0, "sentence", "x", 0, 5000, None, False, 2.0)
    times = TurnTimes(speech_end=1, final_transcript=1100, turn_end=1200, first_audio=1250, first_frame=1290)
    record = CallRecord(call, turns=[TurnRecord("x", 0, times=times)])
    cell = judge([*good, early, silent, late], [], [record])
    assert cell["valid"]
    assert (cell["turns"], cell["void_turns"], cell["early"], cell["unanswered"]) == (100, 1, 1, 1)
    assert cell["early_share"] == pytest.approx(1 / 99, abs=1e-4)
    assert cell["early_by_kind"] == {"phone": 1}
    assert cell["wait_ms"] == [349, 388, 397]
    assert cell["stages_ms"]["endpoint"] == [200, 200, 200], "from the caller's end of speech, not the agent's"
    hasty = replace(record, turns=[TurnRecord("x", 0, times=replace(times, turn_end=990))])
    assert judge([*good], [], [hasty])["early"] == 1, "decided before the end, though its sound came behind"
    good[0].early = False
    assert not judge([*good, *[late] * 6], [], [])["valid"]
    assert not judge(good, ["a call failed"], [])["valid"]
    over = replace(early, answered_ms=20.0, overlap=True)
    assert (judge([*good, over], [], [])["early"], judge([*good, over], [], [])["void_turns"]) == (0, 1)
    assert not judge([], [], [])["valid"]
