"""Finding bookings by words: what each is found by is written with it, whoever writes it.

Its words are those of its ID, its customer, its place, its problem, its numbers and its note, and beside them its state
and its company, as words that nobody can type. What is erased by a bulk statement takes them along itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import phonenumbers
from sqlalchemy import Connection, event, update
from sqlalchemy.orm import Mapper

from agent.office.database import insert_into
from agent.office.models import Booking, BookingText
from agent.office.word_index import company_word, place_of
from agent.office.words import code_words, number_words, words_of


def index_text(booking: Booking) -> str:
    """What is written into `BookingText.words`."""
    return " ".join(dict.fromkeys([*_words(booking), company_word(booking.company_id), state_word(booking.state)]))


def state_word(state: str) -> str:
    """Found in bookings of a state."""
    return f"_b{state}"


def _words(booking: Booking) -> Iterator[str]:
    yield from code_words(booking.id)
    yield from code_words(booking.postcode)
    for text in (booking.customer_name, booking.address, booking.problem_description, booking.note or ""):
        yield from words_of(text)
    for number in (booking.caller_id, booking.phone):
        yield from number_words(number or "", _region_of(number or ""))


def _region_of(number: str) -> str:
    """The region that a number in full belongs to: it is written down as it is dialled within it, too."""
    try:
        country_code = phonenumbers.parse(number).country_code
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.region_code_for_country_code(country_code or 0)


@event.listens_for(Booking, "after_insert")
def _write(_mapper: Mapper[Any], connection: Connection, booking: Booking) -> None:
    """Put it at the booking's place in time, or at the next one that is free."""
    place, words = place_of(booking.created_at), index_text(booking)
    statement = insert_into(connection.dialect.name, BookingText).on_conflict_do_nothing(index_elements=["id"])
    while not connection.execute(statement, {"id": place, "booking_id": booking.id, "words": words}).rowcount:
        place += 1


@event.listens_for(Booking, "after_update")
def _write_anew(mapper: Mapper[Any], connection: Connection, booking: Booking) -> None:
    changing = update(BookingText).where(BookingText.booking_id == booking.id).values(words=index_text(booking))
    if not connection.execute(changing).rowcount:
        _write(mapper, connection, booking)  # one that was erased, and has a note now
