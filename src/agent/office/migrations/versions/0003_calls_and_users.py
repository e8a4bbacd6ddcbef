"""Calls with their turns and events, users of the console, and what a company is told and tells."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from agent.office.models import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COMPANY_COLUMNS: dict[str, tuple[sa.types.TypeEngine[Any], str]] = {
    "instructions": (sa.Text(), ""),
    "opening_hours": (sa.JSON(), "{}"),
    "recording_notice": (sa.String(500), ""),
    "notify_email": (sa.String(254), ""),
    "webhook_url": (sa.String(500), ""),
    "webhook_secret": (sa.String(128), ""),
}
BOOKING_COLUMNS: dict[str, tuple[sa.types.TypeEngine[Any], str]] = {"state": (sa.String(16), "new"), "note": (sa.Text(), "")}


def upgrade() -> None:
    for table, columns in (("companies", COMPANY_COLUMNS), ("bookings", BOOKING_COLUMNS)):
        for name, (kind, default) in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("bookings", sa.Column("noticed_at", UtcDateTime()))
    # Of bookings that were made before, the companies know.
    op.execute("UPDATE bookings SET noticed_at = created_at")
    op.create_table(
        "calls",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("company_id", sa.Integer()),
        sa.Column("company_name", sa.String(200), nullable=False),
        sa.Column("did", sa.String(64), nullable=False),
        sa.Column("caller_id", sa.String(64), nullable=False),
        sa.Column("caller_name", sa.String(200), nullable=False),
        sa.Column("repeat_caller", sa.Boolean(), nullable=False),
        sa.Column("unique_id", sa.String(64), nullable=False),
        sa.Column("linked_id", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("started", UtcDateTime(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ended_by", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(128), nullable=False),
        sa.Column("booking_id", sa.String(64), nullable=False),
        sa.Column("turn_count", sa.Integer(), nullable=False),
        sa.Column("barge_ins", sa.Integer(), nullable=False),
        sa.Column("latency_ms", sa.Integer()),
        sa.Column("vendor_errors", sa.JSON(), nullable=False),
        sa.Column("early_answers", sa.JSON(), nullable=False),
        sa.Column("media", sa.JSON(), nullable=False),
        sa.Column("vendors", sa.JSON(), nullable=False),
        sa.Column("usage", sa.JSON(), nullable=False),
        sa.Column("costs", sa.JSON(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("recording", sa.String(500), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("noticed_at", UtcDateTime()),
        sa.Column("erased_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_calls_company_id_companies", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("uuid", name="pk_calls"),
    )
    for indexed in (
        ("started",),
        ("did",),
        ("caller_id",),
        ("booking_id",),
        ("company_id", "started"),
        ("outcome", "started"),
    ):
        op.create_index(f"ix_calls_{'_'.join(indexed)}", "calls", list(indexed))
    op.create_table(
        "turns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("call_uuid", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start_ms", sa.Integer(), nullable=False),
        sa.Column("end_ms", sa.Integer()),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("heard", sa.Text(), nullable=False),
        sa.Column("interrupted", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Integer()),
        sa.Column("times", sa.JSON(), nullable=False),
        sa.Column("words", sa.JSON(), nullable=False),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("drafts", sa.Integer(), nullable=False),
        sa.Column("wasted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["call_uuid"], ["calls.uuid"], name="fk_turns_call_uuid_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.UniqueConstraint("call_uuid", "position", name="uq_turns_call_uuid"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("call_uuid", sa.String(36), nullable=False),
        sa.Column("at_ms", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.ForeignKeyConstraint(["call_uuid"], ["calls.uuid"], name="fk_events_call_uuid_calls", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_call_uuid", "events", ["call_uuid"])
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "user_companies",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_companies_user_id_users", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_user_companies_company_id_companies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "company_id", name="pk_user_companies"),
    )
    op.create_index("ix_user_companies_company_id", "user_companies", ["company_id"])
    op.create_table(
        "console_sessions",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_console_sessions_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name="pk_console_sessions"),
    )
    for column in ("user_id", "expires_at"):
        op.create_index(f"ix_console_sessions_{column}", "console_sessions", [column])


def downgrade() -> None:
    for table in ("console_sessions", "user_companies", "users", "events", "turns", "calls"):
        op.drop_table(table)
    for table, columns in (("bookings", [*BOOKING_COLUMNS, "noticed_at"]), ("companies", COMPANY_COLUMNS)):
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column)
