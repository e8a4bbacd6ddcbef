"""A subject to look at: settings of a host that is in order, on emulated vendors."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.check import apis, cartesia, deepgram, language_models, self_call
from agent.check.finding import Finding, Findings
from agent.check.subject import Host, Subject
from agent.ops.settings import UNLIMITED, Settings, load_settings
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig

KEYS = {"deepgram": "dg-secret-key", "groq": "groq-secret-key", "cartesia": "car-secret-key"}
VOICE = "79a125e8-cd45-4c13-8a67-188112f4dd22"

Looking = Callable[[Callable[[Subject], Findings], Subject], Any]
SubjectMaker = Callable[..., Subject]


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def look(probe: Callable[[Subject], Findings], subject: Subject) -> dict[str, Finding]:
    """What a probe finds, by name; two of one name are a list in a test of their own."""
    return {finding.name: finding async for finding in probe(subject)}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has much else to do is no slow vendor."""
    for module in (apis, cartesia, deepgram, language_models, self_call):
        for limit in ("SLOW_S", "ANSWER_S", "GREETED_S", "LONGEST_S"):
            if hasattr(module, limit):
                monkeypatch.setattr(module, limit, 30.0)


@pytest.fixture
async def vendors() -> AsyncIterator[Sandbox]:
    config = SandboxConfig(
        engines="tones",
        deepgram=DeepgramConfig(keys=(KEYS["deepgram"],)),
        groq=GroqConfig(keys=(KEYS["groq"],), prompt=0.0, tokens_per_second=20_000),
        cartesia=CartesiaConfig(keys=(KEYS["cartesia"],), voices=(VOICE,), speed=100.0),
    )
    async with Sandbox(config) as running:
        yield running


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def a_subject(tmp_path: Path, clean_environment: None) -> AsyncIterator[SubjectMaker]:
    """Call it with settings: it makes a subject that has them. Nothing of it is online unless `vendors` is given."""
    made: list[Subject] = []

    def make(vendors: Sandbox | None = None, *, host: Host | None = None, **changes: Any) -> Subject:
        data = tmp_path / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        values: dict[str, Any] = {
            **{f"{vendor}_api_key": key for vendor, key in KEYS.items()},
            "data_dir": data, "console": False, "stt_fallbacks": ("none",), **UNLIMITED,
            **{name: free_port() for name in ("listen_port", "fastagi_port", "http_port")},
        }  # fmt: skip
        if vendors is not None:
            values |= {
                "deepgram_url": vendors.deepgram_url,
                "groq_url": vendors.groq_url,
                "cartesia_url": vendors.cartesia_url,
            }
        subject = Subject(None, host=host or Host(), settings_=load_settings(None, **values | changes))
        made.append(subject)
        return subject

    yield make
    for subject in made:
        await subject.close()
