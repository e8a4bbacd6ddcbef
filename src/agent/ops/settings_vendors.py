"""Settings of those who hear, think and speak: Deepgram, the LLM, Cartesia."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from agent.ops.setting_types import (
    DeepgramModel,
    Endpoint,
    HttpUrl,
    SampleRate,
    SttNames,
    WebSocketClient,
    WebSocketUrl,
    Words,
)


class VendorSettings(BaseSettings):
    """Which vendors, and how they are asked. Keys are secret: their repr is hidden, and they reach no log."""

    deepgram_api_key: SecretStr = Field(SecretStr(""), description="Deepgram's API key")
    deepgram_url: WebSocketUrl = Field("wss://api.deepgram.com", description="base URL of Deepgram's streaming API")
    deepgram_model: DeepgramModel = Field(
        "nova-3", description="Deepgram's model; `flux-general-en` or `flux-general-multi` hears where a turn ends"
    )
    deepgram_keyterms: Words = Field((), description="terms that the STT is to prefer, beside the conversation's own")
    deepgram_endpointing_ms: int = Field(300, ge=10, le=5000, description="silence that ends an utterance, ms")
    deepgram_utterance_end_ms: int = Field(1000, ge=1000, le=5000, description="UtteranceEnd's silence, ms")
    deepgram_replay_speed: float = Field(
        4.0,
        ge=1.1,
        le=20.0,
        description="how fast audio is sent that was kept while Deepgram was away, times real time",
    )
    stt_fallbacks: SttNames = Field(
        ("auto",),
        description="who hears the caller when DEEPGRAM_MODEL does not, in this order: `nova-3`, `flux-general-en`, "
        "`local` (this machine, the extra of that name); `none`; `auto`: the other one of Deepgram, and `local` where "
        "it is installed, in English",
    )
    local_stt_calls: int = Field(4, ge=1, le=64, description="calls that this machine itself hears at once")
    flux_eot_threshold: float = Field(
        0.7, ge=0.5, le=1.0, description="Flux: confidence that ends a turn; 1 leaves it to the timeout"
    )
    flux_eager_eot_threshold: float = Field(
        0.4,
        description="Flux: confidence for a first guess at the end of a turn, 0.3 to 0.9 and at most "
        "FLUX_EOT_THRESHOLD; 0 or none for no guesses",
    )
    flux_eot_timeout_ms: int = Field(2500, ge=500, le=60000, description="Flux: silence that ends any turn, ms")
    groq_api_key: SecretStr = Field(SecretStr(""), description="Groq's API key")
    groq_url: HttpUrl = Field("https://api.groq.com/openai/v1", description="base URL of an OpenAI-compatible API")
    groq_model: str = Field("openai/gpt-oss-120b", description="the LLM")
    groq_fallback_model: str = Field(
        "openai/gpt-oss-20b", description="the LLM asked when the first fails; none for no other"
    )
    groq_reasoning_effort: str = Field("low", description="gpt-oss: low, medium or high; none leaves it out")
    llm_fallback_url: Endpoint = Field(
        "",
        description="base URL of an OpenAI-compatible API that is asked when both fail, such as a local Ollama's "
        "http://127.0.0.1:11434/v1; empty for none",
    )
    llm_fallback_model: str = Field("", description="the LLM asked there")
    llm_fallback_api_key: SecretStr = Field(SecretStr(""), description="the key for it; empty for none")
    llm_temperature: float = Field(0.3, ge=0.0, le=2.0, description="the LLM's temperature")
    llm_max_tokens: int = Field(250, ge=16, le=4096, description="the longest reply, in spoken tokens")
    cartesia_api_key: SecretStr = Field(SecretStr(""), description="Cartesia's API key")
    cartesia_url: WebSocketUrl = Field("wss://api.cartesia.ai", description="base URL of Cartesia's streaming API")
    cartesia_model: str = Field("sonic-3", description="Cartesia's model")
    cartesia_voice_id: str = Field(
        "79a125e8-cd45-4c13-8a67-188112f4dd22", description="Cartesia's voice (the default is a British one)"
    )
    cartesia_version: str = Field("2026-08-14", description="version of Cartesia's API that is asked for")
    cartesia_buffer_ms: int = Field(
        0,
        ge=0,
        le=500,
        description="0: text goes to Cartesia in clauses; else as it comes, and Cartesia waits so long for more, ms",
    )
    websocket_client: WebSocketClient = Field(
        "auto",
        description="client of Deepgram and Cartesia; `auto`: picows where it is there, without a proxy",
    )
    language: str = Field("en-GB", description="the language of a conversation that names none")
    sample_rate: SampleRate = Field(
        8000, description="samples a second, both ways; for 16000 see Wideband in install-asterisk.md"
    )

    @field_validator("flux_eager_eot_threshold", mode="before")
    @classmethod
    def _none_is_0(cls, value: object) -> object:
        return 0.0 if isinstance(value, str) and value.strip().lower() == "none" else value

    @field_validator("flux_eager_eot_threshold")
    @classmethod
    def _eager(cls, value: float, info: ValidationInfo) -> float:
        if value and not 0.3 <= value <= 0.9:
            raise ValueError(f"{value:g} must be 0 or none, or from 0.3 to 0.9")
        certain = info.data.get("flux_eot_threshold")  # not there when it is wrong itself
        if certain is not None and value > certain:
            raise ValueError(
                f"FLUX_EAGER_EOT_THRESHOLD={value:g} is above FLUX_EOT_THRESHOLD={certain:g}: the guess comes first"
            )
        return value

    @property
    def uses_flux(self) -> bool:
        """Whether the STT is Flux, which ends turns itself."""
        return self.deepgram_model.startswith("flux")
