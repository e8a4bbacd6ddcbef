"""How long the database takes for a statement, waiting for its lock included: of every engine of the process."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from agent.ops.metric_families import FAMILIES

BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class QueryTimes:
    """Of all engines that are `watch`ed; the event loop's thread counts and reads."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """How many statements took at most so long as each bound and longer than the one before; last, all others."""
        self.total_s = 0.0
        self.errors = 0

    def watch(self, engine: AsyncEngine) -> None:
        """Count the statements of an engine."""
        event.listen(engine.sync_engine, "before_cursor_execute", self._begins)
        event.listen(engine.sync_engine, "after_cursor_execute", self._is_over)
        event.listen(engine.sync_engine, "handle_error", self._failed)

    def took(self, seconds: float) -> None:
        """One more statement."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def tell(self) -> Iterator[Metric]:
        """For `/metrics`."""
        buckets: list[tuple[str, float]] = []
        upto = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            upto += count
            buckets.append((bound, upto))
        yield FAMILIES["database_query_seconds"].distribution(buckets, self.total_s)
        yield FAMILIES["database_errors"].counted(self.errors)

    def _begins(self, connection: Connection, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def _is_over(self, connection: Connection, *_: Any) -> None:
        began = connection.info.pop("began", None)
        if began is not None:
            self.took(time.perf_counter() - began)

    def _failed(self, _context: ExceptionContext) -> None:
        self.errors += 1


QUERY_TIMES: Final = QueryTimes()
"""Of this process."""
