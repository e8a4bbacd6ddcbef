"""The turn machine in virtual time: every transition, every deadline, and that no order of events leaves it stuck."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.call import turn_limits as limits
from agent.call.actions import (
    Action,
    AskIfThere,
    Finalize,
    GiveUp,
    HangUp,
    Interrupt,
    Listen,
    Respond,
    Resume,
    Retract,
    SayTheRest,
    Stalled,
    StopListening,
    Think,
    Withdraw,
)
from agent.call.caller_turn import GOING_ON_MS, TurnTaking
from agent.call.turn import State, Turn
from agent.language.words import same_words
from agent.providers.base import EndOfTurn, Transcript

TAKING = TurnTaking()
TAP = "My tap is leaking."


class Caller:
    """Does to a machine what a caller, the STT and the media core do; notes what it wants and when."""

    def __init__(self, *, vendor_ends_turns: bool = False, taking: TurnTaking = TAKING) -> None:
        """The greeting has been heard: listening since 0 ms."""
        self.turn = Turn(-3000, taking, vendor_ends_turns=vendor_ends_turns)
        self.now = 0.0
        self.done: list[tuple[float, Action]] = []
        self.note(self.turn.agent_speaks(-2900))
        self.note(self.turn.agent_finished(0, "What's the address there?"))
        self.done.clear()

    def note(self, actions: list[Action]) -> list[Action]:
        self.done += [(self.now, action) for action in actions]
        return actions

    def at(self, now: float) -> Caller:
        """Let time pass as the session does: a tick at each deadline."""
        while self.turn.deadline_ms <= now:
            before = self.turn.deadline_ms
            self.now = max(self.now, before)
            actions = self.note(self.turn.tick(self.now))
            assert actions or self.turn.deadline_ms > before, "a tick that moves nothing"
        self.now = now
        return self

    def speaks(self, begin: float, end: float) -> Caller:
        """Local voice activity, known 100 ms after its end."""
        self.at(begin)
        self.note(self.turn.caller_speaks(begin))
        self.at(end + 100)
        self.note(self.turn.caller_quiet(end + 100, end))
        return self

    def hears(
        self, text: str, at: float, *, final: bool = True, ended: bool = False, end: float | None = None
    ) -> Caller:
        """What the STT says, of words that end at `end`."""
        end_ms = int(at - 200 if end is None else end)
        self.at(at)
        self.note(self.turn.transcript(Transcript(text, final, ended, end_ms - 500, end_ms, int(at - 80)), at))
        return self

    def of(self, *kinds: type) -> list[tuple[float, Action]]:
        return [(at, action) for at, action in self.done if isinstance(action, kinds)]

    @property
    def decided(self) -> list[tuple[float, Action]]:
        return self.of(Think, Respond, Retract, Withdraw)


@pytest.fixture
def caller() -> Caller:
    return Caller()


def said(text: str, caller: Caller | None = None, at: float = 1000) -> Caller:
    """A turn that ends at `at`, and of which all is final 250 ms later."""
    caller = caller or Caller()
    return caller.speaks(at - 900, at).hears(text, at + 250, end=at)


def thinking(caller: Caller | None = None) -> Caller:
    caller = said(TAP, caller).at(1400)
    assert caller.turn.state is State.THINKING
    return caller


def speaking(began: float = 1500) -> Caller:
    caller = thinking().at(began)
    assert caller.note(caller.turn.agent_speaks(began)) == [Finalize(), StopListening()]
    assert caller.turn.state is State.SPEAKING
    return caller


# ---- the caller's turn ----------------------------------------------------------------------------------------------


def test_the_greeting_comes_first_and_then_the_caller_is_heard() -> None:
    machine = Turn(0)
    assert machine.state.value == "speaking"
    assert machine.agent_finished(2000) == [Listen(0)]
    assert machine.state is State.LISTENING


def test_a_caller_who_speaks_into_the_end_of_the_greeting_is_heard_from_before() -> None:
    machine = Turn(0)
    machine.caller_speaks(1900)
    assert machine.agent_finished(2000) == [Listen(limits.PREROLL_MS)]


def test_the_words_are_asked_for_thought_about_and_answered() -> None:
    """Each at its time: after 100 ms of silence, when they are final, and when the silence has lasted."""
    assert said(TAP).at(2000).done == [
        (1100, Finalize()),
        (1250, Think(TAP)),
        (1000 + TAKING.complete_ms, Respond(TAP)),
    ]


@pytest.mark.parametrize(
    ("text", "question", "needed_ms", "thought_ms"),
    [
        (TAP, "What can we do for you?", TAKING.statement_ms, 1250),
        ("What does it cost?", "What can we do for you?", TAKING.complete_ms, 1250),
        ("Yes.", "Is that all right?", TAKING.bare_ms, None),
        ("M14", "What's the postcode there?", TAKING.incomplete_ms, 1800),
        ("My postcode is", "What's the postcode there?", TAKING.incomplete_ms, 1800),
        ("It is, um", "What is the postcode there?", TAKING.incomplete_ms, 1800),
    ],
)
def test_how_long_the_silence_must_be(text: str, question: str, needed_ms: int, thought_ms: int | None) -> None:
    """And when the answer is thought of: at once, or, where the caller will go on most likely, shortly before."""
    caller = Caller()
    caller.turn.agent_speaks(1)
    caller.turn.agent_finished(2, question)
    said(text, caller).at(4000)
    assert caller.of(Think) == ([(thought_ms, Think(text))] if thought_ms else [])
    assert caller.of(Respond) == [(max(1250, 1000 + needed_ms), Respond(text))]


def test_the_vendors_own_end_of_the_utterance_is_as_good(caller: Caller) -> None:
    """A voice too soft for the local detector: nothing but the vendor's words tells of it."""
    caller.hears("My tap is", 900, ended=False).hears(TAP, 1500, ended=True, end=1000)
    assert caller.of(Respond) == [(1500, Respond(f"My tap is {TAP}"))]


