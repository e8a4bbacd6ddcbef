"""Callers' files: what is read of them, and that an error names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.ops.settings import Settings
from agent.sandbox.scenarios.command import choose_callers
from agent.sandbox.scenarios.reading import (
    CONVERSATIONS,
    RULES,
    CallerError,
    packaged_callers,
    parse_caller,
    parse_rules,
)

WHOLE = """# Rings twice,
# and is odd.

[call]
company: Lone Star Plumbing
caller id: withheld
called before: yes
booking api: refuses postcode
patience: 20s

[says]
say: Hello <300ms> there.
hangup

[expect]
turns: 1
"""


def test_a_whole_file() -> None:
    caller = parse_caller(WHOLE, "home_services/odd.caller")
    assert (caller.name, caller.conversation) == ("odd", "home_services")
    assert caller.title == "Rings twice, and is odd."
    setup = caller.setup
    assert (setup.company, setup.caller_id, setup.called_before) == ("Lone Star Plumbing", "", True)
    assert (setup.booking_api, setup.refused_field, setup.patience_s) == ("refuses", "postcode", 20.0)
    assert [line.number for line in caller.script.lines] == [12, 13]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[says]", "[spricht]", r"line 11: \[spricht\] is no section"),
        ("say: Hello <300ms> there.", "shout: Hello", "line 12: 'shout"),
        ("say: Hello <300ms> there.", "say: <300ms>", "line 12: '<300ms>' says nothing"),
        ("say: Hello <300ms> there.", "play: <whistle>", "line 12: <whistle> is no sound"),
        ("turns: 1", "turns: some", "line 16: 'some' is no number"),
        ("turns: 1", "says: (", "line 16: '\\('"),
        ("turns: 1", "calls end_call: reason is good", "line 16: 'reason is good' is no"),
        ("turns: 1", "wins: 1", "line 16: nothing can be expected of 'wins'"),
        ("turns: 1", "turns", "line 16: 'turns' is no"),
        ("called before: yes", "called before: often", "line 7"),
        ("patience: 20s", "patience: long", "line 9: 'long' is no time"),
        ("# Rings twice,", "Rings twice,", "line 1: 'Rings twice,' stands before"),
        ("turns: 1", "", r"no section \[expect\]"),
    ],
)
def test_an_error_names_file_and_line(old: str, new: str, told: str) -> None:
    with pytest.raises(CallerError, match=r"odd\.caller.*" + told):
        parse_caller(WHOLE.replace(old, new), "home_services/odd.caller")


def test_a_wrong_rule_is_named() -> None:
    with pytest.raises(CallerError, match=r"rules, line 2: '\[' is no regular expression"):
        parse_rules("# comment\nnever (x): [", "rules")


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_packaged_callers_can_be_read(conversation: str) -> None:
    callers = packaged_callers(conversation)
    assert len({caller.name for caller in callers}) == len(callers)
    assert all(caller.title for caller in callers), "the first comment says who rings"
    assert all(caller.expect.checks for caller in callers)
    assert all(caller.expect.rules for caller in callers)


def test_there_are_enough_of_them() -> None:
    assert len(packaged_callers("home_services")) >= 25


def test_scenarios_are_chosen_by_name_or_file(tmp_path: Path) -> None:
    own = tmp_path / "own.caller"
    own.write_text("[says]\nsay: Hello\n[expect]\nturns: 1\n")
    chosen = choose_callers("home_services", ["gas", str(own)])
    assert [caller.name for caller in chosen] == ["gas", "own"]
    with pytest.raises(CallerError, match="no caller 'nonesuch'; there is abusive"):
        choose_callers("home_services", ["nonesuch"])
    with pytest.raises(CallerError, match="cannot read"):
        choose_callers("home_services", ["none.caller"])


def test_callers_of_a_conversation_of_ones_own(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    (desk / "callers").mkdir(parents=True)
    with pytest.raises(CallerError, match=r"desk has no callers: write some as callers/NAME\.caller there"):
        choose_callers("desk", [], desk)
    (desk / "callers" / "one.caller").write_text("# One\n[says]\nsay: a\n[expect]\nturns: 1\n", "utf-8")
    (desk / "callers" / RULES).write_text("never (cheap): cheap\n", "utf-8")
    (one,) = choose_callers("desk", [], desk)
    assert (one.name, one.conversation, list(one.expect.rules)) == ("one", "desk", ["cheap"])
    with pytest.raises(CallerError, match="no caller 'two'; there is one"):
        choose_callers("desk", ["two"], desk)


def test_the_command_heeds_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    copied = tmp_path / "desk"
    assert CliRunner().invoke(app, ["conversation", "home_services", "--copy", str(copied)]).exit_code == 0
    monkeypatch.setenv("CONVERSATION", str(copied))
    result = CliRunner().invoke(app, ["callers"])
    assert (result.exit_code, "desk has no callers" in "".join(result.output.split("\n"))) == (2, True)
    result = CliRunner().invoke(app, ["callers", "--conversation", "dentst"])
    assert (result.exit_code, "is dentist meant?" in result.output) == (2, True)
