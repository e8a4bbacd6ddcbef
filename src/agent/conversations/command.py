"""`voice-agent conversation`: checks a conversation and shows what it comes to, copies one, or tries a tool."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import aiohttp

from agent.call.company import CompanyContext
from agent.conversations.catalogue import Conversations
from agent.conversations.conversation import Conversation, ConversationError, estimated_tokens
from agent.conversations.files import PACKAGED
from agent.ops.settings import Settings
from agent.tools.registry import Endpoints, ToolContext

EXAMPLE = CompanyContext(company_name="Example Ltd", callout_fee="£65", caller_id="+447700900123")


def copy_conversation(name: str, target: Path) -> None:
    """Copy the packaged conversation of that name to `target`, which must not exist yet. Raises `ConversationError`."""
    packaged = sorted(path.parent.name for path in PACKAGED.glob("*/conversation.toml"))
    if name not in packaged:
        raise ConversationError(f"there is no conversation {name!r} to copy; there are {', '.join(packaged)}")
    try:
        shutil.copytree(PACKAGED / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise ConversationError(f"cannot copy to {target}: {error.strerror or error}") from error


def show_conversation(conversation: str, settings: Settings, report: Callable[[str], None]) -> None:
    """Load a conversation as the agent would, and report what it comes to. Raises `ConversationError`."""
    for line in _description(_load(conversation, settings)):
        report(line)


async def try_tool(
    conversation: str, settings: Settings, name: str, arguments: str, report: Callable[[str], None]
) -> bool:
    """Run a tool of a conversation as in a call, and report what the LLM would read; returns whether it succeeded.

    The caller is the one of `EXAMPLE`. Files that the tool keeps are gone afterwards; what it asks over HTTP is asked
    in earnest. Bookings are not kept, so `create_booking` makes none. Raises `ConversationError`.
    """
    tools = _load(conversation, settings).tools
    if name not in tools:
        there = ", ".join(tool["function"]["name"] for tool in tools.schemas())
        raise ConversationError(f"the conversation has no tool {name!r}; there are {there}")
    endpoints = Endpoints(
        settings.booking_api_url, settings.booking_api_key.get_secret_value(), settings.availability_api_url
    )
    with tempfile.TemporaryDirectory(prefix="voice-agent-try-") as folder:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            context = ToolContext(
                str(uuid.uuid4()), EXAMPLE, http, endpoints, region=settings.default_region, data_dir=Path(folder)
            )
            result = await tools.run(name, arguments, context)
    report(json.dumps(json.loads(result.content), indent=2, ensure_ascii=False))
    if result.effect is not None:
        report(f"effect: {result.effect} {json.dumps(dict(result.data), default=str)}")
    return result.ok


def _load(conversation: str, settings: Settings) -> Conversation:
    return Conversations.load(
        conversation,
        directory=settings.conversations_dir,
        prompt_file=settings.prompt_file,
        language=settings.language,
        environment=settings.environment,
    ).default


def _description(one: Conversation) -> list[str]:
    prompt = one.prompt(EXAMPLE)
    tools = [tool["function"] for tool in one.tools.schemas()]
    return [
        f"{one.name}: {one.title}, {one.language}",
        f"first words   {one.greeting(EXAMPLE)}",
        f"prompt        about {estimated_tokens(prompt)} tokens",
        f"steps         {', '.join(step.name for step in one.steps) or 'none'}",
        *(
            f"tool          {tool['name']}({', '.join(tool['parameters'].get('properties', {}))})"
            f"{' acts' if one.tools.acts(tool['name']) else ''}: {tool['description']}"
            for tool in tools
        ),
        "",
        prompt.strip(),
    ]
