"""Bookings: the list with its filters, one booking, the list as CSV, and what the outbox could not hand over yet."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from agent.office.bookings import BookingQuery
from agent.office.console.access import audit, needs, user_of
from agent.office.console.asked import address, day_of, span_of, text_of, whole_of
from agent.office.console.forms import form_of, say_later
from agent.office.console.parts import parts_of
from agent.office.console.render import render, zone_of
from agent.office.console.streams import stream
from agent.office.kept import KeptBooking, KeptBookings
from agent.office.models import BOOKING_STATES, Booking
from agent.tools.outbox import OutboxError

log = logging.getLogger(__name__)

STATES: Mapping[str, tuple[str, str]] = {
    "new": ("New", "info"),
    "confirmed": ("Confirmed", "accent"),
    "done": ("Done", "good"),
    "cancelled": ("Cancelled", ""),
}
"""How each of `BOOKING_STATES` is called, and the kind of its badge."""
KEPT_STATES: Mapping[str, tuple[str, str]] = {
    "waiting": ("Waiting", "info"),
    "sending": ("Being sent", "info"),
    "held": ("Held up", "warn"),
    "refused": ("Refused", "bad"),
    "uncertain": ("Uncertain", "warn"),
}
NO_SUCH = "There is no such booking, or it belongs to a company that is not among yours."


def add_pages(app: web.Application) -> None:
    """Add the list, its CSV, one booking and what can be done to it."""
    app.router.add_get("/bookings", page)
    app.router.add_get("/bookings.csv", export)
    app.router.add_post("/bookings/kept", act_on_kept)
    app.router.add_get("/bookings/{id:[A-Za-z0-9-]{1,16}}", booking_page)
    app.router.add_post("/bookings/{id:[A-Za-z0-9-]{1,16}}", change)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """The newest bookings first; above them those that nobody has accepted yet."""
    parts, user = parts_of(request), user_of(request)
    companies = parts.store.companies
    names, zones = await companies.names(user.scope), await companies.zones(user.scope)
    query, filters = _query(request, zones)
    try:
        found = await parts.store.bookings.find(query, user.scope)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"This address is not whole: {error}.") from None
    # Counting takes as long as looking at every booking where words are looked for.
    counts = {} if query.text else await parts.store.bookings.counts(query, user.scope)
    kept, trouble = await _kept(request)
    return render(
        request,
        "bookings.html",
        bookings=found.rows,
        names=names,
        zones=zones,
        filters=filters,
        states=STATES,
        counts=counts,
        narrowed=any(value for name, value in filters.items() if name != "before"),
        older=address("/bookings", filters | {"before": found.next}) if found.next else "",
        newest=address("/bookings", filters | {"before": ""}) if query.before else "",
        csv=address("/bookings.csv", filters | {"before": ""}),
        address=address,
        kept=kept,
        kept_states=KEPT_STATES,
        trouble=trouble,
    )


@needs("viewer")
async def export(request: web.Request) -> web.StreamResponse:
    """The bookings of the list's filters as a CSV file, a page of them at a time."""
    parts, user = parts_of(request), user_of(request)
    zones = await parts.store.companies.zones(user.scope)
    query, _ = _query(request, zones)
    zone = _zone(request, query.company_id, zones)
    audit(request, "took bookings away as CSV")
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="bookings.csv"',
        }
    )
    with stream(request):
        await response.prepare(request)
        try:
            # The mark at its beginning tells spreadsheets that it is UTF-8.
            await response.write("\ufeff".encode())
            async for text in parts.store.bookings.csv(query, user.scope, zone=zone):
                await response.write(text.encode())
        except SQLAlchemyError as error:
            log.exception("bookings cannot be read to their end")
            # A file that ends early must not look whole: the connection breaks off.
            raise ConnectionAbortedError("the export broke off") from error
        await response.write_eof()
    return response


@needs("viewer")
async def booking_page(request: web.Request) -> web.StreamResponse:
    """One booking, who changed it, and the call that it was made in."""
    return await _booking(request)


