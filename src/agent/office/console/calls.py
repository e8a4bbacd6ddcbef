"""The console's list of past calls: searched, filtered, page by page, and as a file."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError

from agent.office.archive import CallRow, Snippet
from agent.office.console import call_words
from agent.office.console.access import audit, needs, user_of
from agent.office.console.call_filters import PERIODS, Filters
from agent.office.console.parts import parts_of
from agent.office.console.render import render
from agent.office.console.streams import stream
from agent.office.csv_text import csv_lines

log = logging.getLogger(__name__)

PAGE: Final = 50
EXPORT_PAGE: Final = 200
MOST_EXPORTED: Final = 20_000
"""Calls in one file: the newest ones."""
COLUMNS: Final = (
    "uuid", "started", "company", "caller_id", "caller_name", "did", "outcome", "booking_id", "seconds", "turns",
    "interruptions", "latency_ms", "cost", "currency", "ended_by", "recording",
)  # fmt: skip


def add_pages(app: web.Application) -> None:
    """Add the list and its two kinds of file."""
    app.router.add_get("/calls", page)
    app.router.add_get("/calls.csv", as_csv)
    app.router.add_get("/calls.jsonl", as_json_lines)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """One page of calls, newest first."""
    store, scope = parts_of(request).store, user_of(request).scope
    filters = _filters(request)
    try:
        found = await store.archive.find(filters.query, scope)
    except ValueError:  # a cursor that is none
        raise web.HTTPSeeOther(filters.address()) from None
    companies = await store.companies.names(scope)
    return render(
        request,
        "calls.html",
        calls=found.rows,
        next=filters.address(before=found.next) if found.next else "",
        first=filters.address() if filters.before else "",
        filters=filters,
        chips=filters.chips(companies),
        companies=companies,
        periods=PERIODS,
        words=call_words,
        marked=marked,
        most_exported=MOST_EXPORTED,
    )


@needs("viewer")
async def as_csv(request: web.Request) -> web.StreamResponse:
    """What the filters choose, for a spreadsheet."""

    def lines(rows: Sequence[CallRow]) -> bytes:
        return csv_lines([_cells(row)[name] for name in COLUMNS] for row in rows).encode()

    # The mark at the beginning makes a spreadsheet read UTF-8.
    return await _export(request, "csv", "text/csv", b"\xef\xbb\xbf" + csv_lines([COLUMNS]).encode(), lines)


@needs("viewer")
async def as_json_lines(request: web.Request) -> web.StreamResponse:
    """What the filters choose, one JSON object a line."""

    def lines(rows: Sequence[CallRow]) -> bytes:
        return b"".join(orjson.dumps(_cells(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    return await _export(request, "jsonl", "application/jsonl", b"", lines)


def marked(snippet: Snippet) -> Markup:
    """A piece of a transcript with the words that were looked for marked; all of it is escaped."""
    parts, at = [Markup("")], 0
    for begin, end in snippet.marks:
        parts += [Markup("{}<mark>{}</mark>").format(snippet.text[at:begin], snippet.text[begin:end])]
        at = end
    return Markup("").join([*parts, Markup("{}").format(snippet.text[at:])])


# ---- files ----------------------------------------------------------------------------------------------------------


async def _export(
    request: web.Request, ending: str, kind: str, head: bytes, lines: Callable[[Sequence[CallRow]], bytes]
) -> web.StreamResponse:
    """Send the chosen calls as they are read, a page at a time: neither side holds all of them."""
    filters = _filters(request)
    response = web.StreamResponse(
        headers={
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Disposition": f'attachment; filename="calls.{ending}"',
        }
    )
    response.enable_compression()
    with stream(request):
        try:
            async for rows in _pages(request, filters):
                if not response.prepared:
                    audit(request, f"exported calls as {ending}")
                    await response.prepare(request)
                    await response.write(head)
                await response.write(lines(rows))
        except SQLAlchemyError as error:
            if not response.prepared:
                raise
            log.error("calls cannot be read to their end: %s", type(error).__name__)
            # A file that ends early must not look whole: the connection breaks off.
            raise ConnectionAbortedError("the export broke off") from error
        await response.write_eof()
    return response


async def _pages(request: web.Request, filters: Filters) -> AsyncIterator[Sequence[CallRow]]:
    """The rows of all pages up to the limit; at least one page, which may be empty."""
    store, scope = parts_of(request).store, user_of(request).scope
    query, left = replace(filters.query, before="", limit=EXPORT_PAGE), MOST_EXPORTED
    while left > 0:
        found = await store.archive.find(query, scope)
        yield found.rows[:left]
        left -= len(found.rows)
        if not found.next:
            return
        query = replace(query, before=found.next)


def _cells(row: CallRow) -> dict[str, object]:
    return {
        "uuid": row.uuid,
        "started": row.started.isoformat(timespec="seconds"),
        "company": row.company_name,
        "caller_id": row.caller_id,
        "caller_name": row.caller_name,
        "did": row.did,
        "outcome": row.outcome,
        "booking_id": row.booking_id,
        "seconds": round(row.seconds, 1),
        "turns": row.turn_count,
        "interruptions": row.barge_ins,
        "latency_ms": row.latency_ms,
        "cost": round(row.cost, 6),
        "currency": row.currency,
        "ended_by": row.ended_by,
        "recording": bool(row.recording),
    }


def _filters(request: web.Request) -> Filters:
    return Filters.of(request.query, parts_of(request).settings.zone, limit=PAGE)
