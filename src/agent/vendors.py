"""The vendors that the settings name, ready to be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from agent.ops.settings import Settings
from agent.providers.base import SpeechToText
from agent.providers.breaker import Breakers
from agent.providers.cartesia import BREAKER, CartesiaOptions, CartesiaTts
from agent.providers.flux import FluxOptions, FluxStt
from agent.providers.llm_chain import LlmChain
from agent.providers.nova import NovaOptions, NovaStt
from agent.providers.openai_chat import ChatModel, ChatOptions


def speech_to_text(settings: Settings, language: str, terms: Sequence[str]) -> SpeechToText:
    """One call's STT, which is to prefer these terms and those of the settings; it is not connected yet."""
    common: dict[str, Any] = {
        "url": settings.deepgram_url,
        "api_key": settings.deepgram_api_key.get_secret_value(),
        "model": settings.deepgram_model,
        "language": language,
        "keyterms": (*terms, *settings.deepgram_keyterms),
        "sample_rate": settings.sample_rate,
        "websocket": settings.websocket_client,
    }
    if settings.uses_flux:
        return FluxStt(
            FluxOptions(
                **common,
                eot_threshold=settings.flux_eot_threshold,
                eager_eot_threshold=settings.flux_eager_eot_threshold or None,
                eot_timeout_ms=settings.flux_eot_timeout_ms,
            )
        )
    return NovaStt(
        NovaOptions(
            **common,
            endpointing_ms=settings.deepgram_endpointing_ms,
            utterance_end_ms=settings.deepgram_utterance_end_ms,
        )
    )


def language_model(settings: Settings, http: aiohttp.ClientSession, breakers: Breakers) -> LlmChain:
    """The LLMs of all calls, in the order in which they are asked; the session stays its owner's."""
    first = ChatOptions(
        settings.groq_url,
        settings.groq_api_key.get_secret_value(),
        settings.groq_model,
        settings.llm_temperature,
        settings.llm_max_tokens,
        _unless_none(settings.groq_reasoning_effort),
    )
    chain = [first]
    if fallback := _unless_none(settings.groq_fallback_model):
        chain.append(replace(first, model=fallback))
    if settings.llm_fallback_url:
        chain.append(
            replace(
                first,
                url=settings.llm_fallback_url.rstrip("/"),
                api_key=settings.llm_fallback_api_key.get_secret_value(),
                model=settings.llm_fallback_model,
                limit_name="max_completion_tokens" if "openai.com" in settings.llm_fallback_url else "max_tokens",
            )
        )
    return LlmChain([ChatModel(options, http) for options in chain], breakers)


def text_to_speech(settings: Settings, language: str, breakers: Breakers) -> CartesiaTts:
    """The TTS of all calls; `language` (BCP 47) is for voices that name none. It is to be closed."""
    return CartesiaTts(
        CartesiaOptions(
            settings.cartesia_url,
            settings.cartesia_api_key.get_secret_value(),
            settings.cartesia_model,
            settings.cartesia_voice_id,
            language.partition("-")[0],
            settings.cartesia_version,
            settings.sample_rate,
            settings.cartesia_buffer_ms,
            settings.websocket_client,
        ),
        breakers.of(BREAKER),
    )


def _unless_none(setting: str) -> str:
    """An empty value in an env file means the default, so "none" says that there is to be nothing."""
    return "" if setting.lower() == "none" else setting