def test_a_caller_too_soft_for_the_local_detector_is_not_answered_in_the_middle(caller: Caller) -> None:
    caller.hears("It's the kitchen tap.", 1000, end=950).at(1700)
    assert caller.of(Respond, Think) == []
    caller.hears("It leaks.", 1800, ended=True, end=1400)
    assert caller.of(Respond) == [(1800, Respond("It's the kitchen tap. It leaks."))]


def test_an_empty_final_ends_nothing_that_was_not_said(caller: Caller) -> None:
    caller.hears("", 500, ended=True)
    assert caller.done == []


def test_utterance_end_is_the_safety_net(caller: Caller) -> None:
    caller.hears("It's leaking", 500, final=False, end=400)
    caller.at(1350)
    assert caller.turn.utterance_end(1400) == [Respond("It's leaking")]
    assert caller.turn.utterance_end(1600) == []


def test_an_unfinished_turn_waits_longer_and_is_joined() -> None:
    caller = said("My postcode is").speaks(1700, 2500).hears("M14 6BT.", 2750, end=2500).at(4000)
    assert [action for _, action in caller.of(Respond)] == [Respond("My postcode is M14 6BT.")]


def test_no_final_is_asked_for_again_and_then_done_without(caller: Caller) -> None:
    caller.hears("my tap is leaking", 800, final=False, end=700)
    caller.at(5000)
    assert caller.of(Finalize, Respond) == [
        (700 + limits.FINAL_MS, Finalize()),
        (700 + 2 * limits.FINAL_MS, Respond("my tap is leaking")),
    ]


def test_a_vendor_that_does_not_answer_is_not_waited_for(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap is leaking", 900, final=False, end=850)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    caller.at(5000)
    assert caller.of(Respond) == [(1100 + limits.FINAL_MS, Respond("my tap is leaking"))]


def test_a_noise_that_goes_on_after_the_words_does_not_keep_them_from_being_answered(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))  # and no end of it
    caller.hears(TAP, 1500, ended=True, end=1000)
    assert caller.of(Respond) == [(1500, Respond(TAP))]


