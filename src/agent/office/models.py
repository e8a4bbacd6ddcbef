"""The back office's tables. The schema's history is in `migrations/`; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
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


ROLES = ("viewer", "operator", "admin")
"""What a user of the console may do, each what the one before it may: look; act on calls and bookings and edit their
companies; everything, users and other companies included."""
BOOKING_STATES = ("new", "confirmed", "done", "cancelled")


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
    instructions: Mapped[str] = mapped_column(Text, default="")
    """What the LLM is told of this company beyond the conversation's own prompt."""
    opening_hours: Mapped[dict[str, list[list[str]]]] = mapped_column(JSON, default=dict)
    """Day ("mon" to "sun") to spans of local time: {"mon": [["09:00", "12:30"], ["13:30", "18:00"]]}; empty where they
    are not known."""
    recording_notice: Mapped[str] = mapped_column(String(500), default="")
    """Said before the greeting where calls are recorded; empty for none."""
    notify_email: Mapped[str] = mapped_column(String(254), default="")
    """Who is told of bookings, missed transfers and bookings that are stuck; empty for nobody."""
    webhook_url: Mapped[str] = mapped_column(String(500), default="")
    """Told of each call that is over; empty for nobody."""
    webhook_secret: Mapped[str] = mapped_column(String(128), default="")
    """What the webhook's signature is made with."""
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
    __table_args__ = (
        Index("ix_bookings_company_id_created_at", "company_id", "created_at"),
        Index("ix_bookings_company_id_state", "company_id", "state"),
        Index(
            "ix_bookings_unnoticed",
            "created_at",
            sqlite_where=text("noticed_at IS NULL"),
            postgresql_where=text("noticed_at IS NULL"),
        ),
    )

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
    state: Mapped[str] = mapped_column(String(16), default="new")
    """One of `BOOKING_STATES`: what has come of it since."""
    note: Mapped[str] = mapped_column(Text, default="")
    """What people at the company have written about it."""
    noticed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When word of it went into the outbox, for the company; None: not yet."""

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
            "state": self.state,
        }


class BookingText(Base):
    """What a booking is found by: see `agent.office.booking_search`, which writes it with each booking. An index over
    `words`, named `booking_words`, is each database's own.
    """

    __tablename__ = "booking_texts"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    """When the booking was made, us since the epoch, or the next free one."""
    booking_id: Mapped[str] = mapped_column(ForeignKey("bookings.id", ondelete="CASCADE"), unique=True)
    words: Mapped[str] = mapped_column(Text)


class BookingChange(Base):
    """Who gave a booking another state or note, and when."""

    __tablename__ = "booking_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    booking_id: Mapped[str] = mapped_column(ForeignKey("bookings.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    who: Mapped[str] = mapped_column(String(64))
    """The user's name, as it was then."""
    what: Mapped[str] = mapped_column(String(200))
    """"new → confirmed" or "note changed"; nothing of what a note says."""


_NARROWING = ("outcome", "latency_ms", "barge_ins")


def _index_of_some(name: str, where: str) -> Index:
    return Index(name, "started", sqlite_where=text(where), postgresql_where=text(where))


