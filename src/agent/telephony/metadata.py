"""Call metadata files: how the AGI script, which has no connection to the agent, announces a call.

One JSON object a call, `<uuid>.json`, mode 0640, in a directory of mode 2770 whose group holds Asterisk and the
agent. The script writes it under another name and renames it, so that it is whole as soon as it is seen.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import re
import stat
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

from agent.telephony.registry import CallInfo
from agent.telephony.texts import call_info

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 8192
"""The script writes well under 2 KB: a larger file was not written by it."""

_NAME = re.compile(
    r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.json"
    r"|\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.[0-9]+\.tmp)"
)
"""Files that are the script's, finished or not: nothing else is ever removed."""


class _RefusedError(Exception):
    """A file breaks a rule; `reason` is the name that is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class MetadataDirectory:
    """The directory of metadata files; methods do a few short system calls each and never wait.

    `counters` holds `read`, `swept` and one `bad_<reason>` for each reason that a file was refused:
    `mode`, `kind`, `size`, `json`, `uuid`, `unreadable`.
    """

    def __init__(self, path: Path, *, orphan_s: float = 120.0) -> None:
        self.path = path
        self.counters: Counter[str] = Counter()
        self._orphan_s = orphan_s

    def take(self, uuid: UUID) -> CallInfo | None:
        """Read and remove the file of one call; None when there is none, or it breaks a rule (counted, removed)."""
        path = self.path / f"{uuid}.json"
        try:
            document = _document(path, uuid)
        except FileNotFoundError:
            return None
        except _RefusedError as error:
            self.counters[f"bad_{error.reason}"] += 1
            log.warning("metadata file %s is refused: %s", path.name, error)
            self._remove(path)
            return None
        self._remove(path)
        self.counters["read"] += 1
        texts = {key: value for key, value in document.items() if isinstance(value, str)}
        return call_info(uuid, texts, "file")

    def sweep(self) -> int:
        """Remove files that no call has come for; their number. Only the script's own names are touched."""
        removed = 0
        try:
            names = os.listdir(self.path)
        except OSError:
            return 0
        oldest = time.time() - self._orphan_s
        for name in names:
            if _NAME.fullmatch(name) is None:
                continue
            path = self.path / name
            try:
                if path.lstat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except OSError:
                continue
        self.counters["swept"] += removed
        return removed

    def problems(self) -> list[str]:
        """What an administrator must mend before the script can announce calls here; empty when all is well."""
        try:
            status = self.path.stat()
        except OSError as error:
            return [f"{self.path}: {error.strerror}: create it with install -d -m 2770 -g GROUP {self.path}"]
        if not stat.S_ISDIR(status.st_mode):
            return [f"{self.path} is not a directory"]
        problems = []
        mode = stat.S_IMODE(status.st_mode)
        if mode != 0o2770:
            problems.append(f"{self.path} has mode {mode:04o}, must be 2770: run chmod 2770 {self.path}")
        if os.geteuid() not in (0, status.st_uid) and status.st_gid not in {os.getegid(), *os.getgroups()}:
            try:
                group = grp.getgrgid(status.st_gid).gr_name
            except KeyError:
                group = str(status.st_gid)
            problems.append(f"{self.path} belongs to group {group}, which the agent's user is not in")
        return problems

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("metadata file %s cannot be removed: %s", path.name, error.strerror)


def _document(path: Path, uuid: UUID) -> dict[str, Any]:
    """The JSON object of one file. Raises `FileNotFoundError`, or `_RefusedError` when it breaks a rule."""
    try:
        # Neither a symbolic link nor a FIFO may lead or hold the agent elsewhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _RefusedError("unreadable", f"{error.strerror}: is the agent in the directory's group?") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _RefusedError("kind", "not a regular file")
        mode = stat.S_IMODE(status.st_mode)
        if mode & ~0o640:
            raise _RefusedError("mode", f"mode {mode:04o}, must be 0640 or stricter")
        raw = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_FILE_BYTES:
        raise _RefusedError("size", f"longer than {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _RefusedError("json", "not JSON") from None
    if not isinstance(document, dict) or str(document.get("uuid", "")).lower() != str(uuid):
        raise _RefusedError("uuid", "the UUID inside is not that of the name")
    return document
