"""docs/failures.md says of each failure which test shows it: each of them exists, and no trial is left out."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from tests.chaos.rows import ROWS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failures.md"


def shown_by() -> list[str]:
    """What the last column names, row by row."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [line.strip("|").split("|")[-1] for line in lines if not line.startswith("| what happens")]
    assert all("`" in cell for cell in cells), "each row names a test"
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def exists(name: str) -> bool:
    if name.startswith("tests/"):
        file, _, test = name.partition("::")
        return (ROOT / file).is_file() and f"def {test}" in (ROOT / file).read_text("utf-8")
    return any(fnmatchcase(row.name, name) for row in ROWS)


def test_docs_failures_name_tests_that_exist() -> None:
    assert not [name for name in shown_by() if not exists(name)]


def test_docs_failures_leave_no_trial_out() -> None:
    named = shown_by()
    assert not [row.name for row in ROWS if not any(fnmatchcase(row.name, name) for name in named)]


def test_chaos_rows_have_names_of_their_own_and_every_part_of_the_table() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.part for row in ROWS} == {
        "Deepgram", "Groq", "Cartesia", "context API", "booking API", "full", "stopping", "crashed", "abuse",
    }  # fmt: skip
