"""The back office's tables. The schema's history is in `migrations/`; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, MetaData, String, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def utc_now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zone, so one is put back on reading; a naive value is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises `ValueError` for a naive value."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Constraints carry names made by rule: a migration can drop them by name on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Company(Base):
    """A company in whose name calls are answered."""

    __tablename__ = "companies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    trade_type: Mapped[str] = mapped_column(String(64))
    """The kind of work: "plumbing"."""
    trade_label: Mapped[str] = mapped_column(String(64))
    """Who comes: "plumber"."""
    callout_fee: Mapped[str] = mapped_column(String(64))
    """As it is to be said: "£65" or "£65 plus VAT"."""
    area: Mapped[str] = mapped_column(String(200), default="")
    greeting: Mapped[str] = mapped_column(String(500), default="")
    """Spoken instead of the standard greeting; empty for the standard one."""
    timezone: Mapped[str] = mapped_column(String(64), default="Europe/London")
    voice_id: Mapped[str] = mapped_column(String(128), default="")
    keyterms: Mapped[list[str]] = mapped_column(JSON, default=list)
    transfer_targets: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Name of a person or desk to an extension of the dialplan."""
    recording: Mapped[bool] = mapped_column(default=True)
    conversation: Mapped[str] = mapped_column(String(64), default="")
    """Name of a conversation that the agent has loaded; empty for its default one."""
    language: Mapped[str] = mapped_column(String(16), default="")
    """A variant of the conversation's language: "en-IE"; empty for that itself."""
    areas: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Postcode areas or districts that are served: "SW", "M14"; empty for everywhere."""
    crews: Mapped[int] = mapped_column(default=0)
    """How many visits can be made at once; 0 where that is not limited."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    numbers: Mapped[list[Number]] = relationship(back_populates="company", cascade="all, delete-orphan")


class Number(Base):
    """A number that people dial (DID), in E.164; it belongs to one company."""

    __tablename__ = "numbers"

    id: Mapped[int] = mapped_column(primary_key=True)
    e164: Mapped[str] = mapped_column(String(64), unique=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id", ondelete="CASCADE"), index=True)

    company: Mapped[Company] = relationship(back_populates="numbers")


class Caller(Base):
    """Someone who has rung a company before, by number. Withheld numbers are not kept."""

    __tablename__ = "callers"
    __table_args__ = (UniqueConstraint("company_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id", ondelete="CASCADE"))
    number: Mapped[str] = mapped_column(String(64), index=True)
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Booking(Base):
    """A visit that a caller asked for."""

    __tablename__ = "bookings"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Random and short enough to read out: "BK-7F3K2Q9M"."""
    company_id: Mapped[int | None] = mapped_column(ForeignKey("companies.id", ondelete="SET NULL"), index=True)
    """None when the call came in on a number of no known company."""
    company_name: Mapped[str] = mapped_column(String(200), default="")
    """As the caller heard it."""
    caller_id: Mapped[str] = mapped_column(String(64), default="")
    phone: Mapped[str] = mapped_column(String(64), default="")
    """A number that the caller gave, where the caller ID is withheld."""
    customer_name: Mapped[str] = mapped_column(String(200))
    postcode: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(500))
    problem_description: Mapped[str] = mapped_column(Text)
    call_uuid: Mapped[str] = mapped_column(String(64), default="", index=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what was asked for: tells a repeated request from another one under the same key."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, index=True)

    def as_dict(self) -> dict[str, Any]:
        """Return what a person may want to see of the booking, ready for JSON."""
        return {
            "booking_id": self.id,
            "company_name": self.company_name,
            "customer_name": self.customer_name,
            "postcode": self.postcode,
            "address": self.address,
            "problem_description": self.problem_description,
            "caller_id": self.caller_id,
            "phone": self.phone,
            "call_uuid": self.call_uuid,
            "created_at": self.created_at.isoformat(),
        }
