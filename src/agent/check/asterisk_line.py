"""Asterisk's command line: by AMI where that is set, else by `asterisk -rx`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from agent.check.finding import at_once
from agent.check.subject import Subject
from agent.telephony.ami import AmiError, Manager

COMMAND_S = 4.0
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"
"""Where Asterisk is, and the path of a user who is not root may not lead."""
_UNREACHABLE = ("Unable to connect to remote asterisk", "Unable to read or write to remote asterisk")


class NoAsterisk(Exception):
    """Asterisk cannot be asked; the text says why, `mend` what to do."""

    def __init__(self, text: str, mend: str) -> None:
        super().__init__(text)
        self.mend = mend


@dataclass(frozen=True)
class Answers:
    """What it said, and by which way."""

    texts: Sequence[str]
    way: str
    trouble: str = ""
    """Why it was not the first way."""


async def ask_asterisk(subject: Subject, commands: Sequence[str]) -> Answers:
    """Its answer to each command. Raises `NoAsterisk`."""
    settings = subject.settings
    trouble = ""
    if settings.ami_host:
        manager = Manager(
            settings.ami_host,
            settings.ami_port,
            settings.ami_user,
            settings.ami_secret.get_secret_value(),
            timeout_s=COMMAND_S,
        )
        try:
            return Answers(await manager.commands(commands), "AMI")
        except AmiError as problem:
            trouble = str(problem)
        except TimeoutError:
            trouble = f"no answer within {COMMAND_S:g} s"
        except OSError as problem:
            trouble = problem.strerror or "the connection broke"
        trouble = f"AMI on {settings.ami_host}:{settings.ami_port}: {trouble}"
    name, *arguments = subject.host.asterisk_cli
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise NoAsterisk(
            trouble or "no Asterisk on this machine, and AMI_HOST is not set",
            "run voice-agent check on Asterisk's machine as root; or look there by hand: docs/install-asterisk.md",
        )
    try:
        return Answers(
            await at_once(*(asyncio.to_thread(_run, [found, *arguments, command]) for command in commands)),
            "asterisk -rx",
            trouble,
        )
    except NoAsterisk as problem:
        raise NoAsterisk(f"{trouble}; {problem}" if trouble else str(problem), problem.mend) from None


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
    except OSError as problem:
        raise NoAsterisk(f"{command[0]} cannot be run: {problem.strerror}", "run voice-agent check as root") from None
    except subprocess.TimeoutExpired:
        raise NoAsterisk(
            f"asterisk -rx said nothing for {COMMAND_S:g} s", "see that Asterisk is well: systemctl status asterisk"
        ) from None
    text = done.stdout.decode(errors="replace")
    if done.returncode or any(sign in text for sign in _UNREACHABLE):
        raise NoAsterisk(
            "asterisk -rx does not reach Asterisk",
            "run voice-agent check as root or the user asterisk; or start it: systemctl start asterisk",
        )
    return text
