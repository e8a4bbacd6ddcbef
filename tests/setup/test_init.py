"""`voice-agent init`: what it writes, what it leaves alone, and what it says; below a prefix, as a package would."""

from __future__ import annotations

import io
import json
import os
import pty
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.ops.settings import load_settings
from agent.setup import asterisk_files, command
from agent.setup.command import Choices, init
from agent.setup.dialplan import Dialplan
from agent.setup.host import Host
from agent.setup.plan import PlanError, Written

KEYS = {"DEEPGRAM_API_KEY": "dg-secret-1", "GROQ_API_KEY": "gsk_secret2", "CARTESIA_API_KEY": "sk_car_secret3"}
ENV, UNIT = "etc/voice-agent/voice-agent.env", "etc/systemd/system/voice-agent.service"
CONF, SITE = "etc/asterisk/voice-agent.conf", "etc/asterisk/voice-agent-site.conf"


def set_up(prefix: Path, **more: object) -> tuple[int, str]:
    """Run it, without questions; the status, and all it said."""
    said = io.StringIO()
    agree = more.pop("agree", lambda: True)
    choices = {"host": Host(prefix=prefix), "keys": KEYS, "dialplan": Dialplan()} | more
    status = init(Choices(**choices), Console(file=said, width=100, highlight=False), agree)  # type: ignore[arg-type]
    return status, said.getvalue()


def everything(prefix: Path) -> dict[str, tuple[bytes, int, int]]:
    """Each file with its content, mode and time."""
    return {
        str(path.relative_to(prefix)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime_ns)
        for path in prefix.rglob("*")
        if path.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_host_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o077)
    try:
        status, said = set_up(tmp_path)
    finally:
        os.umask(before)
    assert status == 0
    assert set(everything(tmp_path)) == {ENV, UNIT, CONF, SITE, "etc/voice-agent/init.json"}
    assert mode(tmp_path / ENV) == 0o600
    assert mode(tmp_path / UNIT) == mode(tmp_path / CONF) == 0o644
    assert mode(tmp_path / "etc/voice-agent") == 0o755, "the service's user goes through it"
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    settings = load_settings(tmp_path / ENV)
    settings.require_keys()
    assert settings.deepgram_api_key.get_secret_value() == "dg-secret-1"
    assert settings.data_dir == Path("/var/lib/voice-agent")
    assert (tmp_path / CONF).read_bytes() == (asterisk_files() / "voice-agent.conf").read_bytes()
    assert "--env-file /etc/voice-agent/voice-agent.env\n" in (tmp_path / UNIT).read_text(), "the prefix is not in it"
    for word in ("#include voice-agent.conf", "dialplan reload", "check --env-file", "enable --now voice-agent"):
        assert word in said
    assert "secret" not in said, "keys are not shown"


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    set_up(tmp_path)
    before = everything(tmp_path)
    status, said = set_up(tmp_path, keys={})
    assert (status, "Nothing has to change" in said) == (0, True)
    after = everything(tmp_path)
    assert {name: after[name][:2] for name in after} == {name: before[name][:2] for name in before}
    assert after[ENV] == before[ENV], "it was not even written"


def test_what_somebody_edited_is_kept_until_force(tmp_path: Path) -> None:
    set_up(tmp_path)
    for name in (UNIT, CONF, SITE):
        (tmp_path / name).write_text("mine\n")
    status, said = set_up(tmp_path, keys={})
    assert status == 0
    assert said.count("yours, kept") == 3
    assert all((tmp_path / name).read_text() == "mine\n" for name in (UNIT, CONF, SITE))
    status, said = set_up(tmp_path, keys={}, force=True)
    assert said.count("replaced") == 3
    for name in (UNIT, CONF, SITE):
        assert (tmp_path / name).read_text() != "mine\n"
        (copy,) = (tmp_path / name).parent.glob(f"{Path(name).name}.*.bak")
        assert copy.read_text() == "mine\n"
        assert str(copy) in said.replace("\n", "")


