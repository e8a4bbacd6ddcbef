"""A connection to Redis that nobody waits for long: away or there, counted, and asked again by itself."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionBrokenError
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
"""For one exchange, a new connection included: an event loop that stood still for 300 ms is no Redis that is away."""
CONNECTIONS = 32
"""At once; an exchange waits for one of them within its time."""


class RedisAwayError(Exception):
    """Redis does not answer, or not within its time."""


class RedisLink:
    """One Redis by its URL. `counters` holds `asked`, `failed`, `passed_over` (not asked, being away) and `came_back`.

    After a failure nobody asks, and so nobody waits, until `probe` has had an answer. `epoch` counts how often Redis
    came: what was put there in an earlier one may be lost.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raises `ValueError` where the URL is none of Redis."""
        self.counters: Counter[str] = Counter()
        self.epoch = 0
        self._timeout_s = timeout_s
        self._there = False
        # One more attempt at once: a pooled connection may be one that a restarted Redis has closed.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1, (ConnectionBrokenError,)),
        )
        self._redis: Redis = Redis.from_pool(pool)

    @property
    def there(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._there

    async def ask(self, put: Callable[[Pipeline], object]) -> list[Any]:
        """The answers to the commands that `put` adds. Raises `RedisAwayError`: at once, where that is known."""
        if not self._there:
            self.counters["passed_over"] += 1
            raise RedisAwayError
        return await self.probe(put)

    async def probe(self, put: Callable[[Pipeline], object]) -> list[Any]:
        """The same, also while Redis is away."""
        self.counters["asked"] += 1
        try:
            async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=False) as pipe:
                put(pipe)
                answers: list[Any] = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self.counters["failed"] += 1
            if self._there or self.counters["failed"] == 1:
                log.warning("Redis is away (%s): calls go on with what this host knows", _reason(error))
            self._there = False
            raise RedisAwayError from error
        if not self._there:
            self._there = True
            self.epoch += 1
            self.counters["came_back"] += self.epoch > 1
            log.info("Redis is there")
        return answers

    async def close(self) -> None:
        """Let go of every connection."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


def _reason(error: Exception) -> str:
    """What went wrong, without a password: the client's errors name host and port, Redis's own begin with a code."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
