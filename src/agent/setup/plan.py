"""Files that are to be written, what stands in their place, and what becomes of each: nobody's edits are lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

Action = Literal["create", "update", "same", "kept", "replace"]
"""`update`: nobody's words are lost. `kept`: somebody's would be. `replace`: they are, and a copy is kept."""


class PlanError(Exception):
    """A file cannot be read or written; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be there.

    `path`: as the host has it, below the prefix. `text`: all of it. `mode`: its permissions. `ours`: owned by the
    agent's user where there is one. `merged`: `text` is what is there, and more. `once`: where there is one already, it
    is the user's.
    """

    path: Path
    text: str
    what: str
    mode: int = 0o644
    ours: bool = False
    merged: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one file."""

    wanted: Wanted
    action: Action
    before: str | None = None

    @property
    def writes(self) -> bool:
        """Whether the file changes."""
        return self.action in ("create", "update", "replace")


class Written:
    """What earlier runs wrote, by path, as a digest: tells our own words from somebody's edits."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._digests: dict[str, str] = {}
        with contextlib.suppress(OSError, orjson.JSONDecodeError):
            known = orjson.loads(file.read_bytes())
            self._digests = {str(path): str(digest) for path, digest in known.items()}

    def is_ours(self, path: Path, text: str) -> bool:
        """Whether `text` is what was written there."""
        return self._digests.get(str(path)) == _digest(text)

    def note(self, path: Path, text: str) -> None:
        """Remember that it was written there."""
        self._digests[str(path)] = _digest(text)

    def keep(self) -> None:
        """Write it down."""
        content = orjson.dumps(self._digests, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        _write(self._file, content.decode() + "\n", 0o644)


def planned(files: Sequence[Wanted], prefix: Path, written: Written, *, force: bool) -> list[Step]:
    """What is to be done about each. Raises `PlanError` for a file that is there and cannot be read."""
    return [_step(wanted, prefix, written, force=force) for wanted in files]


def _step(wanted: Wanted, prefix: Path, written: Written, *, force: bool) -> Step:
    before = read(below(prefix, wanted.path))
    if before is None:
        return Step(wanted, "create")
    if before == wanted.text:
        return Step(wanted, "same", before)
    if not force and (wanted.merged or (written.is_ours(wanted.path, before) and not wanted.once)):
        return Step(wanted, "update", before)
    return Step(wanted, "replace" if force else "kept", before)


def carried_out(steps: Sequence[Step], prefix: Path, written: Written, own: Callable[[Path], None]) -> dict[Path, Path]:
    """Write what the steps say, each file at once or not at all; `own` gives one to the agent's user.

    Returns where the backups are, by path. Raises `PlanError`.
    """
    backups = {}
    try:
        for step in steps:
            path = below(prefix, step.wanted.path)
            if step.before is not None and step.action == "replace":
                backups[step.wanted.path] = _backed_up(path, step.before, own if step.wanted.ours else None)
            if step.writes:
                _write(path, step.wanted.text, step.wanted.mode, own if step.wanted.ours else None)
            if step.action != "kept":
                written.note(step.wanted.path, step.wanted.text)
        written.keep()
    except OSError as error:
        raise PlanError(f"cannot write {error.filename or 'a file'}: {error.strerror or error}") from error
    return backups


def below(prefix: Path, path: Path) -> Path:
    """Where `path` of the host is, below a prefix."""
    return prefix / path.relative_to("/")


def read(path: Path) -> str | None:
    """The text of a file; None if there is none. Raises `PlanError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _backed_up(path: Path, text: str, own: Callable[[Path], None] | None) -> Path:
    backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
    _write(backup, text, path.stat().st_mode & 0o777, own)
    return backup


def _write(path: Path, text: str, mode: int, own: Callable[[Path], None] | None = None) -> None:
    """Put a whole file in its place: whoever reads meanwhile has the old one or the new one."""
    for directory in reversed([parent for parent in path.parents if not parent.exists()]):
        directory.mkdir()
        directory.chmod(0o755)  # whatever the umask: the service's user goes through it
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    try:
        # A name that is new, so that nothing that lies there is followed; private from the first byte on.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if own is not None:
            own(beside)
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names whose values differ, for those who may not see the values."""
    return [name for name in after if before.get(name, "") != after[name]]
