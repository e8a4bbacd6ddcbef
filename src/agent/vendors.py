"""The vendors that the settings name, ready to be used."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.ops.settings import Settings
from agent.providers.breaker import Breakers
from agent.providers.cartesia import BREAKER, CartesiaOptions, CartesiaTts
from agent.providers.flux import FluxOptions, FluxStt
from agent.providers.llm_chain import LlmChain, host_of
from agent.providers.nova import NovaOptions, NovaStt
from agent.providers.openai_chat import ChatModel, ChatOptions
from agent.providers.stt_chain import Link, SttChain, SttLink

if TYPE_CHECKING:
    from agent.providers.stt_local import LocalEars

LOCAL_PACKAGES = ("numpy", "onnxruntime", "moonshine_cpp", "scipy")
"""Of the extra `[local]`: what the local STT is made of."""


def speech_to_text(
    settings: Settings, language: str, terms: Sequence[str], breakers: Breakers, ears: LocalEars | None
) -> SttChain:
    """One call's STT, which is to prefer these terms and those of the settings; it is not connected yet.

    `ears` is what `local_ears` gave.
    """
    return SttChain(
        [
            _local_link(settings, breakers, ears)
            if name == "local" and ears is not None
            else _deepgram_link(settings, name, language, terms, breakers)
            for name in stt_names(settings, language)
        ]
    )


def stt_names(settings: Settings, language: str) -> list[str]:
    """The models that may hear a call, in the order in which they are wanted; `local` is this machine's."""
    first, fallbacks = settings.deepgram_model, settings.stt_fallbacks
    if fallbacks == ("auto",):
        english = language.partition("-")[0] == "en"
        other = "nova-3" if settings.uses_flux else "flux-general-en" if english else ""
        fallbacks = (other, "local" if english and _local_installed() else "")
    return [name for name in dict.fromkeys((first, *fallbacks)) if name not in ("", "none")]


def local_ears(settings: Settings) -> LocalEars | None:
    """The STT of this machine itself, for all calls, when one may need it; it is to be closed.

    Its model is loaded at the first trouble, and now when the settings name it.
    """
    named = "local" in settings.stt_fallbacks
    if not named and (settings.stt_fallbacks != ("auto",) or not _local_installed()):
        return None
    from agent.providers.stt_local import LocalEars

    ears = LocalEars(settings.local_stt_calls)
    if named:
        ears.prepare()
    return ears


def _local_installed() -> bool:
    return all(importlib.util.find_spec(package) is not None for package in LOCAL_PACKAGES)


def _local_link(settings: Settings, breakers: Breakers, ears: LocalEars) -> Link:
    from agent.providers.stt_local import LocalStt

    breaker = breakers.of("stt local")

    def make(counters: Counter[str]) -> SttLink:
        return LocalStt(
            ears,
            settings.sample_rate,
            endpointing_s=settings.deepgram_endpointing_ms / 1000,
            utterance_end_s=settings.deepgram_utterance_end_ms / 1000,
            breaker=breaker,
            counters=counters,
        )

    return Link("local", make, breaker)


def deepgram_options(
    settings: Settings, model: str, language: str, terms: Sequence[str] = ()
) -> NovaOptions | FluxOptions:
    """How a call is heard by this model of Deepgram's, which is to prefer these terms and those of the settings."""
    common: dict[str, Any] = {
        "url": settings.deepgram_url,
        "api_key": settings.deepgram_api_key.get_secret_value(),
        "model": model,
        "language": language,
        "keyterms": (*terms, *settings.deepgram_keyterms),
        "sample_rate": settings.sample_rate,
        "websocket": settings.websocket_client,
        "replay_speed": settings.deepgram_replay_speed,
    }
    if model.startswith("flux"):
        return FluxOptions(
            **common,
            eot_threshold=settings.flux_eot_threshold,
            eager_eot_threshold=settings.flux_eager_eot_threshold or None,
            eot_timeout_ms=settings.flux_eot_timeout_ms,
        )
    return NovaOptions(
        **common,
        endpointing_ms=settings.deepgram_endpointing_ms,
        utterance_end_ms=settings.deepgram_utterance_end_ms,
    )


def _deepgram_link(settings: Settings, model: str, language: str, terms: Sequence[str], breakers: Breakers) -> Link:
    breaker = breakers.of(f"stt {model}")
    options = deepgram_options(settings, model, language, terms)

    def make(counters: Counter[str]) -> SttLink:
        if isinstance(options, FluxOptions):
            return FluxStt(options, breaker, counters)
        return NovaStt(options, breaker, counters)

    return Link(model, make, breaker)


def language_model(settings: Settings, http: aiohttp.ClientSession, breakers: Breakers) -> LlmChain:
    """The LLMs of all calls, in the order in which they are asked; the session stays its owner's."""
    return LlmChain([ChatModel(options, http) for options in chat_options(settings)], breakers)


def chat_options(settings: Settings) -> list[ChatOptions]:
    """How each of the LLMs is asked, in their order."""
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
                price_name=f"{host_of(settings.llm_fallback_url)} {settings.llm_fallback_model}",
            )
        )
    return chain


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