def test_what_an_earlier_version_wrote_is_brought_up_to_date(tmp_path: Path) -> None:
    set_up(tmp_path)
    old = "; of an earlier version\n"
    (tmp_path / CONF).write_text(old)
    written = Written(tmp_path / "etc/voice-agent/init.json")
    written.note(Path("/") / CONF, old)
    written.keep()
    assert "changes" in set_up(tmp_path, keys={})[1]
    assert (tmp_path / CONF).read_bytes() == (asterisk_files() / "voice-agent.conf").read_bytes()
    assert not list((tmp_path / "etc/asterisk").glob("*.bak")), "nobody's words were lost"


def test_a_file_of_settings_is_completed(tmp_path: Path) -> None:
    path = tmp_path / ENV
    path.parent.mkdir(parents=True)
    theirs = (
        "# ours since 2025\nexport DEEPGRAM_API_KEY='old one'\nGROQ_API_KEY=\nDATA_DIR=/srv/voice\nMAX_CALLS=5 # five"
    )
    path.write_text(theirs)
    path.chmod(0o644)
    _, said = set_up(tmp_path)
    assert mode(path) == 0o600
    assert "its mode becomes 0600" in said
    assert path.read_text().splitlines() == [
        *theirs.replace("GROQ_API_KEY=", "GROQ_API_KEY=gsk_secret2").splitlines(),
        "CARTESIA_API_KEY=sk_car_secret3",
    ]
    assert "DEEPGRAM_API_KEY in /etc/voice-agent/voice-agent.env is another one, and stays" in said.replace("\n", " ")
    assert "ReadWritePaths=/srv/voice\n" in (tmp_path / UNIT).read_text(), "systemd lets the agent write there"
    set_up(tmp_path, force=True)
    assert "DEEPGRAM_API_KEY=dg-secret-1\n" in path.read_text()
    (copy,) = path.parent.glob("*.bak")
    assert (mode(copy), "old one" in copy.read_text()) == (0o600, True)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    status, said = set_up(tmp_path, dry_run=True)
    assert (status, everything(tmp_path)) == (0, {})
    for name in (ENV, UNIT, CONF, SITE):
        assert name in said
    set_up(tmp_path)
    (tmp_path / UNIT).write_text("mine\n")
    before = everything(tmp_path)
    assert "replaced" in set_up(tmp_path, force=True, dry_run=True)[1]
    assert everything(tmp_path) == before


def test_a_dry_run_shows_lines_that_would_change_and_no_keys(tmp_path: Path) -> None:
    set_up(tmp_path)
    (tmp_path / UNIT).write_text((tmp_path / UNIT).read_text().replace("WatchdogSec=30", "WatchdogSec=90"))
    (tmp_path / ENV).write_text("DEEPGRAM_API_KEY=another-secret\n")
    _, said = set_up(tmp_path, dry_run=True)
    assert "\n-WatchdogSec=90\n+WatchdogSec=30\n" in said
    assert "settings and keys: GROQ_API_KEY, CARTESIA_API_KEY, DATA_DIR" in said
    assert "secret" not in said


def test_who_does_not_agree_gets_nothing(tmp_path: Path) -> None:
    assert set_up(tmp_path, agree=lambda: False)[0] == 1
    assert everything(tmp_path) == {}


def test_missing_keys_are_named_and_have_their_place(tmp_path: Path) -> None:
    _, said = set_up(tmp_path, keys={"GROQ_API_KEY": "g" * 20})
    assert "no key yet: DEEPGRAM_API_KEY, CARTESIA_API_KEY" in said
    assert "console.deepgram.com" in said
    assert "\nDEEPGRAM_API_KEY=\n" in (tmp_path / ENV).read_text()


