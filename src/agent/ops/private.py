"""Files that hold what a caller said: readable by their owner alone, in directories that nobody else enters."""

from __future__ import annotations

import os
from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make `path` with mode 0700, and what is missing above it. One that is there stays as it is: it is the user's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, content: bytes | str) -> None:
    """Write `path` anew with mode 0600, whatever it was before; text as UTF-8."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content.encode() if isinstance(content, str) else content)
