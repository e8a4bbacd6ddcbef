"""CSV that a spreadsheet shows as it is: text that begins like a formula is text, whoever said it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet read a cell as a formula. (https://owasp.org/www-community/attacks/CSV_Injection)"""
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]+)?")
"""Also a telephone number in E.164: nothing that is calculated."""


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return lines of CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
