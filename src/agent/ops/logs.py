"""What reaches the log, and how."""

from __future__ import annotations

import logging
from pathlib import Path

from agent.ops.settings import Settings


def set_up_logging(settings: Settings, file: Path | None = None) -> None:
    """Log to standard error in lines that journald takes as they are; no keys, numbers or words."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        filename=file,
        force=True,
    )
    for noisy in ("websockets", "picows", "aiohttp", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
