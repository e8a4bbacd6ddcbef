"""The emulated vendors, with tones for speech and no latencies."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    config = SandboxConfig(
        engines="tones",
        deepgram=DeepgramConfig(keys=("dg-secret-key",)),
        groq=GroqConfig(keys=("groq-secret-key",), prompt=0.0, tokens_per_second=20_000),
        cartesia=CartesiaConfig(keys=("car-secret-key",), speed=100.0, max_contexts=40),
    )
    async with Sandbox(config) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