def test_noise_after_words_that_are_not_final_does_not_hold_the_call_for_ever(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap", 900, final=False)
    caller.at(900 + limits.NOISE_MS + limits.FINAL_MS)
    assert [action for _, action in caller.of(Respond)] == [Respond("my tap")]


# ---- thinking early -------------------------------------------------------------------------------------------------


def test_an_interim_that_holds_all_of_it_is_thought_about_before_the_final(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.at(1100)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    caller.hears("my tap is leaking", 1150, final=False, end=990).hears(TAP, 1270, end=990).at(2000)
    assert caller.decided == [(1150, Think("my tap is leaking")), (1320, Respond(TAP))]


def test_a_final_with_other_words_throws_the_thought_away(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.at(1100)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    caller.hears("my cap is leaking", 1150, final=False, end=990).hears(TAP, 1270, end=990).at(2000)
    assert caller.decided == [
        (1150, Think("my cap is leaking")),
        (1270, Withdraw()),
        (1270, Think(TAP)),
        (1320, Respond(TAP)),
    ]


def test_an_interim_that_does_not_change_is_thought_about_also_in_noise(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap is leaking", 1400, final=False, end=1000).hears(
        "my tap is leaking", 2400, final=False, end=1000
    )
    assert caller.decided == [(2400, Think("my tap is leaking"))]


def test_a_caller_who_goes_on_is_thought_about_anew_and_answered_once() -> None:
    caller = said("My tap is leaking").speaks(1290, 2500).hears("in the kitchen.", 2750, end=2500).at(5000)
    whole = "My tap is leaking in the kitchen."
    assert caller.decided == [
        (1250, Think("My tap is leaking")),
        (2750, Withdraw()),
        (2750, Think(whole)),
        (2820, Respond(whole)),
    ]


def test_a_sound_without_words_only_delays_what_was_thought() -> None:
    caller = said(TAP).speaks(1290, 1500).hears("", 1750).at(3000)
    assert caller.decided == [(1250, Think(TAP)), (1500 + TAKING.complete_ms, Respond(TAP))]


def test_what_is_thrown_away_is_bounded() -> None:
    caller = Caller(taking=TurnTaking(drafts=2))
    now = 1000.0
    for part in ("It's the tap", "it's in the kitchen", "it's the cold one", "it's a mess"):
        caller.speaks(now - 500, now).hears(part, now + 250, end=now)
        now += 800
    caller.at(now + 3000)
    assert len(caller.of(Think)) == 2
    assert len(caller.of(Withdraw)) == 2
    assert len(caller.of(Respond)) == 1


def test_the_bound_is_for_each_turn() -> None:
    caller = Caller(taking=TurnTaking(drafts=1))
    said(TAP, caller).at(1500)
    caller.turn.agent_speaks(1600)
    caller.turn.agent_finished(3000, "Whereabouts is it?")
    said("In the kitchen.", caller, 5000).at(6000)
    assert [action for _, action in caller.of(Think)] == [Think(TAP), Think("In the kitchen.")]


def test_thinking_early_can_be_switched_off() -> None:
    caller = said(TAP, Caller(taking=TurnTaking(drafts=0))).at(3000)
    assert caller.decided == [(1320, Respond(TAP))]


# ---- an STT that ends turns -----------------------------------------------------------------------------------------


@pytest.fixture
def flux() -> Caller:
    return Caller(vendor_ends_turns=True)


def ends(caller: Caller, text: str, at: float, end: int = 1000) -> None:
    caller.at(at)
    caller.note(caller.turn.end_of_turn(EndOfTurn(text, end - 500, end), at))


def test_the_vendors_word_is_taken(flux: Caller) -> None:
    flux.hears("My tap is", 700, final=False, end=650)
    flux.speaks(100, 1000)
    flux.at(1150)
    flux.note(flux.turn.eager_end(TAP, 1150))
    ends(flux, TAP, 1260)
    assert flux.decided == [(1150, Think(TAP)), (1260, Respond(TAP))]
    assert flux.of(Finalize) == []


def test_the_vendor_takes_it_back(flux: Caller) -> None:
    flux.speaks(100, 1000)
    flux.at(1150)
    flux.note(flux.turn.eager_end("My tap", 1150))
    flux.at(1600)
    flux.note(flux.turn.turn_resumed(1600))
    assert flux.turn.turn_resumed(1610) == []
    flux.hears(TAP, 2000, final=False)
    ends(flux, TAP, 2300, 2000)
    assert flux.decided == [(1150, Think("My tap")), (1600, Withdraw()), (2300, Respond(TAP))]


def test_what_breaks_off_waits_also_when_the_vendor_is_certain(flux: Caller) -> None:
    flux.speaks(100, 1000)
    ends(flux, "My postcode is", 1260)
    flux.hears("M14", 1900, final=False, end=1800)
    ends(flux, "M14 6BT.", 2200, 1850)
    assert [action for _, action in flux.of(Respond)] == [Respond("My postcode is M14 6BT.")]
    other = Caller(vendor_ends_turns=True).speaks(100, 1000)
    ends(other, "My postcode is", 1260)
    assert other.at(4000).of(Respond) == [(1000 + TAKING.incomplete_ms, Respond("My postcode is"))]


def test_a_caller_who_speaks_again_before_the_vendors_word_arrives_is_not_spoken_over(flux: Caller) -> None:
    flux.speaks(100, 1000)
    flux.at(1200)
    flux.note(flux.turn.caller_speaks(1200))
    ends(flux, "My tap is leaking.", 1260)
    assert flux.of(Respond) == []
    flux.hears("in the", 1900, final=False, end=1850)
    flux.note(flux.turn.caller_quiet(2200, 2100))
    ends(flux, "In the kitchen.", 2400, 2100)
    assert [action for _, action in flux.of(Respond)] == [Respond("My tap is leaking. In the kitchen.")]


def test_a_vendor_that_never_ends_the_turn_is_asked_to(flux: Caller) -> None:
    flux.hears("My tap is leaking", 900, final=False, end=850)
    flux.speaks(900, 1000)
    flux.at(9000)
    assert flux.of(Finalize, Respond) == [
        (1000 + TAKING.incomplete_ms + limits.FINAL_MS, Finalize()),
        (1000 + TAKING.incomplete_ms + 2 * limits.FINAL_MS, Respond("My tap is leaking")),
    ]


# ---- the answer is on its way ---------------------------------------------------------------------------------------


def test_a_sound_before_the_answer_is_heard_keeps_it_back_and_no_more() -> None:
    caller = thinking().speaks(1450, 1600).hears("", 1850).at(4000)
    assert caller.decided[2:] == [(1450, Retract()), (1850, Respond(TAP))] or caller.decided[2:] == [
        (1450, Retract()),
        (1600 + TAKING.complete_ms, Respond(TAP)),
    ]


def test_words_before_the_answer_is_heard_throw_it_away_and_are_joined() -> None:
    caller = thinking().speaks(1450, 2400).hears("And the sink.", 2650, end=2400).at(4000)
    assert [action for _, action in caller.decided[2:]] == [
        Retract(),
        Withdraw(),
        Think(f"{TAP} And the sink."),
        Respond(f"{TAP} And the sink."),
    ]


def test_words_alone_take_the_answer_back_too() -> None:
    caller = thinking().hears("And the sink", 1600, final=False, end=1550)
    assert [action for _, action in caller.decided[2:]] == [Withdraw()]
    assert caller.turn.words == f"{TAP} And the sink"


def test_an_empty_final_takes_nothing_back() -> None:
    assert thinking().hears("", 1600).decided[2:] == []


def test_a_noisy_line_does_not_keep_the_agent_from_answering() -> None:
    caller = thinking()
    for begin in range(1450, 4000, 150):  # a keyboard beside the caller: sounds that are never words
        caller.speaks(begin, begin + 20)
    caller.at(8000)
    assert len(caller.of(Retract)) <= limits.SOUNDS
    assert caller.turn.state is State.THINKING
    assert {action for _, action in caller.of(Respond)} == {Respond(TAP)}


def test_a_noise_that_does_not_end_delays_an_answer_by_two_seconds() -> None:
    caller = thinking().at(1450)
    caller.note(caller.turn.caller_speaks(1450))
    caller.at(9000)
    assert caller.of(Respond)[1:] == [(1450 + TAKING.complete_ms + GOING_ON_MS, Respond(TAP))]


def test_what_a_tool_has_done_is_not_done_again_for_a_sound_or_for_more_words() -> None:
    for running in (True, False):
        caller = said("It's Anna.").at(1500)
        caller.turn.tool_began(1500)
        if not running:
            caller.turn.tool_ended(1550, acted=True)
        assert caller.turn.caller_speaks(1600) == []
        caller.turn.caller_quiet(2100, 2000)
        caller.hears("Anna Smith.", 2250, end=2000).at(4000)
        assert [action for _, action in caller.decided[2:]] == [
            Withdraw(),
            Think("Anna Smith."),
            Respond("Anna Smith."),
        ]


def test_a_tool_that_only_asked_is_asked_again_for_all_the_words() -> None:
    caller = said("Can you come today?").at(1500)
    caller.turn.tool_began(1500)
    caller.turn.tool_ended(1550, acted=False)
    caller.hears("Or tomorrow?", 1900, ended=True, end=1600).at(4000)
    assert [action for _, action in caller.of(Respond)][-1] == Respond("Can you come today? Or tomorrow?")


def test_an_answer_without_a_sound_ends_in_listening() -> None:
    caller = thinking()
    caller.turn.agent_finished(1700)
    assert caller.turn.state is State.LISTENING
    assert caller.turn.words == ""


def test_vendors_that_all_go_quiet_are_done_without() -> None:
    caller = thinking().at(1400 + limits.THINKING_MS)
    assert [action for _, action in caller.of(Stalled)] == [Stalled()]
    assert caller.turn.state is State.LISTENING
    tool = thinking()
    tool.turn.tool_began(1500)
    assert tool.at(1400 + limits.THINKING_MS).of(Stalled) == []
    assert tool.at(1400 + limits.TOOLS_MS).of(Stalled) != []


# ---- the agent speaks -----------------------------------------------------------------------------------------------


def test_words_interrupt_and_are_answered() -> None:
    caller = speaking().at(2000)
    assert caller.note(caller.turn.hold(2000)) == [Listen(limits.PREROLL_MS)]
    caller.note(caller.turn.caller_speaks(2000))
    caller.hears("how much", 2600, final=False, end=2500)
    assert [action for _, action in caller.of(Interrupt)] == [Interrupt()]
    caller.note(caller.turn.flushed(2620))
    caller.at(3000)
    caller.note(caller.turn.caller_quiet(3000, 2900))
    caller.hears("How much is it?", 3200, end=2900).at(5000)
    assert caller.of(Respond)[-1] == (2900 + TAKING.complete_ms, Respond("How much is it?"))
    assert len(caller.of(Interrupt)) == 1


def test_one_final_word_interrupts_and_is_answered() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.speaks(1900, 2300).hears("Stop!", 2550, end=2300).at(5000)
    assert [action for _, action in caller.of(Interrupt, Respond)][1:] == [Interrupt(), Respond("Stop!")]


def test_the_words_of_an_interruption_are_asked_for_as_soon_as_it_pauses() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.done.clear()
    assert caller.speaks(1900, 2300).of(Finalize) == [(2400, Finalize())]


def test_a_backchannel_resumes_once_it_is_certain() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.at(1990)
    caller.note(caller.turn.caller_speaks(1990))
    caller.hears("mm-hm", 2200, final=False, end=2150)
    assert caller.of(Resume) == []
    caller.note(caller.turn.caller_quiet(2300, 2200))
    caller.hears("Mm-hm.", 2400, end=2150)
    assert [action for _, action in caller.of(Resume, Interrupt)] == [Resume()]
    assert caller.turn.resumed(2420) == [Finalize(), StopListening()]
    assert caller.turn.state is State.SPEAKING


def test_a_backchannel_that_is_final_before_the_sound_ends_resumes_when_it_does() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.turn.caller_speaks(1990)
    caller.hears("Yeah.", 2200, end=2150)
    assert caller.of(Resume) == []
    assert caller.turn.caller_quiet(2400, 2300) == [Resume()]


def test_yes_but_interrupts() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.turn.caller_speaks(1990)
    caller.hears("Yes.", 2200, end=2150).hears("but not today", 2700, final=False, end=2650)
    assert [action for _, action in caller.of(Interrupt)] == [Interrupt()]
    assert caller.turn.words == "Yes. but not today"


def test_a_backchannel_that_held_nothing_resumes_nothing() -> None:
    assert speaking().hears("Okay.", 2000).of(Resume, Interrupt) == []


def test_the_cores_limit_is_an_interruption() -> None:
    caller = speaking().at(3500)
    caller.turn.hold(2000)
    caller.turn.caller_speaks(1990)
    assert caller.note(caller.turn.flushed(3500)) == [Interrupt()]
    assert caller.turn.state is State.LISTENING


def test_a_noise_that_cut_the_agent_off_lets_it_say_the_rest() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.turn.caller_speaks(1990)
    caller.at(3500)
    caller.note(caller.turn.flushed(3500))
    caller.note(caller.turn.caller_quiet(3700, 3600))
    caller.hears("", 3900).at(3600 + limits.REST_MS)
    assert caller.of(SayTheRest) == [(3600 + limits.REST_MS, SayTheRest())]
    caller.turn.agent_speaks(5000)
    caller.turn.agent_finished(6000)
    assert caller.at(20_000).of(SayTheRest) == [(3600 + limits.REST_MS, SayTheRest())]


def test_words_after_the_limit_are_answered_and_the_rest_is_not_said() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    caller.turn.caller_speaks(1990)
    caller.at(3500)
    caller.note(caller.turn.flushed(3500))
    caller.note(caller.turn.caller_quiet(3700, 3600))
    caller.hears("How much is it?", 3900, end=3600).at(9000)
    assert caller.of(SayTheRest) == []
    assert caller.of(Respond)[-1][1] == Respond("How much is it?")


def test_a_hold_that_the_core_lets_go_goes_on_speaking() -> None:
    caller = speaking()
    caller.turn.hold(2000)
    assert caller.turn.resumed(2400) == [Finalize(), StopListening()]
    assert caller.turn.state is State.SPEAKING
    assert not caller.turn.held


def test_late_words_that_the_answer_covers_are_left_out() -> None:
    caller = speaking(1500).hears("leaking.", 1700, end=1300)
    assert caller.of(Interrupt) == []
    assert caller.turn.words == ""


def test_a_hold_or_flush_when_the_agent_is_not_speaking_means_nothing(caller: Caller) -> None:
    assert caller.turn.hold(100) == []
    assert caller.turn.resumed(200) == []
    assert caller.turn.flushed(300) == []


def test_a_yes_over_the_last_word_of_a_question_answers_it() -> None:
    turn = Turn(0)
    turn.agent_speaks(1000)
    turn.hold(2800)
    assert turn.transcript(Transcript("Yeah.", True, True, 2700, 2950, 2950), 3000) == [Resume()]
    turn.resumed(3010)
    assert turn.agent_finished(3300, "Is that all right?") == [Listen(0), Think("Yeah.")]
    assert turn.tick(turn.deadline_ms) == [Respond("Yeah.")]
    assert turn.deadline_ms >= 3300 + TAKING.bare_ms


def test_a_backchannel_in_the_middle_answers_nothing() -> None:
    turn = Turn(0)
    turn.agent_speaks(1000)
    turn.hold(1400)
    turn.transcript(Transcript("Yeah.", True, True, 1300, 1500, 1500), 1600)
    turn.resumed(1610)
    turn.agent_finished(5000)
    assert turn.words == ""


def test_speech_that_never_ends_is_ended() -> None:
    caller = speaking(1500).at(1500 + limits.SPEAKING_MS)
    assert [action for _, action in caller.of(Interrupt)] == [Interrupt()]


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_what_is_typed_is_an_answer_as_it_stands(caller: Caller) -> None:
    assert caller.turn.typed("07700900123", 500) == [Respond("07700900123")]
    assert speaking().turn.typed("42", 2000) == [Interrupt(), Respond("42")]
    assert thinking().turn.typed("42", 1500) == [Withdraw(), Respond(f"{TAP} 42")]
    draft = said(TAP).turn
    assert draft.typed("42", 1260) == [Withdraw(), Respond(f"{TAP} 42")]


# ---- silence and the end --------------------------------------------------------------------------------------------


def test_a_silent_caller_is_asked_twice_and_then_let_go(caller: Caller) -> None:
    now = float(TAKING.silence_ms)
    for _ in range(TAKING.prompts):
        assert caller.at(now).done[-1] == (now, AskIfThere())
        caller.turn.agent_speaks(now + 100)
        caller.turn.agent_finished(now + 1100)
        now += 1100 + TAKING.silence_ms
    assert caller.at(now).done[-1] == (now, GiveUp())
    assert caller.turn.state is State.ENDING


def test_words_start_the_count_of_questions_again(caller: Caller) -> None:
    caller.at(2 * TAKING.silence_ms)
    assert len(caller.of(AskIfThere)) == 2
    said(TAP, caller, 16_000).at(17_000)
    caller.turn.agent_speaks(17_000)
    caller.turn.agent_finished(18_000)
    caller.at(18_000 + TAKING.silence_ms)
    assert caller.done[-1][1] == AskIfThere()


def test_noise_without_words_is_waited_for_longer(caller: Caller) -> None:
    caller.turn.caller_speaks(1000)
    assert caller.turn.deadline_ms == limits.NOISE_MS


def test_silence_counts_from_the_last_sound(caller: Caller) -> None:
    caller.speaks(3000, 4000)
    assert caller.turn.deadline_ms == 4000 + TAKING.silence_ms


def test_a_tick_before_its_deadline_does_nothing(caller: Caller) -> None:
    assert caller.turn.tick(TAKING.silence_ms - 1) == []


def test_nothing_interrupts_a_goodbye() -> None:
    turn = speaking().turn
    assert turn.ending(2000) == []
    assert turn.hold(2100) == []
    assert turn.transcript(Transcript("wait", True, True, 2000, 2100, 2100), 2200) == []
    assert turn.eager_end("wait", 2210) == []
    assert turn.typed("0", 2220) == []
    assert turn.flushed(2300) == []
    assert turn.caller_speaks(2400) == []
    assert turn.caller_quiet(2600, 2500) == []
    assert turn.utterance_end(2700) == []
    assert turn.agent_finished(3000) == []
    assert turn.state is State.ENDING


def test_a_goodbye_that_was_held_goes_on() -> None:
    turn = speaking().turn
    turn.hold(2000)
    assert turn.ending(2100) == [Resume()]


def test_a_goodbye_may_begin_in_the_ending_and_ends_also_when_it_is_never_spoken() -> None:
    turn = Turn(0)
    turn.ending(100)
    assert turn.agent_speaks(200) == [StopListening()]
    assert turn.tick(turn.deadline_ms) == [HangUp()]


# ---- any order of events --------------------------------------------------------------------------------------------

EVENTS = (
    "interim", "final", "ended", "backchannel", "empty", "hanging", "utterance_end", "eager", "turn_resumed", "speaks",
    "quiet", "deadline", "wait", "away", "back", "hold", "resumed", "flushed", "agent_speaks", "agent_finished",
    "tool", "typed", "ending",
)  # fmt: skip
WHILE_LISTENING = EVENTS[:15]
WORDS = ("how much is it", "yeah", "it is, um")


def feed(machine: Turn, event: str, now: float) -> list[Action]:
    end = int(now)

    def heard(text: str, *, final: bool = True, ended: bool = False) -> list[Action]:
        return machine.transcript(Transcript(text, final, ended, end - 300, end - 100, end), now)

    match event:
        case "interim":
            return heard("could you", final=False)
        case "final":
            return heard("how much is it")
        case "ended":
            return heard("how much is it?", ended=True)
        case "backchannel":
            return heard("yeah", ended=True)
        case "empty":
            return heard("", ended=True)
        case "hanging":
            return heard("it is, um", ended=True)
        case "eager":
            return machine.eager_end("could you come", now)
        case "speaks":
            return machine.caller_speaks(now)
        case "quiet":
            return machine.caller_quiet(now, now - 100)
        case "deadline" | "wait":
            return machine.tick(now)
        case "tool":
            machine.tool_began(now)
            machine.tool_ended(now, acted=True)
            return []
        case "typed":
            return machine.typed("1234", now)
        case "away":
            return machine.stt_away(now)
        case "back":
            return machine.stt_back(now, ends_turns=False)
        case _:
            return list(getattr(machine, event)(now))


class Session:
    """Checks that what the machine wants can be done: what is in hand is what it takes to be in hand."""

    def __init__(self, taking: TurnTaking) -> None:
        self.in_hand: str | None = None
        self.let_out = False
        self.thought = 0
        self._taking = taking

    def does(self, actions: list[Action], event: str) -> None:
        if event in ("agent_speaks", "agent_finished"):
            self.in_hand, self.let_out, self.thought = None, False, 0
        for action in actions:
            match action:
                case Think(text):
                    assert text
                    assert self.in_hand is None, "a second answer"
                    self.in_hand, self.let_out = text, False
                    self.thought += 1
                    assert self.thought <= self._taking.drafts, "more is wasted than the setting allows"
                case Respond(text):
                    assert text
                    assert self.in_hand is None or same_words(self.in_hand, text), "an answer to other words"
                    self.in_hand, self.let_out = text, True
                case Retract():
                    assert self.let_out
                    self.let_out = False
                case Withdraw():
                    assert self.in_hand is not None, "nothing to throw away"
                    self.in_hand, self.let_out = None, False
                case Stalled() | Interrupt() | GiveUp():
                    self.in_hand, self.let_out, self.thought = None, False, 0


@given(
    st.booleans(), st.integers(0, 3), st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 4000)), max_size=40)
)
def test_no_order_of_events_leaves_a_call_without_a_way_on(
    vendor_ends_turns: bool, drafts: int, events: list[tuple[str, int]]
) -> None:
    taking = TurnTaking(drafts=drafts)
    machine, now, ending = Turn(0, taking, vendor_ends_turns=vendor_ends_turns), 0.0, False
    session = Session(taking)
    for event, pause in events:
        now += pause
        if event == "deadline":
            now = max(now, machine.deadline_ms)
        before = machine.state
        actions = feed(machine, event, now)
        if machine.state is not State.ENDING:
            session.does(actions, event)
        ending = ending or event == "ending" or GiveUp() in actions
        assert (machine.state is State.ENDING) == ending, "an ending is never left"
        if before is State.ENDING:
            assert set(map(type, actions)) <= {StopListening, Resume, HangUp}
        if machine.state is State.THINKING and before is not State.THINKING:
            assert any(isinstance(action, Respond) for action in actions), "thinking about nothing"
        assert machine.deadline_ms < float("inf")
    # Left alone, with an agent whose every vendor is dead, it comes to its end.
    wanted: list[Action] = []
    for _ in range(40):
        now = max(now, machine.deadline_ms)
        wanted += machine.tick(now)
        if HangUp() in wanted:
            break
    assert HangUp() in wanted