@pytest.mark.parametrize("calls", ["missed", "freepbx"])
def test_an_asterisk_elsewhere_gets_commands_to_copy(
    tmp_path: Path, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_why_not", lambda choices: "/etc/asterisk is not there")
    _, said = set_up(tmp_path, dialplan=Dialplan(calls))
    assert not any("asterisk" in name for name in everything(tmp_path))
    copies = [line.split() for line in said.splitlines() if line.strip().startswith("cp ")]
    assert len(copies) == 2
    assert all(Path(source).is_file() for _, source, _ in copies), "the command works as it stands"


def test_lines_that_asterisk_has_already_are_not_asked_for(tmp_path: Path) -> None:
    dialplan = Dialplan(people="PJSIP/100")
    _, said = set_up(tmp_path, dialplan=dialplan)
    assert "VOICE_AGENT_PEOPLE=PJSIP/100" in said
    extensions = tmp_path / "etc/asterisk/extensions.conf"
    extensions.write_text('[globals]\nVOICE_AGENT_PEOPLE => PJSIP/100\n#include "voice-agent.conf"\n')
    _, said = set_up(tmp_path, dialplan=dialplan)
    assert "exten => 9901,1,Goto(voice-agent,s,1)" in said
    assert "VOICE_AGENT_PEOPLE" not in said
    assert "#include voice-agent.conf" not in said
    assert "#include voice-agent-site.conf" in said
    assert extensions.read_text().count("\n") == 3, "it is not touched"
    with extensions.open("a") as file:
        file.write("[phones]\nexten => 77,1,Goto(voice-agent,s,1) ; to try\n")
    assert "9901" not in set_up(tmp_path, dialplan=dialplan)[1], "there is a number to try"


def test_numbers_are_in_the_site_file_and_stay(tmp_path: Path) -> None:
    set_up(tmp_path, dialplan=Dialplan("some", numbers=("02079460999", "+441614960999")))
    site = (tmp_path / SITE).read_text()
    lines = site[site.index("[voice-agent-some]") :].splitlines()[1:4]
    assert lines[0] == "exten => 02079460999,1,Goto(voice-agent,${EXTEN},1)"
    assert lines[1] == "exten => +441614960999,1,Goto(voice-agent,${EXTEN},1)"
    assert lines[2].startswith("exten => _[+0-9]."), "the others go to people"
    set_up(tmp_path, dialplan=Dialplan("missed"))
    assert (tmp_path / SITE).read_text() == site, "a run that says nothing of them does not undo them"


def test_freepbx_gets_a_file_of_its_own(tmp_path: Path) -> None:
    _, said = set_up(tmp_path, dialplan=Dialplan("freepbx"))
    assert {name for name in everything(tmp_path) if "asterisk" in name} == {
        CONF,
        "etc/asterisk/voice-agent-freepbx.conf",
    }
    assert "extensions_custom.conf" in said
    assert "#include voice-agent-freepbx.conf" in said
    assert "Custom Destinations" in said


def test_ports_of_the_file_are_those_that_asterisk_is_told(tmp_path: Path) -> None:
    path = tmp_path / ENV
    path.parent.mkdir(parents=True)
    path.write_text("LISTEN_PORT=9500\n")
    _, said = set_up(tmp_path)
    assert "VOICE_AGENT_AUDIO_PORT=9500" in said
    assert "VOICE_AGENT_AGI_PORT" not in said, "it is the default"


def test_an_instance_is_written_beside_the_first(tmp_path: Path) -> None:
    set_up(tmp_path)
    before = everything(tmp_path)
    _, said = set_up(tmp_path, host=Host(prefix=tmp_path, instance="two"), dialplan=None)
    new = set(everything(tmp_path)) - set(before)
    assert new == {"etc/voice-agent/two.env", "etc/systemd/system/voice-agent@.service"}
    assert "LISTEN_PORT=9199\n" in (tmp_path / "etc/voice-agent/two.env").read_text()
    assert "Set(VOICE_AGENT_AUDIO_PORT=9199)" in said
    assert "enable --now voice-agent@two" in said


def test_one_user_has_it_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    host = Host(system=False, prefix=tmp_path, home=Path("/home/ann"))
    _, said = set_up(tmp_path, host=host, dialplan=None)
    unit = (tmp_path / "home/ann/.config/systemd/user/voice-agent.service").read_text()
    assert "--env-file /home/ann/.config/voice-agent/voice-agent.env\n" in unit
    assert mode(tmp_path / "home/ann/.config/voice-agent/voice-agent.env") == 0o600
    assert "systemctl --user enable --now voice-agent" in said
    text = (tmp_path / "home/ann/.config/voice-agent/voice-agent.env").read_text()
    assert "DATA_DIR" not in text
    assert "After a change: systemctl --user reload voice-agent." in text


@pytest.mark.parametrize("wrong", ["PJSIP/100,20)\nexten => x", "PJSIP/100 & PJSIP/101", "${EVIL}"])
def test_people_that_dial_cannot_take_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="nothing for Dial"):
        Dialplan(people=wrong)


