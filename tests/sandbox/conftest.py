"""An emulated vendor of each kind on free ports, with tones for speech and no latencies."""

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
        deepgram=DeepgramConfig(keys=("dg-key",), idle_s=5.0),
        groq=GroqConfig(keys=("groq-key",), prompt=0.0, tokens_per_second=20_000),
        cartesia=CartesiaConfig(keys=("car-key",), context_expiry_s=0.15, idle_s=5.0, speed=100.0),
    )
    async with Sandbox(config) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
