"""The LLMs: one token of each, streamed, asked with the tools of the conversation as calls ask."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import aiohttp

from agent import vendors
from agent.check.finding import Finding, Findings, at_once, error, ok, skipped, warning
from agent.check.refusal import advice_on
from agent.check.subject import Subject
from agent.providers.base import Finished, ProviderError, Text
from agent.providers.openai_chat import ChatModel, ChatOptions

SLOW_S = 1.0
"""To its first word: the caller waits for that, and for the voice behind it."""
ANSWER_S = 6.0


async def language_models(subject: Subject) -> Findings:
    """GROQ_MODEL, GROQ_FALLBACK_MODEL and LLM_FALLBACK_MODEL."""
    settings = subject.settings
    conversation = subject.conversations.default if subject.conversations is not None else None
    tools = conversation.tools.schemas() if conversation is not None else []
    asked = []
    for number, options in enumerate(vendors.chat_options(settings)):
        prefix = "GROQ" if options.url == settings.groq_url else "LLM_FALLBACK"
        if prefix == "GROQ" and not options.api_key:
            yield skipped(f"llm-{number + 1}", f"{options.model} not tried: GROQ_API_KEY is missing")
            continue
        asked.append(_ask(number, options, prefix, tools))
    for finding in await at_once(*asked):
        yield finding


async def _ask(number: int, options: ChatOptions, prefix: str, tools: list[dict[str, Any]]) -> Finding:
    name = f"llm-{number + 1}"
    bad = error if number == 0 else warning
    messages = [{"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "Say yes."}]
    begun = time.monotonic()
    first_s = 0.0
    finished: Finished | None = None
    try:
        # A session of its own, so that it is asked over a connection of its own, as the first turn of a quiet hour is.
        async with asyncio.timeout(ANSWER_S), aiohttp.ClientSession() as http:
            model = ChatModel(replace(options, max_tokens=1), http)
            async with aclosing(model.stream(messages, tools)) as events:
                async for event in events:
                    if isinstance(event, Text) and not first_s:
                        first_s = time.monotonic() - begun
                    if isinstance(event, Finished):
                        finished = event
    except TimeoutError:
        return bad(
            name, f"{options.model}: no answer within {ANSWER_S:g} s", f"see {prefix}_URL and the vendor's status page"
        )
    except ProviderError as refusal:
        said = str(refusal).partition(": ")[2]
        if refusal.status == 404 or "model_" in said:
            model_setting = (
                "LLM_FALLBACK_MODEL" if prefix != "GROQ" else "GROQ_MODEL" if number == 0 else "GROQ_FALLBACK_MODEL"
            )
            return bad(
                name,
                f"{options.model}: {said}",
                f"set {model_setting} to a model that your account has: GET {options.url}/models lists them",
            )
        return bad(name, f"{options.model}: {said}", advice_on(refusal, prefix))
    first_s = first_s or time.monotonic() - begun
    tokens = f"{finished.prompt_tokens + finished.completion_tokens} tokens" if finished is not None else "some tokens"
    told = f"{options.model}: first word after {1000 * first_s:.0f} ms ({tokens})"
    if first_s > SLOW_S:
        return warning(
            name,
            f"{told}; that is slow",
            "check again at another hour; another model, or region, may be quicker",
            seconds=first_s,
        )
    return ok(name, told, seconds=first_s)
