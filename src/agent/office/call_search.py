"""Finding calls: a page at a time, newest first, each page as quick as the first.

Words are looked up in an index of each database's own (`SEARCH_INDEX`), which holds beside a call's words its company
and its outcome as words that nobody can type, so that a rare company's calls are found among many that fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Label, Select, func, literal_column, or_, select, table, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent.office.call_query import MOST_ROWS, CallPage, CallQuery, CallRow, Snippet
from agent.office.database import SEARCH_INDEX
from agent.office.models import Call, CallText, CallTurn
from agent.office.scope import Scope
from agent.office.words import Term, snippet_of, terms_of
from agent.telephony.numbers import normalise_number

MOST_INDEXED = 20_000
"""Different words of a call that it can be found by: hours of talk."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COLUMNS: tuple[Any, ...] = (
    *(Call.uuid, Call.company_id, Call.company_name, Call.did, Call.caller_id, Call.caller_name, Call.started),
    *(Call.seconds, Call.outcome, Call.ended_by, Call.booking_id, Call.turn_count, Call.barge_ins, Call.latency_ms),
    *(Call.cost, Call.currency, Call.recording, Call.erased_at),
)


def place_of(moment: datetime) -> int:
    """A moment as a call's place in time, which `CallText.id` is made of."""
    return (moment - _EPOCH) // _MICROSECOND


def index_text(words: Iterable[str], company_id: int | None, outcome: str) -> str:
    """What is written into `CallText.words`."""
    different = list(dict.fromkeys(words))[:MOST_INDEXED]
    return " ".join([*different, _company_word(company_id), _outcome_word(outcome)])


async def find(engine: AsyncEngine, query: CallQuery, scope: Scope, *, region: str) -> CallPage:
    """Return a page of calls, newest first. Raises `ValueError` for a cursor that is none."""
    scope = scope.narrowed(query.company_id)
    terms = terms_of(query.text, region)
    limit = min(max(1, query.limit), MOST_ROWS)
    async with engine.connect() as connection:
        statement = _by_words(connection, query, scope, terms) if terms else _by_time(query)
        statement = _narrowed(statement, query, scope, region)
        rows = (await connection.execute(statement.limit(limit + 1))).all()
        shown = rows[:limit]
        snippets = await _snippets(connection, [row.uuid for row in shown], terms) if terms else {}
    following = ""
    if len(rows) > limit:
        last = shown[-1]
        following = str(last.place) if terms else f"{place_of(last.started)}.{last.uuid}"
    return CallPage(tuple(_row(row, snippets.get(row.uuid)) for row in shown), following)


def _by_time(query: CallQuery) -> Select[*tuple[Any, ...]]:
    statement: Select[*tuple[Any, ...]] = select(*_COLUMNS).order_by(Call.started.desc(), Call.uuid.desc())
    if query.before:
        place, _, uuid = query.before.partition(".")
        moment = _EPOCH + _whole(place) * _MICROSECOND
        # The first condition is what an index can begin at.
        statement = statement.where(Call.started <= moment, tuple_(Call.started, Call.uuid) < tuple_(moment, uuid))
    if query.since is not None:
        statement = statement.where(Call.started >= query.since)
    if query.until is not None:
        statement = statement.where(Call.started < query.until)
    return statement


def _by_words(
    connection: AsyncConnection, query: CallQuery, scope: Scope, terms: Sequence[Term]
) -> Select[*tuple[Any, ...]]:
    groups = [
        *terms,
        *([Term((_outcome_word(query.outcome),))] if query.outcome else []),
        *([Term(tuple(_company_word(one) for one in sorted(scope.company_ids)))] if scope.company_ids else []),
    ]
    statement: Select[*tuple[Any, ...]]
    place: Label[int]
    if connection.dialect.name == "sqlite":
        index = table(SEARCH_INDEX)
        place = literal_column(f"{SEARCH_INDEX}.rowid").label("place")
        # A plain join might begin with the calls; the index goes from the newest on, and stops when the page is full.
        statement = (
            select(*_COLUMNS, place)
            .select_from(index)
            .join(CallText, place == CallText.id)
            .join(Call, Call.uuid == CallText.call_uuid)
            .where(text(f"{SEARCH_INDEX} MATCH :wanted").bindparams(wanted=_fts5(groups)))
        )
    else:
        place = CallText.id.label("place")
        indexed = func.array_to_tsvector(func.string_to_array(CallText.words, literal_column("' '")))
        statement = (
            select(*_COLUMNS, place)
            .select_from(CallText)
            .join(Call, Call.uuid == CallText.call_uuid)
            .where(indexed.op("@@")(text("CAST(CAST(:wanted AS text) AS tsquery)").bindparams(wanted=_tsquery(groups))))
        )
    if query.before:
        statement = statement.where(place.element < _whole(query.before))
    # A call may stand a little after its time, never before.
    if query.since is not None:
        statement = statement.where(place.element >= place_of(query.since), Call.started >= query.since)
    if query.until is not None:
        statement = statement.where(Call.started < query.until)
    return statement.order_by(place.element.desc())


def _narrowed(
    statement: Select[*tuple[Any, ...]], query: CallQuery, scope: Scope, region: str
) -> Select[*tuple[Any, ...]]:
    statement = statement.where(scope.where(Call.company_id))
    if query.outcome:
        statement = statement.where(Call.outcome == query.outcome)
    if query.number:
        number = normalise_number(query.number, region)
        statement = statement.where(or_(Call.caller_id == number, Call.did == number))
    if query.interrupted is not None:
        statement = statement.where(Call.barge_ins > 0 if query.interrupted else Call.barge_ins == 0)
    if query.slower_than_ms is not None:
        statement = statement.where(Call.latency_ms > query.slower_than_ms)
    if query.with_recording is not None:
        statement = statement.where(Call.recording != "" if query.with_recording else Call.recording == "")
    return statement


async def _snippets(connection: AsyncConnection, uuids: Sequence[str], terms: list[Term]) -> dict[str, Snippet | None]:
    """Where the words are in what was said, by call."""
    said: dict[str, list[tuple[str, str]]] = {uuid: [] for uuid in uuids}
    query = (
        select(CallTurn.call_uuid, CallTurn.caller, CallTurn.agent)
        .where(CallTurn.call_uuid.in_(uuids))
        .order_by(CallTurn.call_uuid, CallTurn.position)
    )
    for uuid, caller, agent in await connection.execute(query):
        said[uuid] += (("caller", caller), ("agent", agent))
    return {uuid: snippet_of(texts, terms) for uuid, texts in said.items()}


def _row(row: Any, snippet: Snippet | None) -> CallRow:
    return CallRow(
        **{column.key: getattr(row, column.key) for column in _COLUMNS if column.key != "erased_at"},
        erased=row.erased_at is not None,
        snippet=snippet,
    )


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


def _company_word(company_id: int | None) -> str:
    return f"_c{company_id or 0}"


def _outcome_word(outcome: str) -> str:
    return "_o" + "".join(letter for letter in outcome.lower() if letter.isascii() and letter.isalnum())


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 17):
        raise ValueError("this is no cursor of a page of calls")
    return int(text)