@given(st.booleans(), st.lists(st.tuples(st.sampled_from(WHILE_LISTENING), st.integers(0, 3000)), max_size=30))
def test_no_word_of_the_caller_is_lost_before_it_is_answered(
    vendor_ends_turns: bool, events: list[tuple[str, int]]
) -> None:
    """Whatever the order, final words while listening or thinking are in an answer or still at hand."""
    machine, now, told, answered = Turn(0, vendor_ends_turns=vendor_ends_turns), 0.0, 0, 0
    machine.agent_finished(0)
    for event, pause in events:
        now += pause
        told += event in ("final", "ended", "backchannel", "hanging")
        for action in feed(machine, event, now):
            if isinstance(action, Respond):
                answered = sum(action.text.count(word) for word in WORDS)
            elif isinstance(action, Withdraw | Retract):
                answered = 0
            elif isinstance(action, Stalled | GiveUp):
                return
    at_hand = machine.words if machine.state is State.LISTENING else ""
    assert max(answered, sum(at_hand.count(word) for word in WORDS)) == told


def test_patience_lengthens_every_silence_and_nothing_else() -> None:
    patient = TAKING.times(1.5)
    assert (patient.bare_ms, patient.incomplete_ms) == (360, 2250)
    assert (patient.drafts, patient.silence_ms) == (TAKING.drafts, TAKING.silence_ms)


