"""The systemd unit of this host: the shipped one with this installation's paths in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from agent.setup.files import systemd_files

SHIPPED_PROGRAM = "/opt/voice-agent/bin/voice-agent"
STATE = Path("/var/lib/voice-agent")


def this_program() -> str:
    """The command `voice-agent` of this installation, as `ExecStart=` wants it: an absolute path."""
    beside = Path(sys.executable).absolute().parent / "voice-agent"
    return str(beside) if beside.is_file() else f"{Path(sys.executable).absolute()} -m agent"


def service_unit(name: str, program: str, env_file: str, directories: Iterable[Path] = ()) -> str:
    """The text of the unit `name` of `systemd_files()`.

    `env_file`: as `ExecStart=` has it. `directories`: where the settings have the agent write; those beside its
    StateDirectory are let through. Raises `ValueError` for a path that a unit cannot hold.
    """
    for path in (program, env_file, *map(str, directories)):
        if not path.isprintable() or any(character in path for character in "\"'\\$"):
            raise ValueError(f"systemd would not read the path {path!r} as it is: install somewhere else")
    text = (systemd_files() / name).read_text(encoding="utf-8")
    shipped = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    started = f"ExecStart={_word(program)} serve --env-file {_word(env_file)}"
    text = text.replace(shipped, started)
    if "ProtectSystem=strict" not in text:
        return text
    outside = sorted({path for path in directories if not path.is_relative_to(STATE)})
    if outside:
        let_through = "".join(f"ReadWritePaths={_word(str(path))}\n" for path in outside)
        text = text.replace("ProtectSystem=strict\n", f"ProtectSystem=strict\n{let_through}")
    if any(_is_at_home(Path(path)) for path in (program, *map(str, outside))):
        # What is installed or kept in a home directory must be seen there.
        text = text.replace("ProtectHome=yes\n", "ProtectHome=read-only\n")
    return text


def unreachable(program: str) -> Path | None:
    """The first directory on the way to the program that others may not enter, such as a home; None without one."""
    path = Path(program.removesuffix(" -m agent"))
    for parent in reversed(path.parents):
        try:
            if not parent.stat().st_mode & 0o001:
                return parent
        except OSError:
            return parent
    return None


def is_systemd_here() -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def _is_at_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user"))


def _word(text: str) -> str:
    """One word, or a program with its arguments, in a unit; `%` begins a specifier unless it is one of ours."""
    kept = text if text.startswith("%E/") or text.endswith("/%i.env") else text.replace("%", "%%")
    return f'"{kept}"' if " " in kept and not kept.endswith(" -m agent") else kept
