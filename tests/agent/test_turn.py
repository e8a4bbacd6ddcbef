"""The turn machine in virtual time: every transition, every deadline, and that no order of events leaves it stuck."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.call import turn as turns
from agent.call.turn import (
    AskIfThere,
    Finalize,
    GiveUp,
    Interrupt,
    Listen,
    Respond,
    Resume,
    State,
    StopListening,
    Turn,
    Withdraw,
)
from agent.call.words import Completeness, completeness, is_backchannel
from agent.providers.base import Transcript


def heard(text: str, *, final: bool = True, ended: bool = True, end_ms: int = 10**6) -> Transcript:
    return Transcript(text, final, final and ended, 0, end_ms)


def interim(text: str, end_ms: int = 10**6) -> Transcript:
    return heard(text, final=False, end_ms=end_ms)


@pytest.fixture
def turn() -> Turn:
    """Listening since 0 ms, the greeting having been heard."""
    machine = Turn(-3000)
    machine.agent_speaks(-2900)
    assert machine.agent_finished(0) == [Listen(0)]
    assert machine.state is State.LISTENING
    return machine


def thinking(machine: Turn, text: str = "My tap is leaking.", at: float = 1000) -> Turn:
    machine.caller_speaks(at - 800)
    machine.caller_quiet(at - 300)
    assert machine.transcript(heard(text, end_ms=int(at - 300)), at) == [Respond(text)]
    assert machine.state is State.THINKING
    return machine


def speaking(machine: Turn, at: float = 1500) -> Turn:
    thinking(machine)
    assert machine.agent_speaks(at) == [Finalize(), StopListening()]
    assert machine.state is State.SPEAKING
    return machine


def run_to(machine: Turn, at: float) -> list[tuple[float, turns.Action]]:
    """Let time pass until `at` as the session does: a tick at each deadline."""
    done: list[tuple[float, turns.Action]] = []
    while machine.deadline_ms is not None and machine.deadline_ms <= at:
        now = machine.deadline_ms
        actions = machine.tick(now)
        done += [(now, action) for action in actions]
        assert actions or machine.deadline_ms is None or machine.deadline_ms > now, "a tick that moves nothing"
    return done


# ---- the caller's turn ----------------------------------------------------------------------------------------------


def test_the_greeting_comes_first_and_then_the_caller_is_heard() -> None:
    machine = Turn(0)
    assert machine.state.value == "speaking"
    assert machine.deadline_ms is None
    assert machine.agent_finished(2000) == [Listen(0)]
    assert machine.state is State.LISTENING


def test_a_caller_who_speaks_into_the_end_of_the_greeting_is_heard_from_before() -> None:
    machine = Turn(0)
    machine.caller_speaks(1900)
    assert machine.agent_finished(2000) == [Listen(turns.PREROLL_MS)]


def test_speech_final_ends_a_whole_turn(turn: Turn) -> None:
    assert turn.transcript(interim("my tap"), 500) == []
    assert turn.words == "my tap"
    assert turn.transcript(heard("My tap is leaking.", ended=False), 900) == []
    assert turn.transcript(heard("Can you come?"), 1400) == [Respond("My tap is leaking. Can you come?")]
    assert (turn.state, turn.words) == (State.THINKING, "")
    assert turn.deadline_ms is None


def test_an_empty_final_ends_nothing_that_was_not_said(turn: Turn) -> None:
    assert turn.transcript(heard(""), 500) == []
    assert turn.state is State.LISTENING


def test_utterance_end_is_the_safety_net(turn: Turn) -> None:
    assert turn.utterance_end(400) == []
    turn.transcript(heard("It's leaking", ended=False), 500)
    assert turn.utterance_end(1500) == [Respond("It's leaking")]
    assert turn.utterance_end(1600) == []


@pytest.mark.parametrize("text", ["My tap, um", "Hello.", "Hi, well", "It's at", "The number is", "Twelve,", "so…", ""])
def test_what_sounds_unfinished(text: str) -> None:
    assert completeness(text) is Completeness.INCOMPLETE


@pytest.mark.parametrize("text", ["My tap is leaking.", "Yes.", "No", "Twelve Baker Street", "Where are you from?"])
def test_what_sounds_finished(text: str) -> None:
    assert completeness(text) is not Completeness.INCOMPLETE


def test_an_unfinished_turn_waits_longer_and_is_joined(turn: Turn) -> None:
    turn.caller_speaks(100)
    turn.caller_quiet(600)
    assert turn.transcript(heard("My tap is, um", end_ms=600), 900) == []
    assert turn.deadline_ms == 600 + turns.UNFINISHED_MS
    turn.caller_speaks(1000)
    assert turn.deadline_ms == 1000 + turns.NOISE_MS
    turn.caller_quiet(1600)
    assert turn.transcript(heard("leaking badly.", end_ms=1600), 1900) == [Respond("My tap is, um leaking badly.")]


def test_an_unfinished_turn_that_stays_unfinished_is_answered(turn: Turn) -> None:
    turn.caller_speaks(100)
    turn.caller_quiet(600)
    turn.transcript(heard("My tap is, um", end_ms=600), 900)
    assert run_to(turn, 5000) == [(600 + turns.UNFINISHED_MS, Respond("My tap is, um"))]


def test_no_final_is_asked_for_and_then_done_without(turn: Turn) -> None:
    turn.caller_speaks(100)
    turn.transcript(interim("my tap is leaking", end_ms=900), 950)
    turn.caller_quiet(1000)
    assert run_to(turn, 10_000) == [
        (1000 + turns.FINALIZE_MS, Finalize()),
        (1000 + turns.FORCE_MS, Respond("my tap is leaking")),
    ]


def test_a_final_that_was_asked_for_is_used(turn: Turn) -> None:
    turn.caller_speaks(100)
    turn.transcript(interim("my tap", end_ms=900), 950)
    turn.caller_quiet(1000)
    assert run_to(turn, 1000 + turns.FINALIZE_MS) == [(1000 + turns.FINALIZE_MS, Finalize())]
    turn.transcript(heard("My tap leaks.", ended=False, end_ms=900), 1950)
    assert run_to(turn, 10_000) == [(1000 + turns.FORCE_MS, Respond("My tap leaks."))]


def test_a_caller_too_soft_for_the_local_detector_is_not_answered_in_the_middle(turn: Turn) -> None:
    """No local voice activity at all: how long it has been quiet is known from the words alone."""
    for at, text in ((3000, "my"), (4000, "my kitchen tap"), (5000, "my kitchen tap is leaking")):
        turn.transcript(interim(text, end_ms=at), at)
        assert run_to(turn, at + 800) == []
    turn.transcript(heard("My kitchen tap is leaking, um", end_ms=5500), 5900)
    assert turn.deadline_ms == 5500 + turns.UNFINISHED_MS
    turn.transcript(heard("badly.", end_ms=6200), 6250)
    assert turn.state is State.THINKING


def test_noise_after_words_does_not_hold_the_call_for_ever(turn: Turn) -> None:
    turn.caller_speaks(100)
    turn.transcript(heard("My tap leaks", ended=False, end_ms=900), 1000)
    assert run_to(turn, 60_000) == [(1000 + turns.NOISE_MS, Respond("My tap leaks"))]


# ---- silence --------------------------------------------------------------------------------------------------------


def test_a_silent_caller_is_asked_twice_and_then_let_go(turn: Turn) -> None:
    at = 0.0
    for _ in range(turns.PROMPTS):
        assert turn.deadline_ms == at + turns.SILENCE_MS
        at = turn.deadline_ms
        assert turn.tick(at) == [AskIfThere()]
        turn.agent_speaks(at + 100)
        assert turn.deadline_ms is None
        at += 1100
        turn.agent_finished(at)
    assert turn.deadline_ms == at + turns.SILENCE_MS
    assert turn.tick(turn.deadline_ms) == [GiveUp()]
    assert turn.state is State.ENDING
    assert turn.deadline_ms is None


def test_a_tick_before_its_deadline_does_nothing(turn: Turn) -> None:
    assert turn.tick(turns.SILENCE_MS - 1) == []
    assert turn.tick(turns.SILENCE_MS) == [AskIfThere()]


def test_words_start_the_count_of_questions_again(turn: Turn) -> None:
    for _ in range(turns.PROMPTS):
        assert turn.deadline_ms is not None
        at = turn.deadline_ms
        turn.tick(at)
        turn.agent_finished(at + 1000)
    turn.transcript(heard("Yes I'm here."), at + 2000)
    turn.agent_speaks(at + 2500)
    turn.agent_finished(at + 4000)
    assert turn.deadline_ms is not None
    assert turn.tick(turn.deadline_ms) == [AskIfThere()]


def test_noise_without_words_is_waited_for_longer(turn: Turn) -> None:
    turn.caller_speaks(500)
    assert run_to(turn, turns.NOISE_MS - 1) == []
    assert run_to(turn, turns.NOISE_MS) == [(turns.NOISE_MS, AskIfThere())]


def test_silence_counts_from_the_last_sound(turn: Turn) -> None:
    turn.caller_speaks(5000)
    turn.caller_quiet(5300)
    assert turn.deadline_ms == 5300 + turns.SILENCE_MS


# ---- thinking -------------------------------------------------------------------------------------------------------


def test_a_caller_who_goes_on_takes_the_reply_back_and_the_words_are_joined(turn: Turn) -> None:
    thinking(turn)
    assert turn.caller_speaks(1200) == [Withdraw()]
    assert (turn.state, turn.words) == (State.LISTENING, "My tap is leaking.")
    turn.transcript(interim("and the sink"), 1600)
    turn.caller_quiet(1700)
    assert turn.transcript(heard("And the sink too."), 2000) == [Respond("My tap is leaking. And the sink too.")]


def test_words_alone_take_the_reply_back_too(turn: Turn) -> None:
    thinking(turn)
    assert turn.transcript(interim("and"), 1200) == [Withdraw()]
    assert turn.transcript(heard("And the sink."), 1700) == [Respond("My tap is leaking. And the sink.")]


def test_a_cough_while_thinking_makes_the_reply_again(turn: Turn) -> None:
    thinking(turn)
    assert turn.caller_speaks(1200) == [Withdraw()]
    turn.caller_quiet(1400)
    assert run_to(turn, 9000) == [(1400 + turns.NOTHING_MS, Respond("My tap is leaking."))]


def test_an_empty_final_takes_nothing_back(turn: Turn) -> None:
    thinking(turn)
    assert turn.transcript(heard(""), 1200) == []
    assert turn.state is State.THINKING


def test_an_answer_without_a_sound_ends_in_listening(turn: Turn) -> None:
    thinking(turn)
    assert turn.agent_finished(2000) == [Listen(0)]
    assert turn.deadline_ms == 2000 + turns.SILENCE_MS


# ---- over the agent -------------------------------------------------------------------------------------------------


def test_words_interrupt_and_are_answered(turn: Turn) -> None:
    speaking(turn)
    assert turn.hold(2000) == [Listen(turns.PREROLL_MS)]
    assert turn.transcript(interim("wait", 2100), 2200) == [], "one word may still become a backchannel"
    assert turn.transcript(interim("wait how much", 2300), 2400) == [Interrupt()]
    assert (turn.state, turn.held, turn.words) == (State.LISTENING, False, "wait how much")
    assert turn.transcript(heard("Wait, how much?", end_ms=2500), 2900) == [Respond("Wait, how much?")]


def test_one_final_word_interrupts_and_is_answered(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    assert turn.transcript(heard("Stop.", end_ms=2200), 2500) == [Interrupt(), Respond("Stop.")]


def test_a_backchannel_resumes_once_it_is_certain(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    assert turn.transcript(interim("yeah", 2200), 2300) == []
    assert turn.transcript(heard("Yeah.", end_ms=2200), 2600) == [Resume()]
    assert turn.resumed(2610) == [Finalize(), StopListening()]
    assert (turn.state, turn.words, turn.held) == (State.SPEAKING, "", False)


def test_a_backchannel_that_is_final_before_the_sound_ends_resumes_when_it_does(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    turn.caller_speaks(2000)
    assert turn.transcript(heard("Yeah.", end_ms=2200), 2250) == [], "it may go on: yeah, but"
    assert turn.caller_quiet(2400) == [Resume()]
    assert (turn.state, turn.words) == (State.SPEAKING, "")


def test_yes_but_interrupts(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    turn.caller_speaks(2000)
    assert turn.transcript(heard("Yes,", ended=False, end_ms=2200), 2250) == []
    assert turn.transcript(heard("but how much is it?", end_ms=3000), 3200) == [
        Interrupt(),
        Respond("Yes, but how much is it?"),
    ]


def test_a_backchannel_that_held_nothing_resumes_nothing(turn: Turn) -> None:
    speaking(turn)
    assert turn.transcript(heard("Mm-hm.", end_ms=2000), 2300) == []
    assert turn.state is State.SPEAKING


def test_the_cores_limit_is_an_interruption(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    turn.transcript(interim("wait", 2100), 2200)
    assert turn.flushed(3600) == [Interrupt()]
    assert (turn.state, turn.words, turn.held) == (State.LISTENING, "wait", False)
    assert [action for _, action in run_to(turn, 20_000)][-1] == Respond("wait")


def test_a_hold_that_the_core_lets_go_goes_on_speaking(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    assert turn.resumed(2200) == [Finalize(), StopListening()]
    assert turn.transcript(heard("Hang on a second.", end_ms=2200), 2700) == [Interrupt(), Respond("Hang on a second.")]


def test_late_words_that_the_answer_covers_are_left_out(turn: Turn) -> None:
    speaking(turn, at=1500)
    assert turn.transcript(heard("right now", end_ms=1500), 1700) == []
    assert (turn.state, turn.words) == (State.SPEAKING, "")
    assert turn.transcript(heard("it is in the kitchen", end_ms=1500), 1800)[0] == Interrupt()


def test_a_hold_or_flush_when_the_agent_is_not_speaking_means_nothing(turn: Turn) -> None:
    assert turn.hold(100) == []
    assert turn.flushed(100) == []
    assert turn.resumed(100) == []
    assert turn.state is State.LISTENING


# ---- ending ---------------------------------------------------------------------------------------------------------


def test_nothing_interrupts_a_goodbye(turn: Turn) -> None:
    speaking(turn)
    assert turn.ending(2000) == []
    for actions in (
        turn.hold(2100),
        turn.caller_speaks(2100),
        turn.transcript(interim("wait wait wait"), 2200),
        turn.transcript(heard("Wait, one more thing."), 2300),
        turn.utterance_end(2400),
        turn.flushed(2500),
        turn.caller_quiet(2600),
        turn.agent_finished(2700),
        turn.tick(99_999),
    ):
        assert actions == []
    assert turn.state is State.ENDING
    assert turn.deadline_ms is None


def test_a_goodbye_that_was_held_goes_on(turn: Turn) -> None:
    speaking(turn)
    turn.hold(2000)
    assert turn.ending(2100) == [Resume()]
    assert turn.ending(2200) == []


def test_a_goodbye_may_begin_in_the_ending() -> None:
    machine = Turn(0)
    machine.ending(10)
    assert machine.agent_speaks(20) == [StopListening()]
    assert machine.state is State.ENDING


@pytest.mark.parametrize("text", ["yeah", "Mm-hm.", "Okay, yeah", "uh huh", "Right!", "Mm"])
def test_backchannels(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize("text", ["", "no", "stop", "yes but", "okay hold on", "..."])
def test_what_is_no_backchannel(text: str) -> None:
    assert not is_backchannel(text)


# ---- any order of events --------------------------------------------------------------------------------------------

EVENTS = (
    "interim", "final", "ended", "backchannel", "empty", "hanging", "utterance_end", "speaks", "quiet",
    "hold", "resumed", "flushed", "agent_speaks", "agent_finished", "ending", "wait", "deadline",
)  # fmt: skip


def feed(machine: Turn, event: str, now: float) -> list[turns.Action]:
    end_ms = int(now)
    match event:
        case "interim":
            return machine.transcript(interim("could you", end_ms), now)
        case "final":
            return machine.transcript(heard("how much is it", ended=False, end_ms=end_ms), now)
        case "ended":
            return machine.transcript(heard("how much is it?", end_ms=end_ms), now)
        case "backchannel":
            return machine.transcript(heard("yeah", end_ms=end_ms), now)
        case "empty":
            return machine.transcript(heard("", end_ms=end_ms), now)
        case "hanging":
            return machine.transcript(heard("it is, um", end_ms=end_ms), now)
        case "speaks":
            return machine.caller_speaks(now)
        case "quiet":
            return machine.caller_quiet(now)
        case "deadline" | "wait":
            return machine.tick(now)
        case _:
            return list(getattr(machine, event)(now))


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 4000)), max_size=40))
def test_no_order_of_events_leaves_a_call_without_a_way_on(events: list[tuple[str, int]]) -> None:
    machine, now, ending = Turn(0), 0.0, False
    for event, pause in events:
        now += pause
        if event == "deadline" and machine.deadline_ms is not None:
            now = max(now, machine.deadline_ms)
        before = machine.state
        actions = feed(machine, event, now)
        ending = ending or event == "ending" or GiveUp() in actions
        assert (machine.state is State.ENDING) == ending, "an ending is never left"
        if before is State.ENDING:
            allowed = [StopListening()] if event == "agent_speaks" else [Resume()] if event == "ending" else []
            assert actions in ([], allowed)
        if machine.state is State.LISTENING:
            assert machine.deadline_ms is not None, f"stuck after {event}"
        else:
            assert machine.deadline_ms is None
        if machine.state is State.THINKING and before is not State.THINKING:
            assert any(isinstance(action, Respond) and action.text for action in actions), "thinking about nothing"
    # Left alone, a listening machine asks, answers or gives up; it never ticks for ever without doing something.
    for _ in range(2 * turns.PROMPTS + 4):
        if machine.state is not State.LISTENING:
            break
        assert machine.deadline_ms is not None
        now = max(now, machine.deadline_ms)
        assert machine.tick(now), "a deadline that does nothing"
    assert machine.state in (State.THINKING, State.SPEAKING, State.ENDING)


@given(st.lists(st.tuples(st.sampled_from(EVENTS[:9]), st.integers(0, 3000)), max_size=30))
def test_no_word_of_the_caller_is_lost_before_it_is_answered(events: list[tuple[str, int]]) -> None:
    """Whatever the order, final words while listening or thinking are in an answer or still at hand."""
    machine, now, said, answered = Turn(0), 0.0, 0, 0
    machine.agent_finished(0)
    for event, pause in events:
        now += pause
        said += event in ("final", "ended", "backchannel", "hanging")
        for action in feed(machine, event, now):
            if isinstance(action, Respond):
                answered = sum(action.text.count(word) for word in ("how much is it", "yeah", "it is, um"))
            elif isinstance(action, Withdraw):
                answered = 0
    at_hand = machine.words if machine.state is State.LISTENING else ""
    waiting = sum(at_hand.count(word) for word in ("how much is it", "yeah", "it is, um"))
    assert max(answered, waiting) == said


def test_a_noisy_line_does_not_keep_the_agent_from_answering() -> None:
    turn = Turn(0)
    turn.agent_finished(1000)
    now = 2000.0
    answers = turn.transcript(Transcript("My tap is leaking.", True, True, 1200, 1900), now)
    taken_back = 0
    for _ in range(6):  # a keyboard beside the caller: sounds that are never words
        now += 100
        taken_back += Withdraw() in turn.caller_speaks(now)
        now += 100
        turn.caller_quiet(now)
        now += 700
        answers += turn.tick(now)
    assert taken_back == turns.SOUNDS
    assert answers == [Respond("My tap is leaking.")] * (1 + turns.SOUNDS)
    assert turn.state is State.THINKING


def test_a_yes_over_the_last_word_of_a_question_answers_it() -> None:
    turn = Turn(0)
    turn.agent_speaks(1000)
    turn.hold(2800)
    assert turn.transcript(Transcript("Yeah.", True, True, 2700, 2950), 3000) == [Resume()]
    turn.resumed(3010)
    turn.agent_finished(3300)
    assert turn.deadline_ms == 3300 + turns.UNFINISHED_MS
    assert turn.tick(turn.deadline_ms) == [Respond("Yeah.")]


def test_a_backchannel_in_the_middle_answers_nothing() -> None:
    turn = Turn(0)
    turn.agent_speaks(1000)
    turn.hold(1400)
    turn.transcript(Transcript("Yeah.", True, True, 1300, 1500), 1600)
    turn.resumed(1610)
    turn.agent_finished(5000)
    assert turn.words == ""


def test_what_a_tool_has_done_is_not_done_again_for_a_sound_or_for_more_words() -> None:
    turn = Turn(0)
    turn.agent_finished(1000)
    assert turn.transcript(Transcript("It's Anna.", True, True, 1200, 1900), 2000) == [Respond("It's Anna.")]
    turn.acted()
    assert turn.caller_speaks(2100) == []
    actions = turn.transcript(Transcript("Anna Smith.", True, True, 2100, 2600), 2900)
    assert actions == [Withdraw(), Respond("Anna Smith.")]
