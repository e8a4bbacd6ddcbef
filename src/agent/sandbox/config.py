"""Settings of the emulated vendors: from a JSON file, from the command line, or at run time by `POST /control`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.sandbox.latency import Latency


class ConfigError(ValueError):
    """A setting of the sandbox is wrong; the text says which and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    port: int = Field(default=0, ge=0, le=65535, description="TCP port; 0 takes a free one")
    keys: tuple[str, ...] = Field(default=(), description="API keys that are accepted; none: any that is not empty")


class DeepgramConfig(_Part):
    """The emulated Deepgram. Defaults are the vendor's."""

    max_streams: int = Field(default=150, ge=1, description="streams at once; one more is refused with 429")
    idle_s: float = Field(
        default=10.0, gt=0, description="seconds without a frame after which it closes 1011 (NET-0001)"
    )
    flux_idle_s: float = Field(
        default=60.0, gt=0, description="the same for Flux, where a ping counts and a KeepAlive is an error"
    )
    interim_s: float = Field(default=1.0, gt=0, description="seconds of audio between interim results")
    longest_final_s: float = Field(default=8.0, gt=0, description="speech longer than this is made final in parts")
    silence_final_s: float = Field(
        default=4.0, gt=0, description="seconds of silence after which an empty final is sent"
    )
    wedged_close_s: float = Field(
        default=30.0, gt=0, description="seconds from a Configure over the limit to the close 1011 (NET-0000)"
    )
    interim_latency: Latency = Field(default=0.0, description="from the audio that it covers to an interim result, ms")
    final_latency: Latency = Field(
        default=0.0, description="from the audio that it covers, or from Finalize, to a final result, ms"
    )
    flux_latency: Latency = Field(default=0.0, description="from audio to what Flux says of it, ms")


class GroqConfig(_Part):
    """The emulated Groq. Its speed is gpt-oss-120b's as recorded; the queue is not, unless asked for."""

    models: tuple[str, ...] = Field(
        default=("openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.6-27b", "qwen/qwen3.8-27b"),
        description="models that exist; any other answers 404 model_not_found",
    )
    queue: Latency = Field(default=0.0, description="time in the queue before the first byte, ms")
    prompt: Latency = Field(default=5.0, description="time for the prompt, after the queue, ms")
    first_token: Latency | None = Field(
        default=None,
        description="from the request to the first word, ms, instead of queue, prompt and reasoning; none: they add up",
    )
    tokens_per_second: float = Field(default=500.0, gt=0, description="speed of reasoning and answer")
    reasoning_tokens: dict[str, int] = Field(
        default_factory=lambda: {"low": 6, "medium": 34, "high": 120},
        description="reasoning tokens of gpt-oss before its answer, by effort",
    )
    unfinished: Literal["continue", "anew", "nothing", "refuse"] = Field(
        default="continue",
        description="what becomes of an assistant message at the end: it is gone on with (Groq, Ollama, llama.cpp), "
        "taken for whole and said anew (vLLM) or followed by nothing, or refused with 400 (llama.cpp with reasoning)",
    )
    requests_per_minute: int = Field(default=1000, ge=1, description="above it: 429 with retry-after")
    tokens_per_minute: int = Field(default=250_000, ge=1, description="above it: 429 with retry-after")


class CartesiaConfig(_Part):
    """The emulated Cartesia. Defaults are the vendor's, on its plan Scale."""

    voices: tuple[str, ...] = Field(default=(), description="ids of voices that exist; none: any does")
    max_contexts: int = Field(
        default=15, ge=1, description="contexts generating at once; one more: concurrency_limited"
    )
    max_sockets: int = Field(default=150, ge=1, description="WebSockets at once; one more is refused with 429")
    idle_s: float = Field(
        default=300.0, gt=0, description="seconds without a generation after which the socket is closed"
    )
    context_expiry_s: float = Field(default=1.0, gt=0, description="seconds that a context outlives its last audio")
    default_buffer_ms: int = Field(default=3000, ge=0, le=5000, description="max_buffer_delay_ms of one who names none")
    first_audio: Latency = Field(default=0.0, description="time to the first audio of a generation, ms")
    chunk_ms: int = Field(default=100, ge=5, le=2000, description="length of one chunk of audio, ms")
    speed: float = Field(default=10.0, gt=0, description="how much faster than real time audio is delivered")


class SandboxConfig(BaseModel):
    """All of the sandbox."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(default="127.0.0.1", description="address that it listens on")
    engines: Literal["real", "tones", "script"] = Field(
        default="real", description="speech engines: real ones, text in tones, or a script that costs next to nothing"
    )
    certificate: Path | None = Field(default=None, description="PEM file for wss and https; none: ws and http")
    certificate_key: Path | None = Field(default=None, description="its private key, PEM, when in a file of its own")
    voice: Literal["hibari", "hibari-low", "pico"] = Field(
        default="hibari", description="the agent's voice when engines are real"
    )
    seed: int = Field(default=0, description="of latencies that are drawn")
    deepgram: DeepgramConfig = DeepgramConfig()
    groq: GroqConfig = GroqConfig()
    cartesia: CartesiaConfig = CartesiaConfig()

    @classmethod
    def read(cls, file: Path) -> SandboxConfig:
        """Read a JSON file. Raises `ConfigError`, which names each wrong setting."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        except ValidationError as error:
            raise ConfigError(f"{file}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """A validation error in a line or so for each wrong value."""
    return "\n".join(
        f"{'.'.join(str(part) for part in e['loc']) or 'the document'}: {e['msg']}" for e in error.errors()
    )
