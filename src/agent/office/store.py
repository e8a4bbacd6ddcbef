"""The back office's questions and answers over its database."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from alembic.util.exc import CommandError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from agent.office import availability
from agent.office.archive import CallArchive
from agent.office.availability import Urgency
from agent.office.bookings import Bookings
from agent.office.companies import Companies
from agent.office.company_form import CompanyForm
from agent.office.database import close_engine, create_engine, reading, unusable, upgrade_engine
from agent.office.figures import Figures
from agent.office.models import Booking, Caller, Company, Number, utc_now
from agent.office.recipients import Recipients
from agent.office.users import Users
from agent.office.visitors import Visitors
from agent.telephony.numbers import is_phone_number, normalise_number

SAME_CALL = timedelta(seconds=10)
"""A caller first seen within this time is still on the first call: a repeated question about it changes nothing."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, so that a booking's ID survives being read out."""


class IdempotencyConflict(ValueError):
    """The idempotency key was used before, for a booking of other content."""


@dataclass(frozen=True, slots=True)
class NewCompany:
    """What a company is made of; the fields are those of `models.Company`."""

    name: str
    trade_type: str
    trade_label: str
    callout_fee: str
    numbers: tuple[str, ...] = ()
    area: str = ""
    greeting: str = ""
    timezone: str = "Europe/London"
    voice_id: str = ""
    keyterms: tuple[str, ...] = ()
    transfer_targets: Mapping[str, str] = field(default_factory=dict)
    recording: bool = True
    conversation: str = ""
    language: str = ""
    areas: tuple[str, ...] = ()
    crews: int = 0
    instructions: str = ""
    opening_hours: Mapping[str, list[list[str]]] = field(default_factory=dict)
    recording_notice: str = ""


