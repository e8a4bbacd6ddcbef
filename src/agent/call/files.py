"""What calls need of the disk, read once for all of them: conversations, recorded prompts, prices."""

from __future__ import annotations

from dataclasses import dataclass

from agent.call.prompts import Prompts
from agent.conversations import Conversations
from agent.ops.prices import PriceTable, load_prices
from agent.ops.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class CallFiles:
    """What calls need of the disk, in memory."""

    conversations: Conversations
    prompts: Prompts
    prices: PriceTable


def read_files(settings: Settings) -> CallFiles:
    """Read what calls need. Raises `ConversationError` with every mistake, and `SettingsError`."""
    conversations = Conversations.load(
        settings.conversation,
        directory=settings.conversations_dir,
        prompt_file=settings.prompt_file,
        language=settings.language,
        environment=settings.environment,
    )
    prompts = Prompts.load(settings.prompts, settings.cartesia_voice_id)
    prompts.warm(settings.sample_rate)
    try:
        return CallFiles(conversations, prompts, load_prices(settings.prices_file))
    except ValueError as error:
        raise SettingsError(f"PRICES_FILE: {error}") from error
