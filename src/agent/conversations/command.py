"""`voice-agent conversation`: checks a conversation and shows what it comes to, or copies one to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from agent.call.company import CompanyContext
from agent.conversations.catalogue import Conversations
from agent.conversations.conversation import Conversation, ConversationError, estimated_tokens
from agent.conversations.files import PACKAGED
from agent.ops.settings import Settings

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
    loaded = Conversations.load(
        conversation,
        directory=settings.conversations_dir,
        prompt_file=settings.prompt_file,
        language=settings.language,
        environment=settings.environment,
    )
    for line in _description(loaded.default):
        report(line)


def _description(one: Conversation) -> list[str]:
    prompt = one.prompt(EXAMPLE)
    tools = [tool["function"] for tool in one.tools.schemas()]
    return [
        f"{one.name}: {one.title}, {one.language}",
        f"first words   {one.greeting(EXAMPLE)}",
        f"prompt        about {estimated_tokens(prompt)} tokens",
        *(
            f"tool          {tool['name']}({', '.join(tool['parameters'].get('properties', {}))})"
            f"{' acts' if one.tools.acts(tool['name']) else ''}: {tool['description']}"
            for tool in tools
        ),
        "",
        prompt.strip(),
    ]
