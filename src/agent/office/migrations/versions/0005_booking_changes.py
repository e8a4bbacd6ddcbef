"""Who changed a booking, and indexes for a company's newest ones and for how many there are of each state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agent.office.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "booking_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("booking_id", sa.String(16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_booking_changes"),
        sa.ForeignKeyConstraint(
            ["booking_id"], ["bookings.id"], name="fk_booking_changes_booking_id_bookings", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_booking_changes_booking_id", "booking_changes", ["booking_id"])
    op.create_index("ix_bookings_company_id_created_at", "bookings", ["company_id", "created_at"])
    op.create_index("ix_bookings_company_id_state", "bookings", ["company_id", "state"])


def downgrade() -> None:
    op.drop_index("ix_bookings_company_id_state", table_name="bookings")
    op.drop_index("ix_bookings_company_id_created_at", table_name="bookings")
    op.drop_table("booking_changes")
