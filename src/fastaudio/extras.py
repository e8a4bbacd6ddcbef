"""What to do about a package that only an extra brings along: the one place that says so."""

from __future__ import annotations

import sys
from pathlib import Path


def how_to_install(extra: str) -> str:
    """Return the advice for an extra of `pyproject.toml`, such as "local", for the environment that this is.

    pip finds the package itself installed, from a wheel or a clone, and adds what the extra names.
    """
    pip = Path(sys.prefix, "bin", "pip") if sys.prefix != sys.base_prefix else "pip"
    return f"run {pip} install 'fastaudio-agent[{extra}]'"
