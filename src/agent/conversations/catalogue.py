"""Which conversation a call gets: the one that its company names, or the agent's own."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.call.company import CompanyContext
from agent.conversations.conversation import Conversation, ConversationError
from agent.conversations.files import PACKAGED, directory_of, load_conversation
from agent.providers.base import SpeakingVoice

log = logging.getLogger(__name__)


class Conversations:
    """The conversations that are at hand, all loaded and checked before the first call.

    `counters` has `unknown_conversation` and `other_language`: what a company asked for and could not have.
    """

    def __init__(self, default: Conversation, others: Iterable[Conversation] = ()) -> None:
        """Answer as `default` unless a company names another one."""
        self.default = default
        self._by_name = {conversation.name: conversation for conversation in (*others, default)}
        self.counters: Counter[str] = Counter()

    @classmethod
    def load(
        cls,
        conversation: str,
        *,
        directory: Path | None = None,
        prompt_file: Path | None = None,
        language: str = "en-GB",
        environment: Mapping[str, str] = os.environ,
    ) -> Conversations:
        """Load the conversation of that name or path, and those that a company may name.

        These are the packaged ones and each directory in `directory`, which win over packaged ones of their names.
        `prompt_file` takes the place of the default's `prompt.md`; `environment` has the secrets of `url_tools`. Raises
        `ConversationError` with every mistake.
        """
        found = _found(directory)
        path = find_conversation(conversation, directory)
        found[path.name] = path
        mistakes: list[str] = []
        loaded: dict[str, Conversation] = {}
        for name, one in found.items():
            try:
                own = prompt_file if one == path else None
                loaded[name] = load_conversation(
                    one, prompt_file=own, default_language=language, environment=environment
                )
            except ConversationError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ConversationError("\n".join(mistakes))
        return cls(loaded[path.name], loaded.values())

    def titles(self) -> dict[str, str]:
        """The conversations that a company may name, the default one among them: name to title."""
        return {name: conversation.title for name, conversation in sorted(self._by_name.items())}

    def of(self, company: CompanyContext) -> Conversation:
        """The conversation of a company's calls; the default where it names none, or one that is not there.

        The name only ever picks one that was loaded: a context API cannot make the agent read a file.
        """
        if not company.conversation or company.conversation in self._by_name:
            return self._by_name.get(company.conversation, self.default)
        self.counters["unknown_conversation"] += 1
        log.warning("a company asks for a conversation that is not there; it is answered as %s", self.default.name)
        return self.default

    def language_of(self, company: CompanyContext) -> str:
        """The language of a company's calls: its own variant ("en-IE") of its conversation's, else that itself."""
        conversation = self.of(company)
        if not company.language or company.language.partition("-")[0] == conversation.language.partition("-")[0]:
            return company.language or conversation.language
        self.counters["other_language"] += 1
        log.warning("a company's language is not that of its conversation %s, which is spoken", conversation.name)
        return conversation.language

    def voice_of(self, company: CompanyContext) -> SpeakingVoice:
        """The voice of a company's calls: its own, else its conversation's, else the agent's default one."""
        language = self.language_of(company).partition("-")[0]
        return SpeakingVoice(company.voice_id or self.of(company).voice_id, language)


def find_conversation(conversation: str, directory: Path | None) -> Path:
    """Where the conversation of that name or path is; `directory` is CONVERSATIONS_DIR. Raises `ConversationError`."""
    found = _found(directory)
    return found.get(conversation) or directory_of(conversation, found)


def _found(directory: Path | None) -> dict[str, Path]:
    """The packaged conversations and those in `directory`, which win, by name."""
    found = {path.name: path for path in _directories(PACKAGED)}
    return found | {path.name: path for path in _directories(directory)} if directory is not None else found


def _directories(parent: Path) -> list[Path]:
    try:
        return sorted(path.parent for path in parent.glob("*/conversation.toml"))
    except OSError as error:
        raise ConversationError(f"cannot read CONVERSATIONS_DIR {parent}: {error.strerror}") from error
