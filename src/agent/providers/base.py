"""What the conversation needs of a vendor, as one Protocol for each of speech-to-text, language model and
text-to-speech, and the events that they give.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

HOPELESS = frozenset((400, 401, 402, 403, 404, 422))

Message: TypeAlias = dict[str, Any]
"""A message in OpenAI's chat format."""


def bytes_a_ms(sample_rate: int) -> int:
    """Audio in both directions is 16-bit mono PCM, of one rate in all of a call: 8000 or 16000 samples a second."""
    return 2 * sample_rate // 1000


def why_not(error: BaseException) -> str:
    """Why there is no connection, in words where there are better ones than the error's name."""
    error = getattr(error, "os_error", error)  # what is behind aiohttp's
    if isinstance(error, socket.gaierror):
        return "its name is not found (DNS)"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return type(error).__name__


class ProviderError(Exception):
    """A vendor failed. `status` is an HTTP status or WebSocket close code, 0 for none; the text holds no secret."""

    def __init__(self, vendor: str, text: str, *, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{vendor}: {text}")
        self.vendor = vendor
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def hopeless(self) -> bool:
        """A wrong request, key, account or model: it will not be otherwise in a second."""
        return self.status in HOPELESS

    def forget_where(self) -> None:
        """Drop the traceback, when the error has come to who deals with it.

        Its frames have what was at work, often with the error itself: a circle, in which a reply's audio would stay
        until the garbage collector comes by.
        """
        self.__traceback__ = None


# ---- speech to text -------------------------------------------------------------------------------------------------


class HeardWord(NamedTuple):
    """A word of the caller, and the ms of the call at which it was spoken."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the caller said, or seems to say. Times are milliseconds of the call (from the UUID on)."""

    text: str
    final: bool
    """The words will not change any more."""
    speech_final: bool
    """The vendor heard the end of the utterance."""
    start_ms: int
    end_ms: int
    """Where its words end."""
    covered_ms: int = 0
    """Where the audio ends that was listened to for it."""
    words: tuple[HeardWord, ...] = ()
    """Of a final text, where the vendor tells when its words were spoken."""


@dataclass(frozen=True, slots=True)
class UtteranceEnd:
    """No word for so long that the utterance must be over, though no final said so."""


@dataclass(frozen=True, slots=True)
class EagerEndOfTurn:
    """The vendor thinks that the turn may be over: time to think of an answer, not yet to speak it."""

    text: str
    """All of the turn so far."""
    end_ms: int


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """It was not over: the caller goes on."""


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The vendor's model is certain that the turn is over. Times are milliseconds of the call."""

    text: str
    """All of the turn."""
    start_ms: int
    end_ms: int
    words: tuple[HeardWord, ...] = ()
    """Where the vendor tells when they were spoken."""


@dataclass(frozen=True, slots=True)
class SttAway:
    """Nobody hears the caller just now: the audio is kept, and another connection is being made."""


@dataclass(frozen=True, slots=True)
class SttBack:
    """The caller is heard again, and what was kept is on its way; perhaps by another vendor."""

    ends_turns: bool
    """As `SpeechToText.ends_turns`, which may be another one now."""


@dataclass(frozen=True, slots=True)
class SttLost:
    """No vendor is left for this call."""

    reason: str


SttEvent: TypeAlias = Transcript | UtteranceEnd | EagerEndOfTurn | TurnResumed | EndOfTurn | SttAway | SttBack | SttLost


class SpeechToText(Protocol):
    """A stream of one call's audio to text."""

    counters: Counter[str]
    """What became of it; goes into the call's record."""

    @property
    def ends_turns(self) -> bool:
        """Whether the vendor itself says when a turn is over (`EndOfTurn`); else the silence and the words decide."""

    async def connect(self) -> None:
        """Make the connection ready. Raises `ProviderError`."""

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio that begins at `position_ms` of the call; never blocks. What is too old is dropped, counted."""

    def finalize(self) -> None:
        """Ask for the final text of what was heard so far."""

    def events(self) -> AsyncIterator[SttEvent]:
        """The events, until `close`."""

    async def close(self) -> None:
        """End the stream."""


# ---- language model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """Some words of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool to run; `arguments` is JSON text, unchecked."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The reply is complete."""

    reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


LlmEvent: TypeAlias = Text | ToolCall | Finished


class LanguageModel(Protocol):
    """Streams a reply to a conversation."""

    def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        """The reply as it comes; the last event is `Finished`. Raises `ProviderError`."""


# ---- text to speech -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """16-bit PCM at the call's rate."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Words:
    """When words are spoken: milliseconds from the beginning of this synthesis."""

    words: tuple[str, ...]
    start_ms: tuple[int, ...]
    end_ms: tuple[int, ...] = ()
    """Empty where the vendor does not say."""


TtsEvent: TypeAlias = Audio | Words


class Synthesis(Protocol):
    """Text in, audio out, as one flow of speech."""

    async def say(self, text: str) -> None:
        """Add text; it is spoken as it stands, spaces included. Raises `ProviderError`."""

    async def finish(self) -> None:
        """No more text will come."""

    def events(self) -> AsyncIterator[TtsEvent]:
        """Audio and word times until all is spoken. Raises `ProviderError`."""

    async def cancel(self) -> None:
        """Stop; what still comes is dropped."""


@dataclass(frozen=True, slots=True)
class SpeakingVoice:
    """In whose voice, and in which language, something is spoken; what is empty is the client's own default."""

    id: str = ""
    """As the vendor names it."""
    language: str = ""
    """ISO 639: "en"."""


DEFAULT_VOICE = SpeakingVoice()


class TextToSpeech(Protocol):
    """Opens syntheses."""

    @property
    def clauses(self) -> bool:
        """Whether text is to come in clauses; else as it is thought, token by token, and the vendor gathers it."""

    async def warm(self) -> None:
        """Make a connection ready before it is needed. Raises `ProviderError`."""

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> Synthesis:
        """Begin a synthesis in this voice. Raises `ProviderError`."""
