"""CSV that a spreadsheet shows as it is: text that begins like a formula is text, whoever said it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet read a cell as a formula. (https://owasp.org/www-community/attacks/CSV_Injection)"""
_E164: Final = re.compile(r"\+[0-9]{2,15}")
"""Nothing that is calculated."""


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return lines of CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: object) -> object:
    formula = isinstance(cell, str) and cell.startswith(_FORMULA) and not _E164.fullmatch(cell)
    return f"'{cell}" if formula else cell
