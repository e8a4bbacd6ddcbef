"""Bookings that nobody made by telephone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.office.models import Booking
from agent.office.store import OfficeStore

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def booking(number: int, company_id: int | None = None, **changed: object) -> Booking:
    """The booking of that number, made so many minutes after noon."""
    values = {
        "id": f"BK-{number:08}",
        "company_id": company_id,
        "company_name": "Acme Plumbing",
        "customer_name": f"Customer {number}",
        "postcode": "M14 6BT",
        "address": f"{number} Acacia Avenue",
        "problem_description": "a leaking tap",
        "caller_id": "+447700900123",
        "fingerprint": "",
        "created_at": NOON + timedelta(minutes=number),
    }
    return Booking(**values | changed)


async def keep(store: OfficeStore, *bookings: Booking) -> None:
    """Put them into the database as they are."""
    async with store.bookings._sessions.begin() as session:
        session.add_all(bookings)
