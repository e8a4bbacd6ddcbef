"""Alembic's entry: runs the revisions over the connection that `agent.office.database` hands in."""

from __future__ import annotations

from alembic import context

from agent.office.database import is_in_models
from agent.office.models import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("the migrations run through agent.office.database.upgrade_to_head(url)")

# Batch mode: SQLite can alter a table only by copying it.
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, include_name=is_in_models)
with context.begin_transaction():
    context.run_migrations()
