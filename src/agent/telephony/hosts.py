"""How the hosts that share a Redis know of each other: each says once a second how many calls it would take."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

    from agent.telephony.redis_link import RedisLink

ALIVE_S = 5
"""A host that has said nothing for so long counts no more."""
MAX_HOSTS = 1000
"""More are not looked at."""


@dataclass(frozen=True, slots=True)
class HostState:
    """What one host says of itself."""

    calls: int = 0
    """Calls that run."""
    places: int = 0
    """Calls that it would take on top: 0 while it is full, late or stopping."""
    llm_requests: int = 0
    """Its requests to the LLM within the last minute."""
    minutes: float = 0.0
    """Of its calls, today."""
    cost: float = 0.0
    """Estimated, of its calls, today."""

    def __add__(self, other: HostState) -> HostState:
        """Of both."""
        return HostState(
            self.calls + other.calls,
            self.places + other.places,
            self.llm_requests + other.llm_requests,
            self.minutes + other.minutes,
            self.cost + other.cost,
        )


class Hosts:
    """The host among the others: what it says, and what the others said when Redis was last asked.

    Nothing here waits for Redis: `put_own` and `put_look` add commands to an exchange of somebody's, `seen` takes the
    answers.
    """

    def __init__(self, link: RedisLink, own: Callable[[], HostState], *, prefix: str) -> None:
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.changed = asyncio.Event()
        """Set when the others should hear soon how this host is."""
        self._own = own
        self.others: dict[str, HostState] = {}
        """By name, as they were when Redis was last asked."""
        self.coming = 0
        """Calls that any host has announced and none has claimed, as of the last time that it was asked."""
        self._link = link
        self._prefix = prefix
        self._index = f"{prefix}:hosts"
        self.known: tuple[str, ...] = ()
        """The names of the others."""

    @property
    def there(self) -> bool:
        """Whether the others are known: Redis is there."""
        return self._link.there

    @property
    def own(self) -> Callable[[], HostState]:
        """Says how this host is, now."""
        return self._own

    @own.setter
    def own(self, own: Callable[[], HostState]) -> None:
        self._own = own
        self.changed.set()

    @property
    def counters(self) -> Counter[str]:
        """What became of exchanges with Redis (`RedisLink`)."""
        return self._link.counters

    @property
    def elsewhere(self) -> HostState:
        """The sum of the others; nothing while Redis is away."""
        return sum(self.others.values(), HostState()) if self.there else HostState()

    @property
    def room(self) -> bool:
        """Whether there is a place, on any host, for each call that is announced."""
        return self.coming <= self.own().places + self.elsewhere.places

    def put_own(self, pipe: Pipeline) -> None:
        """Say how this host is."""
        pipe.set(f"{self._prefix}:host:{self.name}", orjson.dumps(asdict(self.own())), ex=ALIVE_S)
        pipe.sadd(self._index, self.name)
        pipe.expire(self._index, 100 * ALIVE_S)

    def put_gone(self, pipe: Pipeline) -> None:
        """Say that this host is no more."""
        pipe.delete(f"{self._prefix}:host:{self.name}")
        pipe.srem(self._index, self.name)

    def put_index(self, pipe: Pipeline) -> None:
        """Ask which hosts there are: one answer, for `heed_index`."""
        pipe.smembers(self._index)

    def heed_index(self, names: Iterable[bytes]) -> None:
        """From now on, look at these."""
        named = sorted(name.decode(errors="replace") for name in names)
        known = tuple(name for name in named if name != self.name)[:MAX_HOSTS]
        if not set(known) <= set(self.known):
            self.changed.set()  # and look at the new ones
        self.known = known

    def put_look(self, pipe: Pipeline, names: tuple[str, ...]) -> None:
        """Ask how these are, which are `known`: one answer, for `seen`."""
        # With one key of its own, so that a host by itself asks for something too.
        pipe.mget([f"{self._prefix}:host:{name}" for name in (self.name, *names)])

    def seen(self, names: tuple[str, ...], states: list[bytes | None]) -> tuple[str, ...]:
        """Take what they say; returns those that say nothing any more."""
        told = dict(zip(names, states[1:], strict=True))
        self.others = {name: state for name, said in told.items() if (state := _state(said)) is not None}
        return tuple(name for name, said in told.items() if said is None)

    def put_forget(self, pipe: Pipeline, names: Iterable[str]) -> None:
        """Take hosts that say nothing out of the list; one that only was slow puts itself in again."""
        for name in names:
            pipe.srem(self._index, name)


def _state(said: bytes | None) -> HostState | None:
    if said is None:
        return None
    try:
        values: dict[str, Any] = orjson.loads(said)
        # A newer version may say more.
        return HostState(**{name: values[name] for name in HostState.__slots__ if name in values})
    except (ValueError, TypeError):
        return None
