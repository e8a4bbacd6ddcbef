"""Who is told of what happens at a company: as it stands now, so that what waits goes to an address that was mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from agent.office.models import Company, Number
from agent.telephony.numbers import normalise_number


@dataclass(frozen=True, slots=True)
class Recipient:
    """A company, as far as telling it goes."""

    company_id: int
    name: str
    timezone: str
    email: str = field(repr=False)
    webhook_url: str = field(repr=False)
    webhook_secret: str = field(repr=False)


class Recipients:
    """Reads them from the office's database."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, region: str = "GB") -> None:
        """`region` reads numbers without a country code."""
        self._sessions = sessions
        self._region = region

    async def company(self, company_id: int) -> Recipient | None:
        """Return the company of that ID; None where there is none any more."""
        return (await self._read(_QUERY.where(Company.id == company_id))).get(company_id)

    async def company_of(self, did: str) -> Recipient | None:
        """Return the company that has this dialled number; None where nobody has."""
        e164 = normalise_number(did, self._region)
        found = await self._read(_QUERY.join(Number).where(Number.e164 == e164)) if e164 else {}
        return next(iter(found.values()), None)

    async def _read(self, query: Select[int, str, str, str, str, str]) -> Mapping[int, Recipient]:
        async with self._sessions() as session:
            return {row[0]: Recipient(*row) for row in await session.execute(query)}


_QUERY = select(
    Company.id, Company.name, Company.timezone, Company.notify_email, Company.webhook_url, Company.webhook_secret
)


async def recipients_in(session: AsyncSession, company_ids: Iterable[int | None]) -> Mapping[int | None, Recipient]:
    """Read companies within a transaction that is under way; what is no company is left out."""
    wanted = sorted({company_id for company_id in company_ids if company_id is not None})
    if not wanted:
        return {}
    return {row[0]: Recipient(*row) for row in await session.execute(_QUERY.where(Company.id.in_(wanted)))}
