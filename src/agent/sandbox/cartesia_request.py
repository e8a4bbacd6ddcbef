"""A message of Cartesia's text-to-speech WebSocket, checked.

Source: Cartesia's AsyncAPI of `/tts/websocket`, its pages on contexts and buffering (2026), and its SDK 4.2.0.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import orjson

_ENCODINGS = ("pcm_s16le", "pcm_mulaw", "pcm_alaw", "pcm_f32le")
_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_REQUIRED = ("model_id", "transcript", "voice", "output_format", "context_id")
_CHANGEABLE = frozenset({"transcript", "continue", "flush", "duration"})
"""What may differ from message to message of one context; all else must be equal."""
_MODELS = ("sonic-3", "sonic-latest", "sonic-preview")
MAX_BUFFER_MS = 5000


class RequestError(Exception):
    """A message is refused with an error event."""

    def __init__(self, message: str, context_id: str | None, status: int = 400) -> None:
        super().__init__(message)
        self.context_id = context_id
        self.status = status


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop what of a context has not begun."""

    context_id: str


@dataclass(frozen=True, slots=True)
class Generation:
    """Text for a context."""

    context_id: str
    transcript: str
    voice_id: str
    more: bool
    """`continue`: whether more text of the context comes."""
    flush: bool
    encoding: str
    sample_rate: int
    buffer_ms: int | None
    timestamps: bool
    fixed: dict[str, Any]
    """The fields that have to be equal within a context."""


def parse(text: str) -> Cancel | Generation:
    """Check a message. Raises `RequestError`."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestError("The message is not valid JSON.", None) from None
    if not isinstance(message, dict):
        raise RequestError("The message must be a JSON object.", None)
    context_id = message.get("context_id")
    if not isinstance(context_id, str) or not context_id:
        raise RequestError("context_id is required.", None)
    if message.get("cancel") is True:
        return Cancel(context_id)
    return _checked(message)


def _checked(message: dict[str, Any]) -> Generation:
    context_id = message["context_id"]
    for name in _REQUIRED:
        if name not in message:
            raise RequestError(f"{name} is required.", context_id)
    try:
        return _generation(message, context_id)
    except ValueError as error:
        raise RequestError(str(error), context_id) from None


def parse_bytes(text: str) -> Generation:
    """Check the body of `POST /tts/bytes`: as a message of one context, but for what is about contexts."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestError("The body is not valid JSON.", None) from None
    if not isinstance(body, dict):
        raise RequestError("The body must be a JSON object.", None)
    return _checked({**body, "context_id": "bytes", "continue": False})


def _generation(message: dict[str, Any], context_id: str) -> Generation:
    model = message["model_id"]
    if not isinstance(model, str) or not model.startswith(_MODELS):
        raise ValueError(f"model_id {model!r} does not exist; sonic-3.5 and sonic-3 do.")
    transcript = _typed(message, "transcript", str)
    voice = message["voice"]
    if not (isinstance(voice, str) and voice) and not (isinstance(voice, dict) and voice.get("id")):
        raise ValueError('voice must be {"id": "<uuid>"} or the id itself.')
    output = message["output_format"]
    if not isinstance(output, dict) or output.get("container") != "raw":
        raise ValueError('output_format.container must be "raw" over a WebSocket.')
    if output.get("encoding") not in _ENCODINGS:
        raise ValueError(f"output_format.encoding must be one of {', '.join(_ENCODINGS)}.")
    if output.get("sample_rate") not in _RATES:
        raise ValueError(f"output_format.sample_rate must be one of {', '.join(map(str, _RATES))}.")
    buffer_ms = message.get("max_buffer_delay_ms")
    if buffer_ms is not None and (
        isinstance(buffer_ms, bool) or not isinstance(buffer_ms, int) or not 0 <= buffer_ms <= MAX_BUFFER_MS
    ):
        raise ValueError(f"max_buffer_delay_ms must be a whole number from 0 to {MAX_BUFFER_MS}.")
    generation = message.get("generation_config")
    if generation is not None:
        if not isinstance(generation, dict):
            raise ValueError("generation_config must be an object.")
        for name, low, high in (("speed", 0.6, 1.5), ("volume", 0.5, 2.0)):
            value = generation.get(name, 1.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"generation_config.{name} must be from {low} to {high}.")
    return Generation(
        context_id=context_id,
        transcript=transcript,
        voice_id=voice if isinstance(voice, str) else str(voice["id"]),
        more=_typed(message, "continue", bool, False),
        flush=_typed(message, "flush", bool, False),
        encoding=output["encoding"],
        sample_rate=output["sample_rate"],
        buffer_ms=buffer_ms,
        timestamps=_typed(message, "add_timestamps", bool, False),
        fixed={name: value for name, value in message.items() if name not in _CHANGEABLE},
    )


def _typed(message: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = message.get(name, default)
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {'string' if kind is str else 'boolean'}.")
    return value


def error_event(status: int, code: str, message: str, context_id: str | None) -> dict[str, Any]:
    """The vendor's error message (API of 2026)."""
    event: dict[str, Any] = {
        "type": "error",
        "done": True,
        "status_code": status,
        "error_code": code,
        "title": code.replace("_", " ").capitalize(),
        "message": message,
        "request_id": str(uuid.uuid4()),
    }
    if context_id is not None:
        event["context_id"] = context_id
    return event


def voice_document(voice_id: str) -> dict[str, Any]:
    """What `GET /voices/{id}` says of a voice (API of 2026, as the SDK 4.2.0 reads it)."""
    return {
        "id": voice_id,
        "name": f"Sandbox voice {voice_id[:8]}",
        "description": "A voice of this machine.",
        "tagline": "",
        "language": "en",
        "locales": [],
        "access": "public",
        "visibility": "all",
        "is_owner": False,
        "created_at": "2026-01-01T00:00:00Z",
    }
