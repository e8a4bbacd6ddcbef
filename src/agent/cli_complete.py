"""What the shell completes beside commands and options: names that are on this host.

It is asked while somebody types: nothing here imports much, waits, or fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
MOST_CALLS = 50
"""Records that are offered: the newest."""


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def conversations(incomplete: str) -> list[str]:
    """The packaged conversations, and those of CONVERSATIONS_DIR."""
    own = os.environ.get("CONVERSATIONS_DIR", "")
    directories = (HERE / "conversations", *((Path(own),) if own else ()))
    return _beginning(
        (file.parent.name for directory in directories for file in directory.glob("*/conversation.toml")), incomplete
    )


def scripts(incomplete: str) -> list[str]:
    """The packaged scripts of a simulated caller."""
    return _beginning((file.stem for file in (HERE / "sandbox" / "scripts").glob("*.call")), incomplete)


def callers_of(incomplete: str) -> list[str]:
    """The packaged scripted callers."""
    return _beginning((file.stem for file in (HERE / "sandbox" / "scenarios").glob("*/*.caller")), incomplete)


def recorded_calls(incomplete: str) -> list[str]:
    """The newest calls of DATA_DIR, by UUID."""
    directory = Path(os.environ.get("DATA_DIR") or "data") / "calls"
    return [path.stem for path in _newest(directory.glob(f"{incomplete}*.json"))] if _plain(incomplete) else []


def _plain(text: str) -> bool:
    return all(character.isalnum() or character == "-" for character in text)


def _newest(paths: Iterator[Path]) -> list[Path]:
    def changed(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(paths, key=changed, reverse=True)[:MOST_CALLS]
