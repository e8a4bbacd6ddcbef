"""Settings of several processes on one host."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

WORKERS_MAX = 128


def _workers(value: object) -> object:
    text = str(value).strip().lower()
    if text == "auto" or (text.isdecimal() and 1 <= int(text) <= WORKERS_MAX):
        return text if text == "auto" else int(text)
    raise ValueError(f"{value!r} is neither auto nor a number from 1 to {WORKERS_MAX}")


class WorkerSettings(BaseSettings):
    """How many processes have the calls."""

    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = Field(
        1,
        description="processes that share the calls, a core each; `auto`: as many as this process may use cores",
    )

    @property
    def worker_count(self) -> int:
        """How many that is on this host."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers
