"""The systemd units: systemd itself reads them, and says how much harm a service of theirs could do."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from agent.ops.settings import Settings
from agent.setup import systemd_files
from agent.setup.host import Host
from agent.setup.unit import service_unit, unreachable

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: apt-get install systemd")
UNITS = ("voice-agent.service", "voice-agent@.service", "voice-agent-user.service")
EXPOSURE = 3.0


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    command = [ANALYZE, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:  # --user wants one
        environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": folder, "HOME": folder}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def a_unit(folder: Path, name: str) -> Path:
    """The unit with a program that is there, as init would write it."""
    program = folder / "voice-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = folder / name.replace("@.", "@two.").replace("-user", "")
    unit.write_text(service_unit(name, str(program), str(folder / "an.env"), [Path("/srv/recordings")]))
    return unit


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    scope = ["--user"] if "user" in name else []
    done = analyze(*scope, "verify", "--man=no", "--recursive-errors=no", a_unit(tmp_path, name))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_what_is_wrong(tmp_path: Path) -> None:
    unit = a_unit(tmp_path, "voice-agent.service")
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=soon"))
    assert (
        "Failed to parse sec value, ignoring: soon"
        in analyze("verify", "--man=no", "--recursive-errors=no", unit).stderr
    )


def exposure(unit: Path) -> float:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize("name", ["voice-agent.service", "voice-agent@.service"])
def test_a_service_of_the_system_is_little_exposed(tmp_path: Path, name: str) -> None:
    unit = a_unit(tmp_path, name)
    assert exposure(unit) < EXPOSURE
    kept = [line for line in unit.read_text().splitlines() if not re.match("Protect|Capability|SystemCall", line)]
    unit.write_text("\n".join(kept) + "\n")
    assert exposure(unit) > EXPOSURE, "without its walls it would be"


def lines_of(name: str) -> list[str]:
    return (systemd_files() / name).read_text().splitlines()


def test_instances_are_hardened_as_the_first_is() -> None:
    first, instance = lines_of("voice-agent.service"), lines_of("voice-agent@.service")
    differ = {line for pair in zip(first, instance, strict=True) if pair[0] != pair[1] for line in pair}
    for line in differ:
        assert line.startswith(("#", "Description=", "ExecStart=", "StateDirectory=")), line


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_what_the_agent_expects(name: str) -> None:
    values = dict(line.split("=", 1) for line in lines_of(name) if "=" in line and not line.startswith("#"))
    assert values["Type"] == "notify"
    assert values["NotifyAccess"] == "main"
    assert values["KillMode"] == "mixed", "workers are told by the one that they belong to"
    assert values["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert values["RestartPreventExitStatus"] == "2", "`voice-agent serve` leaves with 2 over a wrong setting"
    assert int(values["WatchdogSec"]) >= 15, "a host that stands still for seconds ends no calls"
    grace = Settings.model_fields["stop_grace_seconds"].default
    assert int(values["TimeoutStopSec"]) >= grace + 25, "docs/operations.md: grace, goodbyes, and what is behind them"


def test_paths_of_this_host_are_in_it() -> None:
    unit = service_unit(
        "voice-agent.service", "/srv/va/bin/voice-agent", "/etc/voice-agent/voice-agent.env",
        [Path("/var/lib/voice-agent/recordings"), Path("/srv/recordings")],
    )  # fmt: skip
    assert "ExecStart=/srv/va/bin/voice-agent serve --env-file /etc/voice-agent/voice-agent.env\n" in unit
    assert "ReadWritePaths=/srv/recordings\n" in unit
    assert unit.count("ReadWritePaths=") == 1, "the state directory is let through anyway"
    assert "ProtectHome=yes" in unit
    at_home = service_unit("voice-agent.service", "/home/ann/venv/bin/voice-agent", "/etc/x.env")
    assert "ProtectHome=read-only" in at_home, "else the program would not be seen"


@pytest.mark.parametrize("path", ['/srv/a"b', "/srv/a\nUser=root", "/srv/$HOME", "/srv/a\\b", "/srv/a'b"])
def test_a_path_that_a_unit_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="systemd would not read"):
        service_unit("voice-agent.service", path, "/etc/x.env")
    with pytest.raises(ValueError, match="systemd would not read"):
        service_unit("voice-agent.service", "/bin/x", "/etc/x.env", [Path(path)])


def test_a_percent_sign_is_no_specifier() -> None:
    unit = service_unit("voice-agent@.service", "/srv/100%/voice-agent", "/etc/voice-agent/%i.env")
    assert "ExecStart=/srv/100%%/voice-agent serve --env-file /etc/voice-agent/%i.env\n" in unit


def test_an_instance_has_its_own_file_data_and_ports(tmp_path: Path) -> None:
    (tmp_path / "etc/voice-agent").mkdir(parents=True)
    (tmp_path / "etc/voice-agent/voice-agent.env").touch()
    host = Host(prefix=tmp_path, instance="two")
    assert str(host.env_file) == "/etc/voice-agent/two.env"
    assert host.service == "voice-agent@two"
    assert host.defaults["DATA_DIR"] == "/var/lib/voice-agent/two"
    assert host.defaults["LISTEN_PORT"] == "9199"
    assert "--env-file /etc/voice-agent/%i.env" in host.unit(host.defaults, "/bin/x").text
    assert "ReadWritePaths" not in host.unit(host.defaults, "/bin/x").text


@pytest.mark.parametrize("name", ["../two", "Two", "two.env", "", "voice-agent"])
def test_an_instance_is_named_plainly(name: str) -> None:
    if name:
        with pytest.raises(ValueError):
            Host(instance=name)
    else:
        assert Host(instance=name).service == "voice-agent"


def test_a_home_that_is_closed_is_found(tmp_path: Path) -> None:
    (tmp_path / "closed" / "venv" / "bin").mkdir(parents=True)
    tmp_path.chmod(0o755)
    program = str(tmp_path / "closed" / "venv" / "bin" / "voice-agent")
    for mode, found in ((0o700, tmp_path / "closed"), (0o711, None)):
        (tmp_path / "closed").chmod(mode)
        closed = unreachable(program)
        assert closed is None or closed in (found, *tmp_path.parents), "pytest's own directories may be closed, too"
        assert (closed == found) or closed in tmp_path.parents
