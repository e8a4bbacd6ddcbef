"""Settings of several hosts that take calls together."""

from __future__ import annotations

import importlib.util
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from fastaudio.extras import how_to_install


def _redis_url(value: SecretStr) -> SecretStr:
    """The errors name no part of it: a password may be in there."""
    url = value.get_secret_value()
    if not url:
        return value
    try:
        parts = urlsplit(url)
        whole = parts.path if parts.scheme == "unix" else parts.hostname
        _ = parts.port
    except ValueError:
        whole = None
    if not whole or parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("write redis://:password@host:6379/0, rediss:// for TLS, or unix:///path")
    if importlib.util.find_spec("redis") is None:
        raise ValueError(f"it needs an extra; {how_to_install('redis')}, or leave it out")
    return value


def _prefix(value: str) -> str:
    if re.fullmatch(r"[0-9A-Za-z_.-]{1,64}", value) is None:
        raise ValueError("it must be 1 to 64 of 0-9 A-Z a-z _ . -")
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]


class HostsSettings(BaseSettings):
    """What hosts share that take calls together; a host is by itself without them."""

    redis_url: RedisUrl = Field(
        SecretStr(""),
        description="Redis that several hosts share, such as redis://:password@host:6379/0, with TLS rediss://…; "
        "empty: this host is by itself",
    )
    redis_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "voice-agent", description="what their keys there begin with; the same on all hosts"
    )

    proxy_protocol: bool = Field(
        False,
        description="whether a balancer's PROXY header, version 2, comes first: on AudioSocket and FastAGI it must "
        "(HAProxy: `send-proxy-v2`), on HTTP it may; ALLOWED_PEERS are then the balancers",
    )

    @property
    def redis_password(self) -> str:
        """The password in `REDIS_URL`; empty where it has none."""
        return urlsplit(self.redis_url.get_secret_value()).password or ""