def test_an_interim_that_holds_the_last_word_is_enough_to_think(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.at(940)
    caller.note(caller.turn.transcript(Transcript("my tap is leaking", False, False, 100, 960, 900), 940))
    caller.at(1100)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    assert caller.decided == [(1100, Think("my tap is leaking"))]
    other = Caller()
    other.at(100)
    other.note(other.turn.caller_speaks(100))
    other.note(other.turn.transcript(Transcript("my tap is", False, False, 100, 600, 640), 700))
    other.at(1100)
    other.note(other.turn.caller_quiet(1100, 1000))
    assert other.decided == []


def test_an_answer_to_an_interim_that_came_to_nothing_is_thrown_away(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears(TAP, 900, end=900)
    caller.at(1000)
    caller.note(caller.turn.transcript(Transcript("How much?", False, False, 900, 960, 1000), 1000))
    caller.at(1100)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    assert caller.decided[-1] == (1100, Think(f"{TAP} How much?"))
    caller.at(1150)
    caller.note(caller.turn.transcript(Transcript("", True, True, 900, 1000, 1000), 1150))
    assert caller.decided[-1] == (1150, Withdraw())
    caller.at(2000)
    assert [action for _, action in caller.of(Respond)] == [Respond(TAP)]


# ---- nobody hears the caller ----------------------------------------------------------------------------------------


def test_while_nobody_hears_the_caller_their_words_are_waited_for(caller: Caller) -> None:
    """What is at hand is not answered: the rest of it is on its way."""
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap", 800, final=False)
    caller.note(caller.turn.stt_away(850))
    caller.at(1600)
    caller.note(caller.turn.caller_quiet(1600, 1500))
    caller.at(6000)
    assert caller.decided == []
    caller.note(caller.turn.stt_back(6000, ends_turns=False))
    assert caller.of(Finalize)[-1] == (6000, Finalize())
    caller.hears("my tap is leaking", 6900, ended=True, end=1500)
    assert caller.of(Respond) == [(6900, Respond("my tap is leaking"))]


def test_when_nobody_comes_back_the_words_at_hand_are_answered(caller: Caller) -> None:
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap is leaking", 800, final=False)
    caller.note(caller.turn.stt_away(850))
    caller.at(1600)
    caller.note(caller.turn.caller_quiet(1600, 1500))
    caller.at(850 + limits.AWAY_MS + 2000)
    assert [action for _, action in caller.of(Respond)] == [Respond("my tap is leaking")]


def test_nobody_is_asked_whether_they_are_there_while_nobody_would_hear_it(caller: Caller) -> None:
    caller.note(caller.turn.stt_away(500))
    caller.at(500 + limits.AWAY_MS - 1)
    assert caller.of(AskIfThere) == []


def test_another_vendor_may_end_turns_itself(caller: Caller) -> None:
    caller.note(caller.turn.stt_away(100))
    caller.note(caller.turn.stt_back(2000, ends_turns=True))
    caller.speaks(2100, 3000)
    assert caller.of(Finalize) == [], "such a one tells by itself"
    caller.at(3300)
    caller.note(caller.turn.end_of_turn(EndOfTurn(TAP, 2100, 3000), 3300))
    assert caller.of(Respond) == [(3300, Respond(TAP))]


def test_what_one_vendor_was_asked_is_not_waited_for_from_another(caller: Caller) -> None:
    """Its interims, half of what was said, are not all there is: the other one hears it again from the beginning."""
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    caller.hears("my tap", 500, final=False)
    caller.note(caller.turn.stt_away(600))
    caller.at(1100)
    caller.note(caller.turn.caller_quiet(1100, 1000))
    caller.at(1500)
    caller.note(caller.turn.stt_back(1500, ends_turns=True))
    caller.hears("my", 1600, final=False).hears("my tap is", 2100, final=False)
    caller.at(2200)
    caller.note(caller.turn.end_of_turn(EndOfTurn(TAP, 100, 1000), 2200))
    assert caller.of(Respond) == [(2200, Respond(TAP))]


def test_what_is_final_is_answered_whoever_hears_the_caller_next(caller: Caller) -> None:
    """The vendor is lost behind the caller's last word: the next one hears silence, and ends no turn."""
    said("So my tap leaks.", caller)
    caller.at(1300)
    caller.note(caller.turn.stt_away(1300))
    caller.note(caller.turn.stt_back(1350, ends_turns=True))
    caller.at(3000)
    assert [action for _, action in caller.of(Respond)] == [Respond("So my tap leaks.")]
    assert caller.of(Respond)[0][0] < 2000


# ---- since when the caller waits ------------------------------------------------------------------------------------


def test_who_has_finished_waits_from_the_end_of_their_speech() -> None:
    caller = thinking()
    assert caller.turn.waits_since_ms == (1000, 1320)
    caller.note(caller.turn.agent_speaks(1500))
    assert caller.turn.waits_since_ms == (1500, 1500)


def test_who_is_to_speak_or_speaks_does_not_wait(caller: Caller) -> None:
    assert caller.turn.waits_since_ms is None
    caller.at(100)
    caller.note(caller.turn.caller_speaks(100))
    assert caller.turn.waits_since_ms is None


def test_who_spoke_while_nobody_heard_waits(caller: Caller) -> None:
    caller.note(caller.turn.stt_away(50))
    assert caller.turn.waits_since_ms is None, "nothing was said yet"
    caller.speaks(100, 1000)
    assert caller.turn.waits_since_ms == (1000, 1000)
    caller.note(caller.turn.stt_back(3000, ends_turns=False))
    assert caller.turn.waits_since_ms == (1000, 1000), "the words are still owed"
    caller.hears("", 3500, ended=True, end=1000)
    assert caller.turn.waits_since_ms is None, "there were none"


def test_a_noise_of_which_the_stt_knows_nothing_is_no_wait(caller: Caller) -> None:
    caller.speaks(100, 400).hears("", 700, end=400)
    assert caller.turn.waits_since_ms is None


def test_the_last_words_are_waited_for_since_the_caller_spoke() -> None:
    caller = thinking()
    caller.note(caller.turn.ending(1700))
    assert caller.turn.waits_since_ms == (1000, 1700)
    other = Caller().at(5000)
    other.note(other.turn.ending(5000))
    assert other.turn.waits_since_ms == (5000, 5000)
