"""Find at once what no word was put out of yet: nearly always nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UNNOTICED = {"bookings": "created_at", "calls": "started"}


def upgrade() -> None:
    where = sa.text("noticed_at IS NULL")
    for table, column in UNNOTICED.items():
        op.create_index(f"ix_{table}_unnoticed", table, [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for table in UNNOTICED:
        op.drop_index(f"ix_{table}_unnoticed", table)
