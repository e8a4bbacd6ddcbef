"""Looking rows up by words, the newest first: an index of each database's own over a table of words.

Such a table has an ID that is a place in time, and words as `agent.office.words` writes them; `_` and letters begin
words that nobody can type, for what a row is narrowed by beside its words. SQLite has FTS5 over it, PostgreSQL a GIN
index; the migrations make both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Label, Subquery, func, literal_column, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.office.models import BookingText, CallText
from agent.office.words import Term

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table of words and its index, as a statement asks them."""

    source: FromClause
    place: Label[int]
    """The row's ID: order by `place.element`."""
    condition: ColumnElement[bool]


def lookup(
    connection: AsyncConnection, index: str, texts: type[CallText | BookingText], groups: Iterable[Term]
) -> Lookup:
    """Whose words fit all of `groups`, by the index."""
    place: Label[int]
    if connection.dialect.name == "sqlite":
        found = table(index)
        place = literal_column(f"{index}.rowid").label("place")
        # A plain join might begin with what the words are of; the index goes from the newest on, and stops when the
        # page is full.
        matches: Any = text(f"{index} MATCH :wanted").bindparams(wanted=_fts5(groups))
        return Lookup(found.join(texts, place.element == texts.id), place, matches)
    return Lookup(texts.__table__, texts.id.label("place"), _fits(texts.words, groups))


def among(rows: Subquery, groups: Iterable[Term]) -> Lookup:
    """Which of some rows of such a table fit, each looked at; for PostgreSQL."""
    return Lookup(rows, rows.c.id.label("place"), _fits(rows.c.words, groups))


def _fits(words: Any, groups: Iterable[Term]) -> ColumnElement[bool]:
    wanted = text("CAST(CAST(:wanted AS text) AS tsquery)").bindparams(wanted=_tsquery(groups))
    return func.call_words_vector(words).op("@@")(wanted)


def place_of(moment: datetime) -> int:
    """A moment as a place in time, us since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(place: int) -> datetime:
    """The moment of a place in time."""
    return _EPOCH + place * _MICROSECOND


def company_word(company_id: int | None) -> str:
    """Found in what is a company's; None stands for no known one."""
    return f"_c{company_id or 0}"


def _fts5(groups: Iterable[Term]) -> str:
    """In FTS5's language; words are of letters, digits and _ alone, and in quotes they are no operators."""
    return " AND ".join(
        "(" + " OR ".join(f'"{word}"{"*" if group.beginning else ""}' for word in group.spellings) + ")"
        for group in groups
    )


def _tsquery(groups: Iterable[Term]) -> str:
    """In PostgreSQL's language, under the same rule."""
    return " & ".join(
        "(" + " | ".join(f"'{word}'{':*' if group.beginning else ''}" for word in group.spellings) + ")"
        for group in groups
    )