def test_a_file_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    (tmp_path / ENV).parent.mkdir(parents=True)
    (tmp_path / ENV).write_bytes(b"\xff\xfe\0")
    with pytest.raises(PlanError, match="cannot read"):
        set_up(tmp_path)
    assert set(everything(tmp_path)) == {ENV}


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    (tmp_path / "etc/asterisk").mkdir(parents=True)
    (tmp_path / SITE).symlink_to(victim)
    set_up(tmp_path, force=True)
    assert victim.read_text() == "precious\n"
    assert not (tmp_path / SITE).is_symlink()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    program = [sys.executable, "-m", "agent", "init", *arguments]
    environment = clean | environment
    return subprocess.run(
        program, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_the_command_takes_keys_of_the_environment(tmp_path: Path) -> None:
    done = run("--yes", "--prefix", str(tmp_path), "--people", "PJSIP/100", **KEYS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CARTESIA_API_KEY=sk_car_secret3\n" in (tmp_path / ENV).read_text()
    assert "\x1b" not in done.stdout, "plain where it is no terminal"
    assert all(key not in done.stdout for key in KEYS.values())
    assert set(json.loads((tmp_path / "etc/voice-agent/init.json").read_bytes())) == {
        f"/{name}" for name in (ENV, UNIT, CONF, SITE)
    }


def test_the_command_asks_nobody_where_nobody_is(tmp_path: Path) -> None:
    done = run("--prefix", str(tmp_path))
    assert done.returncode == 2
    assert "Give --yes" in done.stderr
    done = run("--yes", "--prefix", str(tmp_path), "--people", "a b")
    assert (done.returncode, "nothing for Dial" in done.stderr) == (2, True)
    done = run("--yes", "--prefix", str(tmp_path), DEEPGRAM_API_KEY="two\nlines")
    assert (done.returncode, "one line" in done.stderr) == (2, True)
    assert everything(tmp_path) == {}


def at_a_terminal(arguments: list[str], answers: list[tuple[str, str]], done: Callable[[str], None]) -> int:
    """Run it at a terminal of its own, and answer each question when it is there."""
    child, terminal = pty.fork()
    if child == 0:
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        os.execve(sys.executable, [sys.executable, "-m", "agent", "init", *arguments], clean | {"TERM": "xterm"})
    seen, asked, limit = "", 0, time.monotonic() + 40
    while time.monotonic() < limit:
        try:
            seen += os.read(terminal, 4096).decode()
        except OSError:  # it has ended
            break
        if answers and answers[0][0] in seen[asked:]:
            asked = len(seen)
            time.sleep(0.2)  # it says the question before it turns the echo off
            os.write(terminal, answers.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    done(seen)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_it_asks_at_a_terminal_and_does_not_show_keys(tmp_path: Path) -> None:
    (tmp_path / "asterisk").mkdir()
    seen: list[str] = []
    status = at_a_terminal(
        ["--prefix", str(tmp_path), "--asterisk-dir", str(tmp_path / "asterisk")],
        [
            ("Deepgram's API key", "dg-secret-1"),
            ("Groq's API key", "two words"),
            ("no space", "gsk_secret2"),
            ("Cartesia's API key", ""),
            ("Number", "1"),
            ("phones", "PJSIP/100"),
            ("Write this?", "y"),
        ],
        seen.append,
    )
    (text,) = seen
    assert status == 0, text
    assert "secret" not in text
    written = (tmp_path / ENV).read_text()
    assert "DEEPGRAM_API_KEY=dg-secret-1\nGROQ_API_KEY=gsk_secret2\nCARTESIA_API_KEY=\n" in written
    assert "context=voice-agent-all" in text


def test_a_no_at_the_terminal_writes_nothing(tmp_path: Path) -> None:
    questions = [("API key", "")] * 3 + [("Write this?", "n")]
    status = at_a_terminal(["--prefix", str(tmp_path), "--calls", "all"], questions, lambda seen: None)
    assert (status, everything(tmp_path)) == (1, {})
