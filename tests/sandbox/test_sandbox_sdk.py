"""A vendor's own client against the emulator: the wire is the vendor's, not only what our tests think it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.sandbox import Sandbox
from agent.speech_engines import load_recogniser

cartesia = pytest.importorskip("cartesia", reason="the extra [cartesia] is not installed")

VOICE = {"id": "79a125e8-cd45-4c13-8a67-188112f4dd22"}
RAW = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000}


async def test_cartesias_sdk_speaks_through_the_emulator(sandbox: Sandbox) -> None:
    client = cartesia.AsyncCartesia(api_key="car-key", websocket_base_url=sandbox.cartesia_url)
    async with client.tts.websocket_connect() as connection:
        context = connection.context(
            model_id="sonic-3", voice=VOICE, output_format=RAW, language="en", max_buffer_delay_ms=0
        )
        await context.push("Hello there, ")
        await context.push("how are you?")
        await context.no_more_inputs()
        events: list[Any] = [event async for event in context.receive()]
    await client.close()
    assert [event.type for event in events if event.type != "chunk"] == ["flush_done", "flush_done", "done"]
    sound = b"".join(event.audio for event in events if event.type == "chunk")
    heard = load_recogniser("tones").transcribe(np.frombuffer(sound, "<i2").astype(np.int16))
    assert " ".join(word.text for word in heard) == "Hello there, how are you?"


async def test_the_sdks_bare_context_is_refused_for_its_other_fields(sandbox: Sandbox) -> None:
    """`context()` without fields closes with the SDK's own model, voice and format."""
    client = cartesia.AsyncCartesia(api_key="car-key", websocket_base_url=sandbox.cartesia_url)
    async with client.tts.websocket_connect() as connection:
        context = connection.context()
        await context.send(model_id="sonic-3", transcript="Hi.", voice=VOICE, output_format=RAW, continue_=True)
        await context.no_more_inputs()
        events: list[Any] = [event async for event in context.receive()]
    await client.close()
    assert (events[-1].type, events[-1].status_code) == ("error", 400)
    assert "output_format" in events[-1].message
