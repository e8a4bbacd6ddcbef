"""Finding calls: a page at a time, newest first, each page as quick as the first.

Words are looked up in an index of each database's own (`CALL_WORDS`), which holds beside a call's words its company
and its outcome as words that nobody can type, so that a rare company's calls are found among many that fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    literal_column,
    or_,
    select,
    tuple_,
    union,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent.office.call_query import MOST_ROWS, CallPage, CallQuery, CallRow, Snippet
from agent.office.database import CALL_WORDS
from agent.office.models import Call, CallText, CallTurn
from agent.office.scope import Scope
from agent.office.word_index import among, company_word, lookup, moment_of, place_of
from agent.office.words import Term, snippet_of, terms_of
from agent.telephony.numbers import normalise_number

MOST_INDEXED = 20_000
"""Different words of a call that it can be found by: hours of talk."""
SLOW_MS = (500, 1000, 2000, 4000)
"""Calls that were slower are found as such among those that have a word."""
NEWEST = 400
"""PostgreSQL's index of words finds all that fit before it sorts them. Where a page can be filled from so many of the
newest calls, those are looked through instead."""
MOST_LISTS = 60
"""Of so many companies, the newest calls of each are looked up; of more, those of all are gone through."""
_COLUMNS: tuple[Any, ...] = (
    *(Call.uuid, Call.company_id, Call.company_name, Call.did, Call.caller_id, Call.caller_name, Call.started),
    *(Call.seconds, Call.outcome, Call.ended_by, Call.booking_id, Call.turn_count, Call.barge_ins, Call.latency_ms),
    *(Call.cost, Call.currency, Call.recording, Call.erased_at),
)


def index_text(words: Iterable[str], company_id: int | None, outcome: str, latency_ms: int | None) -> str:
    """What is written into `CallText.words`."""
    different = list(dict.fromkeys(words))[:MOST_INDEXED]
    slow = [_slow_word(limit) for limit in SLOW_MS if latency_ms is not None and latency_ms > limit]
    return " ".join([*different, company_word(company_id), _outcome_word(outcome), *slow])


async def find(engine: AsyncEngine, query: CallQuery, scope: Scope, *, region: str) -> CallPage:
    """Return a page of calls, newest first. Raises `ValueError` for a cursor that is none."""
    scope = scope.narrowed(query.company_id)
    number = normalise_number(query.number, region)
    terms = terms_of(query.text, region)
    limit = min(max(1, query.limit), MOST_ROWS)
    if scope.company_ids is not None and not scope.company_ids:
        return CallPage((), "")
    async with engine.connect() as connection:
        rows: Sequence[Any] = ()
        if terms and connection.dialect.name == "postgresql":
            statement = _by_words(connection, query, scope, number, terms, NEWEST)
            rows = (await connection.execute(statement.limit(limit + 1))).all()
        if len(rows) <= limit:
            if terms:
                statement = _by_words(connection, query, scope, number, terms)
            else:
                statement = _by_time(query, scope, number, limit + 1)
            rows = (await connection.execute(statement.limit(limit + 1))).all()
        # The words of a call name its company as it was then; a call whose company is another or none now is not shown.
        shown = [row for row in rows[:limit] if scope.allows(row.company_id)]
        snippets = await _snippets(connection, [row.uuid for row in shown], terms) if terms else {}
    following = ""
    if len(rows) > limit:
        last = rows[limit - 1]
        following = str(last.place) if terms else f"{place_of(last.started)}.{last.uuid}"
    return CallPage(tuple(_row(row, snippets.get(row.uuid)) for row in shown), following)


def _by_time(query: CallQuery, scope: Scope, number: str, limit: int) -> Select[*tuple[Any, ...]]:
    """First which calls, out of the indexes alone, then those.

    A list that has no index in its own order is put together of some that have: the newest of each company, or of each
    way in which a number can be a call's.
    """
    conditions = [*_narrowing(query), *_cursor(query)]
    if query.since is not None:
        conditions.append(Call.started >= query.since)
    if query.until is not None:
        conditions.append(Call.started < query.until)
    lists: list[ColumnElement[bool]]
    if query.number:
        conditions.append(_whatever_index(scope))
        lists = [Call.caller_id == number, *([Call.did == number] if number else [])]
    elif scope.company_ids is None or len(scope.company_ids) > MOST_LISTS:
        lists = [_whatever_index(scope)]
    else:
        lists = [Call.company_id == one for one in sorted(scope.company_ids)]
    newest = [
        select(Call.started, Call.uuid)
        .where(of_list, *conditions)
        .order_by(Call.started.desc(), Call.uuid.desc())
        .limit(limit)
        .subquery()
        for of_list in lists
    ]
    found = union(*(select(one.c.started, one.c.uuid) for one in newest)).subquery() if newest[1:] else newest[0]
    return (
        select(*_COLUMNS)
        .select_from(found)
        .join(Call, Call.uuid == found.c.uuid)
        .order_by(found.c.started.desc(), found.c.uuid.desc())
    )


def _cursor(query: CallQuery) -> list[ColumnElement[bool]]:
    if not query.before:
        return []
    place, _, uuid = query.before.partition(".")
    moment = moment_of(_whole(place))
    # The first condition is what an index can begin at.
    return [Call.started <= moment, tuple_(Call.started, Call.uuid) < tuple_(moment, uuid)]


def _whatever_index(scope: Scope) -> ColumnElement[bool]:
    """The scope as a condition that no index is chosen for."""
    return scope.where(Call.company_id + literal_column("0"))


def _by_words(
    connection: AsyncConnection,
    query: CallQuery,
    scope: Scope,
    number: str,
    terms: Sequence[Term],
    newest: int | None = None,
) -> Select[*tuple[Any, ...]]:
    """By the index of words; or, with `newest`, among so many of the newest calls."""
    groups = [
        *terms,
        *([Term((_outcome_word(query.outcome),))] if query.outcome else []),
        *([Term(tuple(company_word(one) for one in sorted(scope.company_ids)))] if scope.company_ids else []),
        *([Term((number[1:],))] if number.startswith("+") else []),
        *[Term((_slow_word(limit),)) for limit in SLOW_MS if limit <= (query.slower_than_ms or 0)][-1:],
    ]
    if newest is None:
        found, call_uuid = lookup(connection, CALL_WORDS, CallText, groups), CallText.__table__.c.call_uuid
    else:
        recent = select(CallText.id, CallText.call_uuid, CallText.words).order_by(CallText.id.desc()).limit(newest)
        if query.before:
            recent = recent.where(CallText.id < _whole(query.before))
        if scope.company_ids is not None:
            recent = recent.join(Call, Call.uuid == CallText.call_uuid).where(_whatever_index(scope))
        rows = recent.subquery()
        found, call_uuid = among(rows, groups), rows.c.call_uuid
    place = found.place
    statement: Select[*tuple[Any, ...]] = (
        select(*_COLUMNS, place).select_from(found.source).join(Call, Call.uuid == call_uuid).where(found.condition)
    )
    if query.before:
        statement = statement.where(place.element < _whole(query.before))
    # A call may stand a little after its time, never before.
    if query.since is not None:
        statement = statement.where(place.element >= place_of(query.since), Call.started >= query.since)
    if query.until is not None:
        statement = statement.where(Call.started < query.until)
    if query.number:
        statement = statement.where(or_(Call.caller_id == number, Call.did == number))
    # Which company is among the words: as a condition on the calls it would lead a planner to begin with them.
    return statement.where(*_narrowing(query)).order_by(place.element.desc())


def _narrowing(query: CallQuery) -> list[ColumnElement[bool]]:
    """What a query asks beside words, time, number and company. Constants are written out where an index has them."""
    conditions: list[ColumnElement[bool]] = []
    if query.outcome:
        conditions.append(Call.outcome == query.outcome)
    if query.interrupted is not None:
        conditions.append(Call.barge_ins > 0 if query.interrupted else Call.barge_ins == 0)
    if query.slower_than_ms is not None:
        conditions.append(Call.latency_ms > query.slower_than_ms)
    if query.with_recording is not None:
        nothing: ColumnElement[str] = literal_column("''")
        conditions.append(Call.recording != nothing if query.with_recording else Call.recording == nothing)
    return conditions


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


def _slow_word(limit_ms: int) -> str:
    return f"_s{limit_ms}"


def _outcome_word(outcome: str) -> str:
    return "_o" + "".join(letter for letter in outcome.lower() if letter.isascii() and letter.isalnum())


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 17):
        raise ValueError("this is no cursor of a page of calls")
    return int(text)
