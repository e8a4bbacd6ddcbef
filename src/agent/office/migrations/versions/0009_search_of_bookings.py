"""What bookings are found by, in an index like the calls'."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session, load_only

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BATCH = 1000
FTS5 = """
CREATE VIRTUAL TABLE booking_words USING fts5(
    words, content='booking_texts', content_rowid='id', detail='none', columnsize=0, prefix='1 2 3 4',
    tokenize="ascii tokenchars '_'"
)
"""
ADD = "INSERT INTO booking_words (rowid, words) VALUES (new.id, new.words);"
TAKE = "INSERT INTO booking_words (booking_words, rowid, words) VALUES ('delete', old.id, old.words);"
TRIGGERS = {"INSERT": ADD, "DELETE": TAKE, "UPDATE": TAKE + " " + ADD}
# As migration 0008 has them for the calls.
POSTGRESQL = (
    "ALTER TABLE booking_texts ALTER COLUMN words SET STORAGE EXTERNAL",
    "ALTER TABLE booking_texts SET (toast_tuple_target = 128)",
    "CREATE INDEX booking_words ON booking_texts USING gin (call_words_vector(words)) WITH (fastupdate = off)",
)


def upgrade() -> None:
    op.create_table(
        "booking_texts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("booking_id", sa.String(16), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["booking_id"], ["bookings.id"], name="fk_booking_texts_booking_id_bookings", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_booking_texts"),
        sa.UniqueConstraint("booking_id", name="uq_booking_texts_booking_id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRESQL:
            op.execute(statement)
    else:
        op.execute(FTS5)
        for what, statements in TRIGGERS.items():
            op.execute(f"CREATE TRIGGER booking_words_{what.lower()} AFTER {what} ON booking_texts BEGIN {statements} END")
    _write_words()


def _write_words() -> None:
    """Of the bookings that there are and that were not erased."""
    from agent.office.booking_search import index_text
    from agent.office.models import Booking
    from agent.office.word_index import place_of

    needed = (
        *(Booking.id, Booking.company_id, Booking.caller_id, Booking.phone, Booking.customer_name, Booking.postcode),
        *(Booking.address, Booking.problem_description, Booking.created_at, Booking.state, Booking.note),
    )
    texts = sa.table("booking_texts", sa.column("id"), sa.column("booking_id"), sa.column("words"))
    connection, last, place = op.get_bind(), None, 0
    with Session(connection) as session:
        query = sa.select(Booking).options(load_only(*needed)).where(Booking.customer_name != "").order_by(
            Booking.created_at, Booking.id
        )
        while True:
            some = query if last is None else query.where(
                sa.tuple_(Booking.created_at, Booking.id) > sa.tuple_(last.created_at, last.id)
            )
            bookings = session.scalars(some.limit(BATCH)).all()
            if not bookings:
                return
            rows = []
            for booking in bookings:
                place = max(place + 1, place_of(booking.created_at))
                rows.append({"id": place, "booking_id": booking.id, "words": index_text(booking)})
            connection.execute(texts.insert(), rows)
            last = bookings[-1]
            session.expunge_all()


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for what in TRIGGERS:
            op.execute(f"DROP TRIGGER booking_words_{what.lower()}")
        op.execute("DROP TABLE booking_words")
    op.drop_table("booking_texts")
