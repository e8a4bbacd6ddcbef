"""Lists of calls out of indexes that hold what they are narrowed by."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEW = {
    "listed": ("started", "uuid", "outcome", "latency_ms", "barge_ins", "company_id"),
    "of_company": ("company_id", "started", "uuid", "outcome", "latency_ms", "barge_ins"),
    "caller_id_started": ("caller_id", "started"),
    "did_started": ("did", "started"),
}
OLD = {
    "started": ("started",),
    "company_id_started": ("company_id", "started"),
    "slow": ("latency_ms", "started"),
    "caller_id": ("caller_id",),
    "did": ("did",),
}
OLD_PARTIAL = {"interrupted": "barge_ins > 0", "recorded": "recording != ''"}
SLOW_MS = (500, 1000, 2000, 4000)

FTS5 = """
CREATE VIRTUAL TABLE call_words USING fts5(
    words, content='call_texts', content_rowid='id', detail='none', columnsize=0, prefix='{prefix}',
    tokenize="ascii tokenchars '_'"
)
"""


def upgrade() -> None:
    _replace({**OLD, **dict.fromkeys(OLD_PARTIAL)}, NEW)
    where = sa.text("recording = ''")
    op.create_index("ix_calls_unrecorded", "calls", ["started"], sqlite_where=where, postgresql_where=where)
    for limit in SLOW_MS:
        op.execute(
            f"UPDATE call_texts SET words = words || ' _s{limit}' "
            f"WHERE call_uuid IN (SELECT uuid FROM calls WHERE latency_ms > {limit})"
        )
    _index_words("1 2 3 4")


def downgrade() -> None:
    op.drop_index("ix_calls_unrecorded", "calls")
    _replace(NEW, OLD)
    for name, condition in OLD_PARTIAL.items():
        where = sa.text(condition)
        op.create_index(f"ix_calls_{name}", "calls", ["started"], sqlite_where=where, postgresql_where=where)
    _index_words("2 3 4")


def _replace(old: Iterable[str], new: dict[str, tuple[str, ...]]) -> None:
    for name in old:
        op.drop_index(f"ix_calls_{name}", "calls")
    for name, columns in new.items():
        op.create_index(f"ix_calls_{name}", "calls", list(columns))


def _index_words(prefix: str) -> None:
    """FTS5's index, made anew: how much of a word's beginning it knows cannot be changed."""
    if op.get_bind().dialect.name == "postgresql":
        return
    op.execute("DROP TABLE call_words")
    op.execute(FTS5.format(prefix=prefix))
    op.execute("INSERT INTO call_words (call_words) VALUES ('rebuild')")
