"""Cartesia: one word in the agent's voice, over the WebSocket that calls use."""

from __future__ import annotations

import asyncio
import time

from agent import vendors
from agent.call.company import default_context
from agent.check.finding import Findings, error, ok, skipped, warning
from agent.check.refusal import advice_on
from agent.check.subject import Subject
from agent.providers.base import DEFAULT_VOICE, Audio, ProviderError, bytes_a_ms
from agent.providers.breaker import Breakers

WORD = "Hello."
SLOW_S = 0.8
"""To its first audio, once connected: the caller waits for that in each turn."""
ANSWER_S = 6.0


async def cartesia(subject: Subject) -> Findings:
    """The voice of the conversation, or CARTESIA_VOICE_ID."""
    settings = subject.settings
    if not settings.cartesia_api_key.get_secret_value():
        yield skipped("cartesia", "not tried: CARTESIA_API_KEY is missing")
        return
    conversations = subject.conversations
    voice = conversations.voice_of(default_context()) if conversations is not None else DEFAULT_VOICE
    what = f"Cartesia {settings.cartesia_model}, voice {voice.id or settings.cartesia_voice_id}"
    tts = vendors.text_to_speech(settings, settings.language, Breakers())
    begun = time.monotonic()
    sent = first = 0.0
    size = 0
    try:
        async with asyncio.timeout(ANSWER_S):
            synthesis = await tts.open(voice)
            sent = time.monotonic()
            await synthesis.say(WORD)
            await synthesis.finish()
            async for event in synthesis.events():
                if isinstance(event, Audio):
                    first = first or time.monotonic()
                    size += len(event.pcm)
    except TimeoutError:
        yield error(
            "cartesia", f"{what}: not done within {ANSWER_S:g} s", "see CARTESIA_URL and the vendor's status page"
        )
        return
    except ProviderError as refusal:
        said = str(refusal).partition(": ")[2]
        if "voice" in said.lower() and sent:
            mend = "set CARTESIA_VOICE_ID to a voice of your account: play.cartesia.ai lists them"
        elif "model" in said.lower() and sent:
            mend = "set CARTESIA_MODEL to one that your account has, such as sonic-3"
        else:
            mend = advice_on(refusal, "CARTESIA")
        yield error("cartesia", f"{what}: {said}", mend)
        return
    finally:
        await tts.close()
    if not size:
        yield error(
            "cartesia", f"{what}: it said that it was done, and sent no audio", "set CARTESIA_VOICE_ID to another voice"
        )
        return
    length_ms = size / bytes_a_ms(settings.sample_rate)
    told = (
        f"{what}: connected in {1000 * (sent - begun):.0f} ms, first audio after {1000 * (first - sent):.0f} ms "
        f"({len(WORD)} characters, {length_ms / 1000:.1f} s of audio)"
    )
    if first - sent > SLOW_S:
        yield warning(
            "cartesia",
            f"{told}; that is slow",
            "check again at another hour; look at the network",
            seconds=first - sent,
        )
    else:
        yield ok("cartesia", told, seconds=first - sent)
