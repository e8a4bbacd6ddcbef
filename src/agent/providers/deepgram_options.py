"""What both of Deepgram's streaming APIs are told of a call."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from agent.providers.websocket import ClientName

log = logging.getLogger(__name__)

TERM_TOKENS = 500  # of all key terms together: one more, and the vendor refuses the stream
LETTERS_A_TOKEN = 3  # or more: how its model counts is not told


@dataclass(frozen=True, slots=True)
class DeepgramOptions(ABC):
    """How a call is transcribed, whatever the model."""

    url: str
    api_key: str = field(repr=False)
    model: str
    language: str = "en-GB"
    keyterms: tuple[str, ...] = ()
    sample_rate: int = 8000
    """Samples a second of what is heard; both APIs take 8000 and 16000."""
    websocket: ClientName = "auto"
    replay_speed: float = 4.0
    """How fast audio that was kept is sent, times real time."""

    @abstractmethod
    def listen_url(self) -> str:
        """The address with its query."""

    def terms(self) -> list[str]:
        """The key terms, each once; those that may not fit into the vendor's limit any more are left out, logged."""
        room = TERM_TOKENS
        fitting: list[str] = []
        terms = [term for term in dict.fromkeys(map(str.strip, self.keyterms)) if term]
        for term in terms:
            room -= 1 + len(term) // LETTERS_A_TOKEN
            if room < 0:
                log.warning(
                    "Deepgram takes %d tokens of key terms: %d of %d terms left out",
                    TERM_TOKENS,
                    len(terms) - len(fitting),
                    len(terms),
                )
                break
            fitting.append(term)
        return fitting
