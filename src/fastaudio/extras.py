"""What to do about a package that only an extra brings along: the one place that says so."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return the advice for an extra of `pyproject.toml`, such as "local"; the package comes from a clone."""
    return f"run pip install '.[{extra}]' in the clone"
