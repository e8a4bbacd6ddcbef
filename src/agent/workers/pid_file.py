"""Which process is the supervisor of a data directory, for `voice-agent roll`."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final

NAME: Final = "supervisor.pid"


class PidFile:
    """`with PidFile(directory):` it names this process. Its lock tells whether the process is alive.

    Raises OSError when it cannot be written. Where another supervisor has the directory, its file stays.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._descriptor = -1

    def __enter__(self) -> PidFile:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def supervisor_of(directory: Path) -> int | None:
    """The process that supervises the workers of this data directory; None when there is none."""
    try:
        with (directory / NAME).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError):
        pass
    return None