@dataclass(frozen=True, slots=True)
class NewBooking:
    """What is asked for in a booking. `did_number`, else `company_name`, says whose it is."""

    customer_name: str
    postcode: str
    address: str
    problem_description: str
    company_name: str = ""
    did_number: str = ""
    caller_id: str = ""
    phone: str = ""
    call_uuid: str = ""

    def fingerprint(self) -> str:
        """Return a digest of the content: equal for the same request sent again.

        What is empty is left out, so that a field added by a newer version does not make it another request.
        """
        content = {name: value for name, value in asdict(self).items() if value}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class OfficeStore:
    """Companies, callers and bookings. Open with `await OfficeStore.open(url)`; use as an async context manager."""

    def __init__(self, engine: AsyncEngine, *, region: str = "GB", timezone: str = "Europe/London") -> None:
        """Wrap an engine whose schema is up to date. `region` reads numbers without a country code."""
        self._engine = engine
        self._sessions = self.sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = async_sessionmaker(reading(engine), expire_on_commit=False)
        self._region = region
        self._timezone = timezone
        self.archive = CallArchive(engine, region=region, timezone=timezone)
        self.figures = Figures(engine)
        self.companies = Companies(engine, region=region)
        self.bookings = Bookings(engine, region=region)
        self.users = Users(engine)
        self.recipients = Recipients(self._reading, region=region)
        self._visitors = Visitors(engine)

    @classmethod
    async def open(cls, url: str, *, region: str = "GB", timezone: str = "Europe/London") -> Self:
        """Open the database at `url` and bring its schema up to date.

        `timezone` is the one of callers to no known company. Raises `DatabaseError` when the URL or the
        database that it names cannot be used.
        """
        try:
            engine = create_engine(url)
            try:
                await upgrade_engine(engine)
            except BaseException:
                await close_engine(engine)
                raise
        except (OSError, SQLAlchemyError, sqlite3.Error, CommandError) as error:
            raise unusable(url, error) from error
        return cls(engine, region=region, timezone=timezone)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction of its own, for what fills a database."""
        return self._sessions.begin()

    async def close(self) -> None:
        """Close every connection, once the last callers are remembered."""
        await self.settled()
        await close_engine(self._engine)

    async def settled(self) -> None:
        """Wait until the callers of all questions so far are remembered."""
        await self._visitors.settled()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def add_company(self, new: NewCompany) -> int:
        """Add a company, or bring the one of the same name up to date; return its ID.

        Numbers that it had and that `new` leaves out are taken away. Raises `BadCompanyError`, which names what is
        wrong field by field, such as a number that belongs to another company.
        """
        return await self.companies.put(CompanyForm.read(asdict(new), region=self._region))

    async def list_companies(self) -> list[tuple[Company, tuple[str, ...]]]:
        """Return every company with its numbers, by name."""
        async with self._reading() as session:
            companies = list(await session.scalars(select(Company).order_by(Company.name)))
            numbers: dict[int, list[str]] = {}
            for number in await session.scalars(select(Number).order_by(Number.e164)):
                numbers.setdefault(number.company_id, []).append(number.e164)
        return [(company, tuple(numbers.get(company.id, ()))) for company in companies]

    async def did_context(self, did: str, caller_id: str, *, now: datetime | None = None) -> dict[str, Any]:
        """Return what the agent needs to know to answer `did` for `caller_id`, ready for JSON.

        A DID of no known company gives "Home Services", "general". The caller is remembered for the company, so
        that the next call finds `repeat_caller` true; the same question within `SAME_CALL` is the same call. A phone
        is ringing: nothing is written before the answer, which waits for no other writer.
        """
        moment = now or utc_now()
        caller = normalise_number(caller_id, self._region)[:64]
        async with self._reading() as session:
            company = await self._company_of(session, did)
            if company is None:
                return self._unknown_company(caller)
            first_seen = await session.scalar(
                select(Caller.first_seen).where(Caller.company_id == company.id, Caller.number == caller)
            )
        repeat = first_seen is not None and moment - first_seen > SAME_CALL
        if caller:
            self._visitors.seen(company.id, caller, moment)
        return {
            "company_id": company.id,
            "company_name": company.name,
            "trade_type": company.trade_type,
            "trade_label": company.trade_label,
            "callout_fee": company.callout_fee,
            "area": company.area,
            "greeting": company.greeting,
            "timezone": company.timezone,
            "caller_id": caller,
            "repeat_caller": repeat,
            "transfer_targets": company.transfer_targets,
            "voice_id": company.voice_id,
            "keyterms": company.keyterms,
            "recording": company.recording,
            "conversation": company.conversation,
            "language": company.language,
            "instructions": company.instructions,
            "opening_hours": company.opening_hours,
            "recording_notice": company.recording_notice,
        }

    async def create_booking(self, new: NewBooking, *, idempotency_key: str | None = None) -> tuple[Booking, bool]:
        """Make a booking, once for each `idempotency_key`; return it and whether it is new.

        Raises `IdempotencyConflict` when the key stands for a booking of other content.
        """
        new = replace(new, caller_id=normalise_number(new.caller_id, self._region))
        if new.phone and is_phone_number(new.phone, self._region):
            new = replace(new, phone=normalise_number(new.phone, self._region))
        try:
            async with self._sessions.begin() as session:
                if idempotency_key is not None:
                    earlier = await self._booking_of_key(session, idempotency_key)
                    if earlier is not None:
                        return self._same(earlier, new), False
                booking = await self._new_booking(session, new, idempotency_key)
                session.add(booking)
            return booking, True
        except IntegrityError:
            # Another process made it between our question and our answer.
            if idempotency_key is None:
                raise
            async with self._reading() as session:
                earlier = await self._booking_of_key(session, idempotency_key)
            if earlier is None:
                raise
            return self._same(earlier, new), False

    async def availability(
        self, postcode: str, urgency: Urgency, *, did: str = "", company_name: str = "", now: datetime | None = None
    ) -> dict[str, Any]:
        """Return whether the company of `did`, else of that name, can come to `postcode`, and how soon.

        Of no known company, nothing is known that would keep it from coming.
        """
        moment = now or utc_now()
        async with self._reading() as session:
            company = await self._company_of(session, did) or await self._company_named(session, company_name)
            if company is None:
                return availability.answer(postcode, urgency, areas=(), crews=0, booked=(), now=moment)
            recent = moment - availability.LONGEST_WAIT - availability.VISIT
            booked = await session.scalars(
                select(Booking.created_at).where(Booking.company_id == company.id, Booking.created_at >= recent)
            )
            return availability.answer(
                postcode, urgency, areas=company.areas, crews=company.crews, booked=booked, now=moment
            )

    async def find_booking(self, booking_id: str) -> Booking | None:
        """Return the booking of that ID (in either case), or None."""
        async with self._reading() as session:
            return await session.get(Booking, booking_id.strip().upper())

    async def list_bookings(self, *, limit: int = 100, call_uuid: str | None = None) -> list[Booking]:
        """Return the newest bookings first, at most `limit`; only those of one call when `call_uuid` is given."""
        query = select(Booking).order_by(Booking.created_at.desc(), Booking.id).limit(limit)
        if call_uuid is not None:
            query = query.where(Booking.call_uuid == call_uuid)
        async with self._reading() as session:
            return list(await session.scalars(query))

    async def _company_of(self, session: AsyncSession, did: str) -> Company | None:
        e164 = normalise_number(did, self._region)
        if not e164:
            return None
        return await session.scalar(select(Company).join(Number).where(Number.e164 == e164))

    @staticmethod
    async def _company_named(session: AsyncSession, name: str) -> Company | None:
        return await session.scalar(select(Company).where(Company.name == name)) if name else None

    def _unknown_company(self, caller: str) -> dict[str, Any]:
        return {
            "company_id": None,
            "company_name": "Home Services",
            "trade_type": "general",
            "trade_label": "tradesperson",
            "callout_fee": "",
            "area": "",
            "greeting": "",
            "timezone": self._timezone,
            "caller_id": caller,
            "repeat_caller": False,
            "transfer_targets": {},
            "voice_id": "",
            "keyterms": [],
            "recording": True,
            "conversation": "",
            "language": "",
            "instructions": "",
            "opening_hours": {},
            "recording_notice": "",
        }

    @staticmethod
    async def _booking_of_key(session: AsyncSession, key: str) -> Booking | None:
        return await session.scalar(select(Booking).where(Booking.idempotency_key == key))

    @staticmethod
    def _same(earlier: Booking, new: NewBooking) -> Booking:
        if earlier.fingerprint != new.fingerprint():
            raise IdempotencyConflict("this idempotency key was used for a booking of other content")
        return earlier

    async def _new_booking(self, session: AsyncSession, new: NewBooking, key: str | None) -> Booking:
        company = await self._company_of(session, new.did_number)
        if company is None:
            company = await self._company_named(session, new.company_name)
        return Booking(
            id="BK-" + "".join(secrets.choice(_CROCKFORD) for _ in range(8)),
            company_id=company.id if company else None,
            company_name=new.company_name or (company.name if company else ""),
            caller_id=new.caller_id,
            phone=new.phone,
            customer_name=new.customer_name,
            postcode=new.postcode,
            address=new.address,
            problem_description=new.problem_description,
            call_uuid=new.call_uuid,
            idempotency_key=key,
            fingerprint=new.fingerprint(),
            created_at=utc_now(),
        )


async def add_companies(store: OfficeStore, companies: Iterable[NewCompany]) -> None:
    """Add or bring up to date each of `companies`."""
    for company in companies:
        await store.add_company(company)