@needs("operator")
async def change(request: web.Request) -> web.StreamResponse:
    """Another state, another note, or both."""
    form, user = form_of(request), user_of(request)
    try:
        booking = await parts_of(request).store.bookings.change(
            request.match_info["id"], user.scope, who=user.name, state=form.get("state"), note=form.get("note")
        )
    except ValueError as error:
        return await _booking(request, str(error))
    if booking is None:
        raise web.HTTPNotFound(text=NO_SUCH)
    audit(request, f"changed the booking {booking.id}, now {booking.state}")
    say_later(request, "The note is saved." if "note" in form else f"{booking.id} is {booking.state}.")
    raise web.HTTPSeeOther(f"/bookings/{booking.id}")


@needs("operator")
async def act_on_kept(request: web.Request) -> web.StreamResponse:
    """Send a booking of the outbox again, or set it aside."""
    form, user = form_of(request), user_of(request)
    key, reason = form.get("key", ""), form.get("reason", "")
    kept = _kept_bookings(request)
    try:
        if form.get("do") == "drop":
            if not reason:
                raise web.HTTPBadRequest(text="Say why it is set aside, such as “booked by hand”.")
            done = await kept.drop(key, user.scope, f"{reason} ({user.name})")
        else:
            done = await kept.retry(key, user.scope)
    except OutboxError as error:
        say_later(request, f"That cannot be done: {error}.", "bad")
        raise web.HTTPSeeOther("/bookings") from None
    if not done:
        raise web.HTTPNotFound(text=NO_SUCH)
    audit(request, f"{'set aside' if form.get('do') == 'drop' else 'sent again'} the kept booking {key[:12]}")
    if form.get("do") == "drop":
        say_later(request, "It is set aside, and what the caller said is erased from the outbox.")
    else:
        say_later(request, "It is sent again within seconds by a running agent.")
    raise web.HTTPSeeOther("/bookings")


async def _booking(request: web.Request, problem: str = "") -> web.Response:
    parts, user = parts_of(request), user_of(request)
    booking = await parts.store.bookings.get(request.match_info["id"], user.scope)
    if booking is None:
        raise web.HTTPNotFound(text=NO_SUCH)
    zones = await parts.store.companies.zones(user.scope)
    call = await parts.store.archive.get(booking.call_uuid, user.scope) if booking.call_uuid else None
    return render(
        request,
        "booking.html",
        status=400 if problem else 200,
        booking=booking,
        note=form_of(request).get("note", "") if problem else booking.note,
        number=_number(booking),
        changes=await parts.store.bookings.changes(booking.id, user.scope),
        call=call,
        zone=zones.get(booking.company_id or 0, ""),
        states=STATES,
        problem=problem,
    )


def _number(booking: Booking) -> str:
    """Where the customer can be rung: the number that they gave, else the one that they rang from."""
    return booking.phone or booking.caller_id


def _query(request: web.Request, zones: Mapping[int, str]) -> tuple[BookingQuery, dict[str, object]]:
    """What the address asks for, and the same as it goes into links."""
    company_id = whole_of(request, "company")
    first, last = day_of(request, "from"), day_of(request, "to")
    since, until = span_of(first, last, _zone(request, company_id, zones))
    state = text_of(request, "state")
    state = state if state in BOOKING_STATES else ""
    text, before = text_of(request, "q"), text_of(request, "before")
    filters: dict[str, object] = {
        "q": text,
        "state": state,
        "company": company_id or "",
        "from": first or "",
        "to": last or "",
        "before": before,
    }
    return BookingQuery(text, state, company_id, since, until, before), filters


def _zone(request: web.Request, company_id: int | None, zones: Mapping[int, str]) -> ZoneInfo:
    """The zone of the company that is asked for, of the only one there is, or the agent's."""
    name = zones.get(company_id or 0, "") or (next(iter(zones.values())) if len(zones) == 1 else "")
    return zone_of(name, parts_of(request).settings.zone)


def _kept_bookings(request: web.Request) -> KeptBookings:
    parts = parts_of(request)
    return KeptBookings(parts.settings.data_dir, parts.store.companies)


async def _kept(request: web.Request) -> tuple[list[KeptBooking], str]:
    try:
        return list(await _kept_bookings(request).open(user_of(request).scope)), ""
    except OutboxError as error:
        return [], str(error)
