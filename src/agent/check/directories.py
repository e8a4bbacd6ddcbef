"""Where data goes: whether it can be written, who else may read it, and for how long the disk lasts."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import stat
from pathlib import Path

from agent.check.finding import Finding, Findings, error, ok, warning
from agent.check.subject import Subject
from agent.ops.settings import Settings

LEAST_BYTES = 1 << 30
BYTES_A_SAMPLE = {"wav": 4.0, "flac": 1.9, "opus": 0.65}
"""Of a stereo recording: the most that docs/operations.md, "Recordings", has measured."""
SETGID_GROUP = 0o2770


async def directories(subject: Subject) -> Findings:
    """Each directory of the settings: there, writable by the agent's user, entered by nobody else."""
    settings = subject.settings
    private = {
        "DATA_DIR": settings.data_dir,
        "RECORDS_DIR": settings.records,
        "RECORDINGS_DIR": settings.recordings,
    }
    uid = _agent_user(subject)
    for name, path in private.items():
        yield _directory(name, path, uid)
    yield _metadata(settings, uid)
    if os.access(settings.data_dir, os.R_OK | os.X_OK):
        for finding in await asyncio.to_thread(_data_files, settings.data_dir):
            yield finding


def _data_files(directory: Path) -> list[Finding]:
    """The databases are the owner's of the directory, and nobody else's."""
    findings = []
    owner = directory.stat().st_uid
    for file in (*directory.glob("*.sqlite3*"), *directory.glob("usage.json")):
        facts = file.stat()
        mode = stat.S_IMODE(facts.st_mode)
        if mode & 0o077:
            text = f"{file} may be read by others (mode {mode:04o}): it holds names and numbers"
            findings.append(warning("data-mode", text, f"chmod 600 {file}"))
        if facts.st_uid != owner:
            text = f"{file} belongs to {_owner(file)}, its directory to {_owner(directory)}: one of them cannot use it"
            findings.append(error("data-owner", text, f"chown {_owner(directory)}: {file}"))
    return findings


async def disk(subject: Subject) -> Findings:
    """How much room there is, and how many hours of calls that records."""
    settings = subject.settings
    place = _nearest(settings.recordings)
    try:
        free = shutil.disk_usage(place).free
    except OSError as problem:
        yield error("disk", f"{place}: {problem.strerror}", "see that DATA_DIR is on a disk that is mounted")
        return
    gigabytes = f"{free / 1e9:.1f} GB are free at {place}"
    hourly = 3600 * settings.sample_rate * BYTES_A_SAMPLE[settings.recording_format]
    hours = free / hourly
    told = (
        f"{gigabytes}: {_round(hours)} hours of calls as {settings.recording_format}"
        if settings.record_calls
        else gigabytes
    )
    if free < LEAST_BYTES:
        yield error("disk", told, "make room: a full disk ends recordings, and bookings cannot be kept")
    elif settings.record_calls and hours < 24:
        yield warning("disk", told, "make room, shorten RETENTION_DAYS, or set RECORDING_FORMAT=flac")
    else:
        yield ok("disk", told)


def _round(hours: float) -> str:
    return f"{hours:.0f}" if hours < 100 else f"{hours / 100:.0f}00"


def _directory(name: str, path: Path, uid: int) -> Finding:
    label = name.lower().replace("_", "-")
    if not path.exists():
        above = _nearest(path)
        if os.access(above, os.W_OK | os.X_OK):
            return ok(label, f"{path} will be made when the agent starts")
        return error(label, f"{path} is not there and cannot be made", f"install -d -m 700 -o {_user(uid)} {path}")
    if not path.is_dir():
        return error(label, f"{path} is no directory", f"name another {name}")
    if not _may_use(path, uid):
        return error(
            label,
            f"{path} belongs to {_owner(path)}, and {_user(uid)} may not write it",
            f"run voice-agent check as {_owner(path)}, as the agent must run; or chown -R {_user(uid)} {path}",
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o066:  # 0711 lets Asterisk's user pass on its way to METADATA_DIR, and list nothing
        return warning(label, f"{path} may be read by others (mode {mode:04o})", f"chmod go-rw {path}")
    return ok(label, f"{path}, mode {mode:04o}, of {_owner(path)}")


def _metadata(settings: Settings, uid: int) -> Finding:
    path = settings.metadata
    if not path.exists():
        return ok("metadata-dir", f"{path} is not there, which only the AGI script needs")
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    group = _group(facts.st_gid)
    mend = (
        f"groupadd -f --system voice-agent-calls; install -d -m 2770 -g voice-agent-calls {path}; "
        "usermod -aG voice-agent-calls for both asterisk and the agent's user, and restart both"
    )
    if mode & 0o007:
        return error("metadata-dir", f"{path} may be used by others (mode {mode:04o}): the script refuses it", mend)
    if mode != SETGID_GROUP:
        return error(
            "metadata-dir",
            f"{path} has mode {mode:04o}: files of the AGI script do not get the group that the agent reads by",
            mend,
        )
    if not _may_use(path, uid):
        return error("metadata-dir", f"{_user(uid)} may not read {path}, which belongs to the group {group}", mend)
    if _is_user("asterisk") and not _in_group(pwd.getpwnam("asterisk").pw_uid, facts.st_gid):
        return error("metadata-dir", f"the user asterisk is not in the group {group} of {path}", mend)
    return ok("metadata-dir", f"{path}, mode {mode:04o}, group {group}")


def _nearest(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _owner(path: Path) -> str:
    try:
        uid = _nearest(path).stat().st_uid
        return pwd.getpwuid(uid).pw_name
    except (OSError, KeyError):
        return "its user"


def _agent_user(subject: Subject) -> int:
    """Who runs the agent. Root may do anything: what counts is the user whose env file it is."""
    if os.geteuid() == 0 and subject.env_file is not None and subject.env_file.exists():
        return subject.env_file.stat().st_uid
    return os.geteuid()


def _may_use(path: Path, uid: int) -> bool:
    """Whether a user may read, write and enter a directory."""
    if uid == os.geteuid():
        return os.access(path, os.R_OK | os.W_OK | os.X_OK)
    facts = path.stat()
    shift = 6 if facts.st_uid == uid else 3 if _in_group(uid, facts.st_gid) else 0
    return stat.S_IMODE(facts.st_mode) >> shift & 7 == 7


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _in_group(uid: int, gid: int) -> bool:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return False
    return gid in os.getgrouplist(user.pw_name, user.pw_gid)
