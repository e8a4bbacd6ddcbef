"""A company's conversation and language, and what its availability depends on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("companies", sa.Column("conversation", sa.String(64), nullable=False, server_default=""))
    op.add_column("companies", sa.Column("language", sa.String(16), nullable=False, server_default=""))
    op.add_column("companies", sa.Column("areas", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("companies", sa.Column("crews", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("companies") as table:
        for column in ("conversation", "language", "areas", "crews"):
            table.drop_column(column)
