"""The service's own user, and the directories that are its."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from agent.setup.plan import PlanError
from agent.setup.unit import STATE

USER = "voice-agent"
STATE_MODE = 0o711
"""As StateDirectoryMode= of the unit: Asterisk's user goes through it to the directory of the AGI script."""


def is_there() -> bool:
    """Whether the user exists."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def make_user() -> None:
    """Add the user, without a password or a shell; raises `PlanError` when that fails."""
    program = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise PlanError(f"useradd is missing: add the system user {USER} by hand, then run this again")
    command = [program, "--system", "--user-group", "--home-dir", str(STATE), "--no-create-home"]
    done = subprocess.run([*command, "--shell", "/usr/sbin/nologin", USER], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlanError(f"cannot add the user {USER}: {done.stderr.strip() or done.returncode}")


def own(path: Path) -> None:
    """Give a file or directory to the user."""
    entry = pwd.getpwnam(USER)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def make_state_directory() -> None:
    """Make the directory of the agent's data, if it is not there; systemd would do it at the first start."""
    if not STATE.is_dir():
        STATE.mkdir(parents=True, mode=0o700)
        own(STATE)
        STATE.chmod(STATE_MODE)
