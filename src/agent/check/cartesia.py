"""Cartesia: one word in the agent's voice, over the WebSocket that calls use."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from agent import vendors
from agent.call.company import default_context
from agent.check.finding import Finding, Findings, error, ok, skipped, warning
from agent.check.office import company_voices
from agent.check.refusal import advice_on
from agent.check.subject import Subject
from agent.ops.settings import Settings
from agent.providers.base import DEFAULT_VOICE, Audio, ProviderError, SpeakingVoice, bytes_a_ms
from agent.providers.breaker import Breakers
from agent.providers.cartesia import CartesiaTts

WORD = "Hello."
SLOW_S = 0.8
"""To its first audio, once connected: the caller waits for that in each turn."""
ANSWER_S = 6.0
MOST_VOICES = 5
"""Of companies: each costs six characters."""


async def cartesia(subject: Subject) -> Findings:
    """The voice of the conversation, or CARTESIA_VOICE_ID; and those of companies."""
    settings = subject.settings
    if not settings.cartesia_api_key.get_secret_value():
        yield skipped("cartesia", "not tried: CARTESIA_API_KEY is missing")
        return
    conversations = subject.conversations
    voice = conversations.voice_of(default_context()) if conversations is not None else DEFAULT_VOICE
    voice_id = voice.id or settings.cartesia_voice_id
    tts = vendors.text_to_speech(settings, settings.language, Breakers())
    try:
        finding = await _ask(tts, voice, settings, voice_id)
        yield finding
        if finding.level == "error":
            return
        others = [each for each in await company_voices(subject) if each != voice_id]
        # One by one: a small plan has two contexts, and calls may be running.
        for each in others[:MOST_VOICES]:
            yield await _ask_of_company(tts, replace(voice, id=each))
        if len(others) > MOST_VOICES:
            yield skipped(
                "cartesia-voice",
                f"{len(others) - MOST_VOICES} more voices of companies not tried",
                "voice-agent prompts records with each of them",
            )
    finally:
        await tts.close()


async def _ask(tts: CartesiaTts, voice: SpeakingVoice, settings: Settings, voice_id: str) -> Finding:
    what = f"Cartesia {settings.cartesia_model}, voice {voice_id}"
    try:
        spoken = await _speak(tts, voice)
    except TimeoutError:
        mend = "see CARTESIA_URL and the vendor's status page"
        return error("cartesia", f"{what}: not done within {ANSWER_S:g} s", mend)
    except ProviderError as refusal:
        said = str(refusal).partition(": ")[2]
        if tts.counters["connected"] and "voice" in said.lower():
            mend = "set CARTESIA_VOICE_ID to a voice of your account: play.cartesia.ai lists them"
        elif tts.counters["connected"] and "model" in said.lower():
            mend = "set CARTESIA_MODEL to one that your account has, such as sonic-3"
        else:
            mend = advice_on(refusal, "CARTESIA")
        return error("cartesia", f"{what}: {said}", mend)
    if not spoken.size:
        mend = "set CARTESIA_VOICE_ID to another voice"
        return error("cartesia", f"{what}: it said that it was done, and sent no audio", mend)
    told = (
        f"{what}: connected in {1000 * spoken.connected_s:.0f} ms, first audio after {1000 * spoken.first_s:.0f} ms "
        f"({len(WORD)} characters, {spoken.size / bytes_a_ms(settings.sample_rate) / 1000:.1f} s of audio)"
    )
    if spoken.first_s > SLOW_S:
        mend = "check again at another hour; look at the network"
        return warning("cartesia", f"{told}; that is slow", mend, seconds=spoken.first_s)
    return ok("cartesia", told, seconds=spoken.first_s)


async def _ask_of_company(tts: CartesiaTts, voice: SpeakingVoice) -> Finding:
    what = f"a company's voice {voice.id}"
    mend = "choose another one in the console, under Companies: its callers hear recorded words alone"
    try:
        spoken = await _speak(tts, voice)
    except TimeoutError:
        return warning("cartesia-voice", f"{what}: not done within {ANSWER_S:g} s", mend)
    except ProviderError as refusal:
        return error("cartesia-voice", f"{what}: {str(refusal).partition(': ')[2]}", mend)
    return ok("cartesia-voice", f"{what} speaks") if spoken.size else error("cartesia-voice", f"{what} is silent", mend)


@dataclass(frozen=True, slots=True)
class _Spoken:
    connected_s: float
    first_s: float
    size: int
    """Bytes of audio."""


async def _speak(tts: CartesiaTts, voice: SpeakingVoice) -> _Spoken:
    """Say a word. Raises `ProviderError` and `TimeoutError`."""
    begun = time.monotonic()
    first = 0.0
    size = 0
    async with asyncio.timeout(ANSWER_S):
        synthesis = await tts.open(voice)
        sent = time.monotonic()
        await synthesis.say(WORD)
        await synthesis.finish()
        async for event in synthesis.events():
            if isinstance(event, Audio):
                first = first or time.monotonic()
                size += len(event.pcm)
    return _Spoken(sent - begun, first - sent, size)
