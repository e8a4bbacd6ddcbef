"""What callers of a company hear first: in words as they will be said, and spoken where an agent runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from agent.call.company import CompanyContext, parse_context
from agent.call.rehearsal import RehearsalError
from agent.conversations import Conversations
from agent.conversations.conversation import ConversationError
from agent.office.console.parts import parts_of
from agent.ops.settings import Settings

KEPT_S: Final = 60.0
NO_AGENT: Final = "No agent runs beside this console: start voice-agent serve to hear it."


class Shelf:
    """The conversations of the settings, read when they are first needed and again when that was a while ago."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: Conversations | None = None
        self._until = 0.0

    async def conversations(self) -> Conversations | None:
        """Those that the agent has, or None where their files have mistakes: the agent tells them when it starts."""
        if time.monotonic() >= self._until:
            try:
                self._read = await asyncio.to_thread(self._load)
            except ConversationError:
                self._read = None
            self._until = time.monotonic() + KEPT_S
        return self._read

    def _load(self) -> Conversations:
        settings = self._settings
        return Conversations.load(
            settings.conversation,
            directory=settings.conversations_dir,
            prompt_file=settings.prompt_file,
            language=settings.language,
            environment=settings.environment,
        )


SHELF = web.AppKey("shelf", Shelf)


async def greeting_text(request: web.Request, values: Mapping[str, Any]) -> str:
    """The greeting of a company with these fields (as `CompanyForm` has them), as it is said at this hour."""
    company = _context(request, values)
    conversations = await request.app[SHELF].conversations()
    if conversations is None:
        return company.greeting
    return conversations.of(company).greeting(company)


async def spoken_greeting(request: web.Request, values: Mapping[str, Any]) -> bytes:
    """The same as a WAV. Raises `HTTPServiceUnavailable`, in words, where nothing can be spoken."""
    say = parts_of(request).say
    if say is None:
        raise web.HTTPServiceUnavailable(text=NO_AGENT)
    company = _context(request, values)
    conversations = await request.app[SHELF].conversations()
    voice_id, language = company.voice_id, company.language
    if conversations is not None:
        voice = conversations.voice_of(company)
        voice_id, language = voice.id, voice.language
    try:
        return await say(await greeting_text(request, values), voice_id, language)
    except RehearsalError as error:
        raise web.HTTPServiceUnavailable(text=f"It cannot be heard: {error}.") from None


def _context(request: web.Request, values: Mapping[str, Any]) -> CompanyContext:
    """As a call would know the company; fields that cannot be used have their defaults, as on a call."""
    default = CompanyContext(timezone=parts_of(request).settings.default_timezone)
    names = ("trade_type", "trade_label", "callout_fee", "area", "greeting", "timezone")
    answer = {name: values.get(name) or None for name in (*names, "voice_id", "conversation", "language")}
    return parse_context(answer | {"company_name": values.get("name") or None}, default)
