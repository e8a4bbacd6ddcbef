"""The registry that the settings ask for: of this host alone, or of several that share a Redis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from agent.telephony.hosts import Hosts
from agent.telephony.registry import CallInfo, CallRegistry, MetadataSource, Registry


def make_registry(
    redis_url: str, prefix: str, *, metadata: MetadataSource | None, on_dropped: Callable[[CallInfo], None]
) -> tuple[Registry, Hosts | None, AbstractAsyncContextManager[Any]]:
    """The registry; the other hosts where there may be some; and what is to be entered while it is used.

    The others are told of no place here before `Hosts.own` is set. Raises `ValueError` where the URL is none of Redis.
    """
    if not redis_url:
        return CallRegistry(metadata=metadata, on_dropped=on_dropped), None, nullcontext()
    from agent.telephony.redis_registry import RedisRegistry  # of an extra

    registry = RedisRegistry(redis_url, prefix=prefix, metadata=metadata, on_dropped=on_dropped)
    return registry, registry.hosts, registry
