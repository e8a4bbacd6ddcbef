"""Companies with their numbers, callers and bookings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "companies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("trade_type", sa.String(64), nullable=False),
        sa.Column("trade_label", sa.String(64), nullable=False),
        sa.Column("callout_fee", sa.String(64), nullable=False),
        sa.Column("area", sa.String(200), nullable=False),
        sa.Column("greeting", sa.String(500), nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("voice_id", sa.String(128), nullable=False),
        sa.Column("keyterms", sa.JSON(), nullable=False),
        sa.Column("transfer_targets", sa.JSON(), nullable=False),
        sa.Column("recording", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_companies"),
        sa.UniqueConstraint("name", name="uq_companies_name"),
    )
    op.create_table(
        "numbers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("e164", sa.String(64), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_numbers"),
        sa.UniqueConstraint("e164", name="uq_numbers_e164"),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_numbers_company_id_companies", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_numbers_company_id", "numbers", ["company_id"])
    op.create_table(
        "callers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("first_seen", MOMENT, nullable=False),
        sa.Column("last_seen", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_callers"),
        sa.UniqueConstraint("company_id", "number", name="uq_callers_company_id"),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_callers_company_id_companies", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_callers_number", "callers", ["number"])
    op.create_table(
        "bookings",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("company_name", sa.String(200), nullable=False),
        sa.Column("caller_id", sa.String(64), nullable=False),
        sa.Column("phone", sa.String(64), nullable=False),
        sa.Column("customer_name", sa.String(200), nullable=False),
        sa.Column("postcode", sa.String(16), nullable=False),
        sa.Column("address", sa.String(500), nullable=False),
        sa.Column("problem_description", sa.Text(), nullable=False),
        sa.Column("call_uuid", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bookings"),
        sa.UniqueConstraint("idempotency_key", name="uq_bookings_idempotency_key"),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_bookings_company_id_companies", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_bookings_company_id", "bookings", ["company_id"])
    op.create_index("ix_bookings_call_uuid", "bookings", ["call_uuid"])
    op.create_index("ix_bookings_created_at", "bookings", ["created_at"])


def downgrade() -> None:
    op.drop_table("bookings")
    op.drop_table("callers")
    op.drop_table("numbers")
    op.drop_table("companies")
