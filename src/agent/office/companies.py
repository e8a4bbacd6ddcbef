"""Companies as the console edits them: listed, added, changed by one person at a time, taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from agent.office.company_form import BadCompanyError, CompanyForm, Problem
from agent.office.database import reading
from agent.office.models import Call, Company, Number
from agent.office.scope import Scope
from agent.office.webhook_signature import new_secret

_STORED = tuple(name for name in CompanyForm.model_fields if name != "numbers")


class StaleCompanyError(RuntimeError):
    """Somebody else has changed the company since it was looked at."""


class NoSuchCompanyError(LookupError):
    """There is no such company, or it is not for this user."""


@dataclass(frozen=True, slots=True)
class StoredCompany:
    """A company as it stands; `seen` goes back with what is saved, so that nobody's change is lost."""

    id: int
    form: CompanyForm
    seen: str
    created_at: datetime
    webhook_secret: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class CompanyRow:
    """One line of the list of companies."""

    id: int
    name: str
    trade_type: str
    timezone: str
    recording: bool
    opening_hours: Mapping[str, Sequence[Sequence[str]]]
    numbers: tuple[str, ...]
    calls: int = 0
    """Since the moment that was asked for."""
    last_call: datetime | None = None
    """Of those."""


class Companies:
    """The companies of a database. What `scope` does not let a user see is not there for them."""

    def __init__(self, engine: AsyncEngine, *, region: str = "GB") -> None:
        """`region` (ISO 3166) reads numbers without a country code."""
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = async_sessionmaker(reading(engine), expire_on_commit=False)
        self.region = region

    async def list(self, scope: Scope, *, calls_since: datetime | None = None) -> Sequence[CompanyRow]:
        """Return the companies by name, each with its numbers; with how many calls it had since then, where asked."""
        async with self._reading() as session:
            query = select(Company).where(scope.where(Company.id)).order_by(func.lower(Company.name), Company.id)
            companies = (await session.scalars(query)).all()
            numbers: dict[int, list[str]] = {}
            for number in await session.scalars(
                select(Number).where(scope.where(Number.company_id)).order_by(Number.e164)
            ):
                numbers.setdefault(number.company_id, []).append(number.e164)
            calls: dict[int | None, tuple[int, datetime]] = {}
            if calls_since is not None:
                counted = await session.execute(
                    select(Call.company_id, func.count(), func.max(Call.started))
                    .where(scope.where(Call.company_id), Call.started >= calls_since)
                    .group_by(Call.company_id)
                )
                calls = {company_id: (count, last) for company_id, count, last in counted}
        rows = []
        for company in companies:
            count, last = calls.get(company.id, (0, None))
            rows.append(
                CompanyRow(
                    company.id,
                    company.name,
                    company.trade_type,
                    company.timezone,
                    company.recording,
                    company.opening_hours,
                    tuple(numbers.get(company.id, ())),
                    count,
                    last,
                )
            )
        return rows

    async def names(self, scope: Scope) -> Mapping[int, str]:
        """Return the companies' names by ID, in alphabetical order: what a filter offers."""
        query = select(Company.id, Company.name).where(scope.where(Company.id)).order_by(func.lower(Company.name))
        async with self._reading() as session:
            return {company_id: name for company_id, name in await session.execute(query)}

    async def zones(self, scope: Scope) -> Mapping[int, str]:
        """Return the companies' time zones by ID."""
        query = select(Company.id, Company.timezone).where(scope.where(Company.id))
        async with self._reading() as session:
            return {company_id: zone for company_id, zone in await session.execute(query)}

    async def owners(self, numbers: Iterable[str]) -> Mapping[str, int]:
        """Return whose each of these numbers (as they are stored) is; those of nobody are left out."""
        wanted = set(numbers)
        if not wanted:
            return {}
        query = select(Number.e164, Number.company_id).where(Number.e164.in_(wanted))
        async with self._reading() as session:
            return {e164: company_id for e164, company_id in await session.execute(query)}

    async def get(self, company_id: int, scope: Scope) -> StoredCompany | None:
        """Return the company of that ID, or None."""
        async with self._reading() as session:
            company = await self._find(session, company_id, scope)
            return await _stored(session, company) if company is not None else None

    async def add(self, form: CompanyForm) -> int:
        """Add a company; return its ID. Raises `BadCompanyError` when its name or a number is another one's."""
        async with self._sessions.begin() as session:
            return await self._write(session, Company(), form)

    async def put(self, form: CompanyForm) -> int:
        """Add a company, or make the one of the same name what `form` says; return its ID. Raises `BadCompanyError`.

        What the form's maker left out (`model_fields_set`) stays as it is.
        """
        async with self._sessions.begin() as session:
            company = await session.scalar(select(Company).where(Company.name == form.name).with_for_update())
            return await self._write(session, company or Company(), form, form.model_fields_set if company else None)

    async def save(self, company_id: int, form: CompanyForm, scope: Scope, *, seen: str = "") -> str:
        """Change a company. Return the new secret of its webhook where it has its first one with this, else "".

        Raises `BadCompanyError`, `NoSuchCompanyError`, and `StaleCompanyError` when `seen` is given and is not what
        `get` gives now.
        """
        async with self._sessions.begin() as session:
            company = await self._find(session, company_id, scope, lock=True)
            if company is None:
                raise NoSuchCompanyError("there is no such company")
            if seen and (await _stored(session, company)).seen != seen:
                raise StaleCompanyError("somebody else has changed this company since you opened it")
            first = bool(form.webhook_url) and not company.webhook_secret
            await self._write(session, company, form)
            return company.webhook_secret if first else ""

    async def new_secret(self, company_id: int, scope: Scope) -> str:
        """Give the company's webhook another secret, and return it: the old one signs nothing from now on.

        Raises `NoSuchCompanyError`.
        """
        async with self._sessions.begin() as session:
            company = await self._find(session, company_id, scope, lock=True)
            if company is None:
                raise NoSuchCompanyError("there is no such company")
            company.webhook_secret = new_secret()
            return company.webhook_secret

    async def delete(self, company_id: int, scope: Scope) -> bool:
        """Take a company away, with its numbers and what it knew of callers; its calls and bookings stay, without it.

        Return whether there was one.
        """
        async with self._sessions.begin() as session:
            gone = await session.execute(
                delete(Company).where(Company.id == company_id, scope.where(Company.id)).returning(Company.id)
            )
            return gone.first() is not None

    @staticmethod
    async def _find(session: AsyncSession, company_id: int, scope: Scope, *, lock: bool = False) -> Company | None:
        query = select(Company).where(Company.id == company_id, scope.where(Company.id))
        return await session.scalar(query.with_for_update() if lock else query)

    async def _write(
        self, session: AsyncSession, company: Company, form: CompanyForm, only: Iterable[str] | None = None
    ) -> int:
        wanted = set(_STORED if only is None else only)
        values = form.model_dump(mode="json")
        for name in _STORED:
            if name in wanted:
                setattr(company, name, values[name])
        if company.webhook_url and not company.webhook_secret:
            company.webhook_secret = new_secret()
        namesake = select(Company.id).where(Company.name == form.name)
        if company.id is not None:
            namesake = namesake.where(Company.id != company.id)
        with session.no_autoflush:
            if await session.scalar(namesake) is not None:
                raise BadCompanyError([Problem("name", "another company has this name")])
        session.add(company)
        try:
            await session.flush()
            if only is None or "numbers" in wanted:
                await self._write_numbers(session, company, form.numbers)
                await session.flush()
        except IntegrityError:
            # Somebody took the name or a number in this very moment.
            raise BadCompanyError([Problem("numbers", "one of these, or the name, is another company's")]) from None
        return company.id

    @staticmethod
    async def _write_numbers(session: AsyncSession, company: Company, numbers: Sequence[str]) -> None:
        query = select(Number).where(Number.e164.in_(numbers) | (Number.company_id == company.id))
        there = {number.e164: number for number in await session.scalars(query)}
        taken = [row for row, e164 in enumerate(numbers) if e164 in there and there[e164].company_id != company.id]
        if taken:
            text = "belongs to another company: remove it there first"
            raise BadCompanyError([Problem("numbers", f"{numbers[row]} {text}", row) for row in taken])
        for e164 in there.keys() - set(numbers):
            await session.delete(there[e164])
        for e164 in sorted(set(numbers) - there.keys()):
            session.add(Number(e164=e164, company_id=company.id))


async def _stored(session: AsyncSession, company: Company) -> StoredCompany:
    query = select(Number.e164).where(Number.company_id == company.id).order_by(Number.e164)
    numbers = tuple(await session.scalars(query))
    # What is in the database was checked when it came, perhaps by older rules: it is shown as it is.
    values = {name: getattr(company, name) for name in _STORED}
    values["opening_hours"] = {
        day: tuple((opens, closes) for opens, closes in spans) for day, spans in company.opening_hours.items()
    }
    for name in ("areas", "keyterms"):
        values[name] = tuple(values[name])
    form = CompanyForm.model_construct(**values, numbers=numbers)
    return StoredCompany(company.id, form, form.digest(), company.created_at, company.webhook_secret)
