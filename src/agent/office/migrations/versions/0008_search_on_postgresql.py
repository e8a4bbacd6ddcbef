"""On PostgreSQL, words of calls beside their rows, and a function that the planner knows to be dear."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Not in SQL, which would be inlined and lose its cost: with it, the planner takes whichever way makes the fewest vectors,
# down the newest calls for a word that many have, or through the index for one that few have.
FUNCTION = """
CREATE FUNCTION call_words_vector(words text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100000
AS $$ BEGIN RETURN array_to_tsvector(string_to_array(words, ' ')); END $$
"""
INDEX = "CREATE INDEX call_words ON call_texts USING gin ({}) WITH (fastupdate = off)"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP INDEX call_words")
    op.execute(FUNCTION)
    # Rows without their words are few pages to go through for a word that many calls have.
    op.execute("ALTER TABLE call_texts ALTER COLUMN words SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE call_texts SET (toast_tuple_target = 128)")
    op.execute(INDEX.format("call_words_vector(words)"))


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP INDEX call_words")
    op.execute("DROP FUNCTION call_words_vector")
    op.execute("ALTER TABLE call_texts ALTER COLUMN words SET STORAGE EXTENDED")
    op.execute("ALTER TABLE call_texts RESET (toast_tuple_target)")
    op.execute(INDEX.format("array_to_tsvector(string_to_array(words, ' '))"))
