"""The judge of the chaos trials, on recordings that are made: each fault that it is there for is planted once."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from agent.ops.recording import Tracks, interleave, read_tracks
from agent.sandbox.caller.speak import NOISE_RMS
from agent.speech_engines.tones import ToneVoice
from tests.chaos import judge

RATE = 8000
HELLO, MINE, REPLY = "Hello, Thames Plumbing.", "My tap is leaking.", "Oh dear, what name shall I put it under?"


class Tape:
    """A recording in the making: what is said goes on behind what was said before, by either side."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, bytes]] = []

    def say(self, who: str, text: str, *, pause_s: float = 0.5) -> Tape:
        self._parts.append((who, ToneVoice().speak(text, RATE).samples.astype("<i2").tobytes()))
        return self.pause(pause_s)

    def pause(self, seconds: float) -> Tape:
        self._parts.append(("", bytes(2 * round(seconds * RATE))))
        return self

    def click(self, seconds: float) -> Tape:
        self._parts.append(("agent", (np.ones(round(seconds * RATE)) * 5000).astype("<i2").tobytes()))
        return self

    def tracks(self) -> Tracks:
        sides = {
            who: b"".join(pcm if who == by else bytes(len(pcm)) for by, pcm in self._parts)
            for who in ("caller", "agent")
        }
        noise = np.rint(np.random.default_rng(1).normal(0.0, NOISE_RMS, len(sides["caller"]) // 2)).astype("<i2")
        caller = (np.frombuffer(sides["caller"], "<i2") + noise).astype("<i2").tobytes()
        return Tracks(RATE, caller, sides["agent"])


def good() -> Tape:
    return Tape().pause(0.3).say("agent", HELLO).say("caller", MINE, pause_s=1.5).say("agent", REPLY)


def heard(tape: Tape, asides: tuple[str, ...] = ()) -> judge.Hearing:
    tracks = tape.tracks()
    return judge.misheard(judge.words_of(tracks.agent, RATE), [[HELLO], [REPLY]], asides)


def test_a_good_call_is_good() -> None:
    assert judge.too_silent(good().tracks(), "agent") == []
    assert heard(good()) == judge.Hearing(())


@pytest.mark.parametrize(
    ("tape", "says"),
    [
        (Tape().pause(2.5).say("agent", HELLO), "from the beginning of the call until the agent spoke"),
        (good().say("caller", MINE, pause_s=2.5).say("agent", REPLY), "from the caller's last sound"),
        (Tape().say("agent", "Oh dear, what name", pause_s=2.5).say("agent", "shall I"), "from the agent's last sound"),
        (Tape().say("agent", "Bear with me.", pause_s=2.5).say("agent", REPLY), "until the agent spoke"),
        (Tape().say("agent", HELLO, pause_s=2.5).say("caller", MINE), "until the caller spoke again"),
        (Tape().say("agent", HELLO).say("caller", MINE, pause_s=2.5), "until the call ended"),
        (Tape().say("agent", HELLO, pause_s=2.5), "until the call ended"),
    ],
)  # fmt: skip
def test_two_and_a_half_seconds_of_silence_are_found(tape: Tape, says: str) -> None:
    (wrong,) = judge.too_silent(tape.tracks(), "agent")
    assert float(wrong.split()[0]) == pytest.approx(2.5, abs=0.03)
    assert says in wrong


def test_a_silence_has_its_place_and_a_picture() -> None:
    tape = Tape().say("agent", HELLO).say("caller", MINE, pause_s=2.5).say("agent", REPLY)
    (silence,) = [silence for silence in judge.silences(tape.tracks()) if silence.seconds > 2]
    said = [len(ToneVoice().speak(text, RATE).samples) / RATE for text in (HELLO, MINE)]
    assert silence.start_s == pytest.approx(said[0] + 0.5 + said[1], abs=0.03)
    _, caller, agent = judge.too_silent(tape.tracks(), "agent")[0].splitlines()
    assert "#." in caller
    assert ".#" in agent


def test_the_limit_is_where_it_is_said_to_be() -> None:
    def tape(pause_s: float) -> Tracks:
        return Tape().say("agent", HELLO).say("caller", MINE, pause_s=pause_s).say("agent", REPLY).tracks()

    assert not judge.too_silent(tape(1.96), "agent")
    assert judge.too_silent(tape(2.06), "agent")


def test_an_unfinished_phrase_counts_from_its_true_end() -> None:
    """Each pause of the caller's is a silence of its own: two of 1.5 s are no three seconds."""
    tape = Tape().say("agent", HELLO).say("caller", "My postcode is", pause_s=1.5).say("caller", "SW1A", pause_s=1.5)
    assert not judge.too_silent(tape.say("agent", REPLY).tracks(), "agent")


def test_a_click_is_no_answer() -> None:
    tape = Tape().say("agent", HELLO).say("caller", MINE, pause_s=1.2).click(0.04).pause(1.2).say("agent", REPLY)
    assert judge.too_silent(tape.tracks(), "agent")


def test_who_hangs_up_behind_the_last_word_may_take_their_time() -> None:
    tape = good().pause(3.0)
    assert not judge.too_silent(tape.tracks(), "caller")
    assert judge.too_silent(tape.tracks(), "agent")
    waiting = Tape().say("agent", HELLO).say("caller", MINE, pause_s=3.0)
    assert judge.too_silent(waiting.tracks(), "caller"), "the agent owed an answer"


def again(text: str) -> Tape:
    return Tape().say("agent", HELLO).say("agent", text)


def test_a_repeated_word_is_found() -> None:
    (wrong,) = heard(again("Oh dear, what name name shall I put it under?")).wrong
    assert wrong.startswith("'name' was heard twice at ")


def test_a_skipped_word_is_found() -> None:
    (wrong,) = heard(again("Oh dear, what name I put it under?")).wrong
    assert wrong.startswith("'shall' was not heard at ")


def test_another_word_is_found() -> None:
    (wrong,) = heard(again("Oh dear, what game shall I put it under?")).wrong
    assert wrong.startswith("'name' was to be heard and 'game' was at ")


def test_a_reply_that_is_heard_twice_is_found() -> None:
    assert "heard twice" in heard(good().say("agent", REPLY)).wrong[0]
    assert "was not heard" in heard(Tape().say("agent", HELLO)).wrong[0]


def test_a_word_that_was_cut_off_and_said_again_is_no_fault_but_told() -> None:
    found = heard(again("Oh dear, what name sha shall I put it under?"))
    assert found.wrong == ()
    assert found.cut[0].startswith("sha- at ")


def test_asides_may_come_in_anywhere() -> None:
    tape = Tape().say("agent", HELLO).say("agent", "Bear with me.").say("agent", REPLY)
    assert heard(tape).wrong
    assert heard(tape, ("Bear with me.",)).wrong == ()


def test_one_of_the_texts_that_a_reply_may_have_is_enough() -> None:
    words = judge.words_of(Tape().say("agent", "That is kept.").tracks().agent, RATE)
    assert judge.misheard(words, [["That is booked.", "That is kept."]]) == judge.Hearing(())


def test_bookings_are_there_once() -> None:
    assert judge.bookings_wrong({"Ann": True, "Ben": True, "Cat": False}, ["Ben", "Ann"]) == []
    assert judge.bookings_wrong({"Ann": True}, [], waiting=["Ann"]) == []
    assert judge.bookings_wrong({"Ann": True}, ["Ann", "Ann"]) == ["the booking of Ann is in the office 2 times"]
    assert judge.bookings_wrong({"Ann": True}, ["Ben"]) == [
        "the booking of Ann is lost",
        "the office has a booking of Ben, who made none",
    ]


def test_the_judge_reads_the_file(tmp_path: Path) -> None:
    tracks = good().tracks()
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(interleave(tracks.caller, tracks.agent))
    assert read_tracks(path) == tracks
