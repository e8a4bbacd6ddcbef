"""What is looked at: the settings, the host, the agent that runs on it, and its Asterisk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from pydantic import ValidationError

from agent.conversations import ConversationError, Conversations
from agent.ops.http import base_url
from agent.ops.settings import Settings, SettingsError, load_settings

HEALTH_S = 2.0


class _Noting(dict[str, str]):
    """An environment that notes what it was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.wanted: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.wanted.add(name)
        return super().get(name, default)


@dataclass
class Host:
    """Where a host keeps what probes read; tests have others."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    asterisk_etc: Path = Path("/etc/asterisk")
    asterisk_cli: Sequence[str] = ("asterisk", "-rx")
    """How a command reaches Asterisk's command line; the command is added."""


@dataclass
class Subject:
    """One look at everything. `settings` is None while one of them is wrong; `mistakes` says which."""

    env_file: Path | None
    offline: bool = False
    host: Host = field(default_factory=Host)
    settings_: Settings | None = None
    mistakes: tuple[str, ...] = ()
    _tool_secrets: set[str] = field(default_factory=set)
    _health: asyncio.Task[dict[str, Any] | None] | None = None
    _http: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, env_file: Path | None, *, offline: bool = False, host: Host | None = None) -> Subject:
        """Read the settings. A file that others may read is a mistake, and its settings are looked at all the same."""
        subject = cls(env_file, offline, host or Host())
        try:
            subject.settings_ = load_settings(env_file)
        except SettingsError as mistake:
            subject.mistakes = tuple(str(mistake).splitlines())
            try:
                if env_file is None or env_file.is_file():
                    subject.settings_ = Settings(_env_file=env_file)  # type: ignore[call-arg]
            except (OSError, ValidationError):
                subject.settings_ = None
        return subject

    @property
    def settings(self) -> Settings:
        """For probes that need settings: the others must ask for `settings_`."""
        assert self.settings_ is not None
        return self.settings_

    @cached_property
    def conversations(self) -> Conversations | None:
        """The agent's conversations; None where they cannot be loaded, which is a finding of its own."""
        try:
            return self.load_conversations()
        except ConversationError:
            return None

    def load_conversations(self) -> Conversations:
        """Load them as the agent does. Raises `ConversationError`."""
        settings = self.settings
        noting = _Noting(settings.environment)
        try:
            return Conversations.load(
                settings.conversation,
                directory=settings.conversations_dir,
                prompt_file=settings.prompt_file,
                language=settings.language,
                environment=noting,
            )
        finally:
            self._tool_secrets |= noting.wanted

    @property
    def tool_secrets(self) -> Set[str]:
        """The names in the environment that a conversation's tools want."""
        _ = self.conversations
        return self._tool_secrets

    @property
    def http(self) -> aiohttp.ClientSession:
        """For requests; closed with the subject."""
        if self._http is None:
            self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._http

    async def running(self) -> dict[str, Any] | None:
        """What the agent that runs here says at `/health`; None when none does. Asked once."""
        if self._health is None:
            self._health = asyncio.create_task(self._ask_health(), name="check health")
        return await asyncio.shield(self._health)

    async def _ask_health(self) -> dict[str, Any] | None:
        settings = self.settings
        if not settings.http_port:
            return None
        try:
            async with (
                asyncio.timeout(HEALTH_S),
                self.http.get(f"{base_url(settings.listen_host, settings.http_port)}/health") as answer,
            ):
                document = orjson.loads(await answer.content.read(1 << 20))
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            return None
        return document if isinstance(document, dict) and {"status", "calls", "max_calls"} <= document.keys() else None

    async def close(self) -> None:
        """Close what was opened."""
        if self._health is not None:
            self._health.cancel()
            await asyncio.gather(self._health, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
