"""On SQLite, numbers a day in the order in which they are read: a year of them is one piece of the file."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE daily_figures_new (
    day DATE NOT NULL, company_id INTEGER NOT NULL, name VARCHAR(48) NOT NULL, value FLOAT NOT NULL,
    CONSTRAINT pk_daily_figures PRIMARY KEY (day, company_id, name)
)"""


def upgrade() -> None:
    _make_anew(" WITHOUT ROWID")


def downgrade() -> None:
    _make_anew("")


def _make_anew(how: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute(TABLE + how)
    op.execute(
        "INSERT INTO daily_figures_new SELECT day, company_id, name, value FROM daily_figures "
        "ORDER BY day, company_id, name"
    )
    op.execute("DROP TABLE daily_figures")
    op.execute("ALTER TABLE daily_figures_new RENAME TO daily_figures")
