"""The script of a simulated caller: how it is read, and which line comes next."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.sandbox.caller.command import choose_script, packaged_script
from agent.sandbox.caller.listen import LOUD_RMS, rms
from agent.sandbox.caller.script import (
    MAX_OTHERWISE,
    SOUNDS,
    Line,
    Progress,
    ScriptError,
    parse_script,
    read_script,
    script_of,
    with_pauses,
    without_pauses,
)
from agent.sandbox.caller.sounds import make_sound
from agent.sandbox.caller.speak import prepare
from agent.speech_engines.tones import ToneVoice

EVERYTHING = """
# a comment
say: Hello, it's me: the tap.
when "postcode" or "post code": say: M14 6BT

interrupt 600ms: Sorry, how much?
WAIT: 1.5s
dtmf: 12 #a
play: cough.wav
otherwise: say: Sorry?
hangup
"""


def test_every_kind_of_line(tmp_path: Path) -> None:
    script = parse_script(EVERYTHING, folder=tmp_path)
    assert script.lines == (
        Line("say", "Hello, it's me: the tap.", number=3),
        Line("say", "M14 6BT", when=("postcode", "post code"), number=4),
        Line("interrupt", "Sorry, how much?", 0.6, number=6),
        Line("wait", seconds=1.5, number=7),
        Line("dtmf", "12#A", number=8),
        Line("play", str(tmp_path / "cough.wav"), number=9, recorded=True),
        Line("hangup", number=11),
    )
    assert script.otherwise == Line("say", "Sorry?", number=10)
    assert script.texts() == ["Hello, it's me: the tap.", "M14 6BT", "Sorry, how much?", "Sorry?"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "says nothing"),
        ("say Hello", "line 1"),
        ("say: a\nshout: b", "line 2"),
        ("dtmf: 12E", "no keys"),
        ("wait: soon", "no time"),
        ("wait: 1000s", "no time"),
        ('when "x": interrupt 1s: y', "no 'when'"),
        ("when x: say: y", "line 1"),
        ("otherwise: hangup", "only 'say'"),
        ("say: <1s>", "says nothing"),
        ("say: a <soon> b <1x> c", "no time"),
        ("play: <whistle>", "is no sound"),
        ("say: a\notherwise: say: b\notherwise: say: c", "already"),
    ],
)
def test_a_wrong_line_is_named(text: str, told: str) -> None:
    with pytest.raises(ScriptError, match=told):
        parse_script(text)


def test_pauses_and_made_sounds(tmp_path: Path) -> None:
    script = parse_script("say: It is <900ms> M14 <1s>\ninterrupt 1s: play: <cough>\nplay: <fax 5s>", folder=tmp_path)
    assert with_pauses(script.lines[0].text) == ["It is", 0.9, "M14", 1.0]
    assert without_pauses(script.lines[0].text) == "It is M14"
    assert script.lines[1] == Line("interrupt", "<cough>", 1.0, number=2, recorded=True)
    assert script.recordings() == ["<cough>", "<fax 5s>"]
    assert script.texts() == ["It is <900ms> M14 <1s>"]
    sounds = prepare(script, ToneVoice())
    parts = [ToneVoice().speak(text, 8000).samples for text in ("It is", "M14")]
    wanted = sum(map(len, parts)) + round(1.9 * 8000)
    assert abs(len(sounds["It is <900ms> M14 <1s>"]) // 2 - wanted) < 0.15 * 8000
    assert len(sounds["<fax 5s>"]) == 2 * 5 * 8000
    assert len(sounds["<cough>"]) == 2 * round(SOUNDS["cough"] * 8000)
    for name in SOUNDS:
        assert rms(make_sound(name, SOUNDS[name], 8000).tobytes()) > LOUD_RMS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"nonesuch\.call"):
        read_script(tmp_path / "nonesuch.call")


def progress(text: str) -> Progress:
    return Progress(parse_script(text))


def said(line: Line | None) -> str:
    return line.text if line else ""


def test_conditions_go_before_order() -> None:
    going = progress('say: one\nwhen "name": say: Jo\nwhen "postcode": say: M1\nsay: bye')
    assert said(going.choose("hello")) == "one"
    assert said(going.choose("and your Postcode, please?")) == "M1"
    assert said(going.choose("right")) == "", "bye has to wait for the lines above it"
    assert said(going.choose("what is your name?")) == "Jo"
    assert said(going.choose("right")) == "bye"
    assert going.finished
    assert going.choose("postcode") is None


def test_a_condition_matches_from_the_beginning_of_a_word() -> None:
    going = progress('when "fee": say: ok')
    assert going.choose("coffee?") is None
    assert said(going.choose("The fees are...")) == "ok"


def test_otherwise_is_said_only_so_often() -> None:
    going = progress('when "name": say: Jo\notherwise: say: what?')
    assert [said(going.choose("mumble")) for _ in range(MAX_OTHERWISE + 1)] == ["what?"] * MAX_OTHERWISE + [""]
    assert said(going.choose("name")) == "Jo"
    assert going.choose("mumble") is None, "the script is over"


def test_without_ears_the_lines_come_in_order() -> None:
    going = progress('say: one\nwhen "postcode": say: M1\nsay: bye\notherwise: say: what?')
    assert [said(going.choose(None)) for _ in range(4)] == ["one", "M1", "bye", ""]


def test_out_of_patience_the_first_unused_line_is_taken() -> None:
    going = progress('when "name": say: Jo\nsay: bye')
    assert [said(going.first_unused()) for _ in range(3)] == ["Jo", "bye", ""]


def test_an_interruption_follows_its_line_and_no_other() -> None:
    going = progress('when "a": say: A\ninterrupt 1s: stop\nwhen "b": say: B')
    line = going.choose("b")
    assert line is not None
    assert going.following_interrupt(line) is None
    line = going.choose("a")
    assert line is not None
    interruption = going.following_interrupt(line)
    assert (said(interruption), interruption and interruption.seconds) == ("stop", 1.0)
    assert going.following_interrupt(line) is None
    assert going.finished


def test_what_was_not_said_is_known() -> None:
    going = progress('say: one\nwhen "x": say: two\nwait: 1s\nsay: three\nhangup')
    going.choose("")
    assert [line.text for line in going.unsaid()] == ["three"]


def test_the_command_lines_script() -> None:
    script = script_of(["a", "b"], interrupt_after_s=0.4, dtmf="1 2", wavs=[Path("x.wav")])
    assert [(line.action, line.text, line.seconds) for line in script.lines] == [
        ("say", "a", 0.0),
        ("interrupt", "b", 0.4),
        ("play", "x.wav", 0.0),
        ("dtmf", "12", 0.0),
    ]
    with pytest.raises(ScriptError, match="two things"):
        script_of(["a"], interrupt_after_s=0.4)
    with pytest.raises(ScriptError, match="stands alone"):
        choose_script("leaking_tap", ["a"], [], None, "")


def test_the_packaged_script_is_a_whole_booking_with_an_interruption() -> None:
    script = packaged_script("leaking_tap")
    assert script == choose_script("", [], [], None, "") == choose_script("leaking_tap", [], [], None, "")
    assert sum(line.action == "interrupt" for line in script.lines) == 1
    assert "goodbye" in script.lines[-1].text
    with pytest.raises(ScriptError, match="nonesuch"):
        packaged_script("nonesuch")
