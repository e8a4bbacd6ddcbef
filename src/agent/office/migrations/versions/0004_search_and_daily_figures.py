"""What calls are found by, and numbers a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PARTIAL = {"interrupted": "barge_ins > 0", "recorded": "recording != ''", "whole": "erased_at IS NULL"}

# Without positions (detail) or lengths (columnsize): a call has each of its words once, and is not ranked. The words are
# ASCII and made by us, so the plainest tokenizer leaves them as they are.
FTS5 = """
CREATE VIRTUAL TABLE call_words USING fts5(
    words, content='call_texts', content_rowid='id', detail='none', columnsize=0, prefix='2 3 4',
    tokenize="ascii tokenchars '_'"
)
"""
ADD = "INSERT INTO call_words (rowid, words) VALUES (new.id, new.words);"
TAKE = "INSERT INTO call_words (call_words, rowid, words) VALUES ('delete', old.id, old.words);"
TRIGGERS = {"INSERT": ADD, "DELETE": TAKE, "UPDATE": TAKE + " " + ADD}
GIN = """
CREATE INDEX call_words ON call_texts USING gin (array_to_tsvector(string_to_array(words, ' '))) WITH (fastupdate = off)
"""


def upgrade() -> None:
    op.add_column("calls", sa.Column("unpriced", sa.JSON(), nullable=False, server_default="[]"))
    op.create_index("ix_calls_slow", "calls", ["latency_ms", "started"])
    for name, where in PARTIAL.items():
        op.create_index(
            f"ix_calls_{name}", "calls", ["started"], sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
    op.create_table(
        "call_texts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("call_uuid", sa.String(36), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_uuid"], ["calls.uuid"], name="fk_call_texts_call_uuid_calls", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_call_texts"),
        sa.UniqueConstraint("call_uuid", name="uq_call_texts_call_uuid"),
    )
    op.create_table(
        "daily_figures",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("company_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(48), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("day", "company_id", "name", name="pk_daily_figures"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(GIN)
        return
    op.execute(FTS5)
    for what, statements in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER call_words_{what.lower()} AFTER {what} ON call_texts BEGIN {statements} END")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for what in TRIGGERS:
            op.execute(f"DROP TRIGGER call_words_{what.lower()}")
        op.execute("DROP TABLE call_words")
    op.drop_table("daily_figures")
    op.drop_table("call_texts")
    for name in (*PARTIAL, "slow"):
        op.drop_index(f"ix_calls_{name}", "calls")
    with op.batch_alter_table("calls") as batch:
        batch.drop_column("unpriced")