class Call(Base):
    """A call that is over. What `agent.call.record.CallRecord` says of it, but for its turns and events."""

    __tablename__ = "calls"
    __table_args__ = (
        # What lists are narrowed by stands in the index: calls that do not fit are passed without being read.
        Index("ix_calls_listed", "started", "uuid", *_NARROWING, "company_id"),
        Index("ix_calls_of_company", "company_id", "started", "uuid", *_NARROWING),
        Index("ix_calls_outcome_started", "outcome", "started"),
        Index("ix_calls_caller_id_started", "caller_id", "started"),
        Index("ix_calls_did_started", "did", "started"),
        _index_of_some("ix_calls_unnoticed", "noticed_at IS NULL"),
        _index_of_some("ix_calls_unrecorded", "recording = ''"),
        _index_of_some("ix_calls_whole", "erased_at IS NULL"),
    )

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    company_id: Mapped[int | None] = mapped_column(ForeignKey("companies.id", ondelete="SET NULL"))
    """The one that had the dialled number when the call ended; None for no known company."""
    company_name: Mapped[str] = mapped_column(String(200), default="")
    """As the caller heard it."""
    did: Mapped[str] = mapped_column(String(64), default="")
    caller_id: Mapped[str] = mapped_column(String(64), default="")
    """In E.164; empty when it was withheld, and once the retention period is over."""
    caller_name: Mapped[str] = mapped_column(String(200), default="")
    repeat_caller: Mapped[bool] = mapped_column(default=False)
    unique_id: Mapped[str] = mapped_column(String(64), default="")
    linked_id: Mapped[str] = mapped_column(String(64), default="")
    source: Mapped[str] = mapped_column(String(16), default="")
    started: Mapped[datetime] = mapped_column(UtcDateTime)
    seconds: Mapped[float] = mapped_column(Float, default=0.0)
    ended_by: Mapped[str] = mapped_column(String(32), default="")
    outcome: Mapped[str] = mapped_column(String(32), default="")
    verdict: Mapped[str] = mapped_column(String(128), default="")
    booking_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    turn_count: Mapped[int] = mapped_column(default=0)
    barge_ins: Mapped[int] = mapped_column(default=0)
    latency_ms: Mapped[int | None]
    """Median of its turns; None without one that was measured."""
    vendor_errors: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    """By vendor: "stt", "llm", "tts", "context", "booking"."""
    early_answers: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    media: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    vendors: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    usage: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    unpriced: Mapped[list[str]] = mapped_column(JSON, default=list)
    costs: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    cost: Mapped[float] = mapped_column(Float, default=0.0)
    """The sum of `costs`, in `currency`."""
    currency: Mapped[str] = mapped_column(String(3), default="")
    recording: Mapped[str] = mapped_column(String(500), default="")
    """Name of the file in the recordings' directory; empty when there is none, or not any more."""
    version: Mapped[int] = mapped_column(default=0)
    """Of the record."""
    noticed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When word of it went into the outbox; None: not yet."""
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its words, numbers and recording were taken away; None: they are there."""

    turns: Mapped[list[CallTurn]] = relationship(
        back_populates="call", cascade="all, delete-orphan", order_by="CallTurn.position", passive_deletes=True
    )
    events: Mapped[list[CallEvent]] = relationship(
        back_populates="call", cascade="all, delete-orphan", order_by="CallEvent.id", passive_deletes=True
    )


class CallTurn(Base):
    """One exchange of a call: `agent.call.record.TurnRecord`."""

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("call_uuid", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_uuid: Mapped[str] = mapped_column(ForeignKey("calls.uuid", ondelete="CASCADE"))
    position: Mapped[int]
    """0 for the first."""
    start_ms: Mapped[int] = mapped_column(default=0)
    end_ms: Mapped[int | None]
    caller: Mapped[str] = mapped_column(Text, default="")
    agent: Mapped[str] = mapped_column(Text, default="")
    heard: Mapped[str] = mapped_column(Text, default="")
    interrupted: Mapped[bool] = mapped_column(default=False)
    latency_ms: Mapped[int | None]
    times: Mapped[dict[str, int | None]] = mapped_column(JSON, default=dict)
    words: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    tools: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    drafts: Mapped[int] = mapped_column(default=0)
    wasted: Mapped[int] = mapped_column(default=0)

    call: Mapped[Call] = relationship(back_populates="turns")


class CallEvent(Base):
    """Something that happened at a moment of a call: `agent.call.record.Mark`."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    call_uuid: Mapped[str] = mapped_column(ForeignKey("calls.uuid", ondelete="CASCADE"), index=True)
    at_ms: Mapped[int]
    what: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(String(500), default="")

    call: Mapped[Call] = relationship(back_populates="events")


class CallText(Base):
    """What a call is found by. An index over `words`, named `call_words`, is each database's own: FTS5 or GIN."""

    __tablename__ = "call_texts"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    """When the call began, us since the epoch, or the next free one: in the order of the IDs the newest come last."""
    call_uuid: Mapped[str] = mapped_column(ForeignKey("calls.uuid", ondelete="CASCADE"), unique=True)
    words: Mapped[str] = mapped_column(Text)
    """Each word once, as `agent.office.words` writes them, with blanks between."""


class DailyFigure(Base):
    """One number of one day and company: `agent.office.figures` knows the names. It tells of no person."""

    __tablename__ = "daily_figures"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - as SQLAlchemy has it

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    """In the company's time zone."""
    company_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 for no known company. It outlives the company."""
    name: Mapped[str] = mapped_column(String(48), primary_key=True)
    value: Mapped[float] = mapped_column(Float)


user_companies = Table(
    "user_companies",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("company_id", ForeignKey("companies.id", ondelete="CASCADE"), primary_key=True, index=True),
)
"""Whose calls and bookings a user sees; an admin sees all."""


class User(Base):
    """Someone who may log in to the console."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    """In lower case."""
    password_hash: Mapped[str] = mapped_column(String(200))
    """By argon2id; never the password."""
    role: Mapped[str] = mapped_column(String(16))
    """One of `ROLES`."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    last_seen: Mapped[datetime | None] = mapped_column(UtcDateTime)

    companies: Mapped[list[Company]] = relationship(secondary=user_companies, order_by="Company.name")


class ConsoleSession(Base):
    """A browser that somebody has logged in with."""

    __tablename__ = "console_sessions"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the cookie: who reads the database cannot log in with it."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
