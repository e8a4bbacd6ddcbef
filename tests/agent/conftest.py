"""The emulated vendors, with tones for speech and no latencies."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from agent.call.record import CallRecord
from agent.call.record_schema import record_schema
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import OfficeStore
from agent.ops.settings import UNLIMITED, Settings, load_settings
from agent.providers.base import LanguageModel, LlmEvent, Message
from agent.providers.cartesia import CartesiaTts
from agent.providers.llm_chain import LlmChain
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.caller import CallPlan, CallResult, SimulatedCaller, parse_script
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig
from agent.service import Agent
from agent.speech_engines import Speech, Word
from agent.speech_engines.tones import ToneVoice

DOCUMENT = Draft202012Validator(record_schema())
"""Every call of these tests leaves a document as it is published."""


@pytest.fixture
def voice() -> QuickVoice:
    return QuickVoice()


def config() -> SandboxConfig:
    return SandboxConfig(
        engines="tones",
        deepgram=DeepgramConfig(keys=("dg-secret-key",)),
        groq=GroqConfig(keys=("groq-secret-key",), prompt=0.0, tokens_per_second=20_000),
        cartesia=CartesiaConfig(keys=("car-secret-key",), speed=100.0, max_contexts=40),
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(config()) as running:
        yield running


@pytest.fixture
async def vendors(voice: QuickVoice) -> AsyncIterator[Sandbox]:
    """The same with the agent's quick voice."""
    async with Sandbox(config(), voice=voice) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# ---- whole calls ----------------------------------------------------------------------------------------------------

LONDON = LONDON_PLUMBER.numbers[0]
CALLER = "+447700900123"
CALL_TASKS = (
    "call ", "greet", "await", "speech", "stt events", "uplink", "recording", "reply", "tool ", "deepgram",
    "context", "warm tts", "connect stt", "prepare greeting", "drop preparation", "caller-",
    "stt rescue", "close stt", "local stt", "redirect",
)  # fmt: skip
"""How the names of tasks begin that belong to one call: none may outlive it. The emulated Deepgram's are among them."""


class QuickVoice:
    """The agent's voice, as a hum: `char_ms` for each letter, so that a call takes a part of its time."""

    name = "quick"
    char_ms = 8

    def speak(self, text: str, sample_rate: int) -> Speech:
        if not text.strip():
            return Speech(np.zeros(0, np.int16), sample_rate, ())
        letter = sample_rate * self.char_ms // 1000
        time_s = np.arange(letter * len(text)) / sample_rate
        hum = 3000 * np.sin(2 * np.pi * 440 * time_s) + 1000 * np.sin(2 * np.pi * 880 * time_s)
        words = [
            Word(match[0], match.start() * self.char_ms / 1000, match.end() * self.char_ms / 1000)
            for match in re.finditer(r"\S+", text)
        ]
        return Speech(hum.astype(np.int16), sample_rate, tuple(words))


class NotedLlm:
    """The real client; notes what it was asked."""

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self.asked: list[list[Message]] = []
        self.on_ask: Callable[[int], None] = lambda number: None
        """Told with each question that it is the first, the second and so on."""

    @property
    def counters(self) -> Counter[str]:
        assert isinstance(self._inner, LlmChain)
        return self._inner.counters

    def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        self.asked.append([dict(message) for message in messages])
        self.on_ask(len(self.asked))
        return self._inner.reply(messages, tools)


class Rig:
    """An agent on the emulated vendors, the two example companies, and callers."""

    def __init__(self, vendors: Sandbox, voice: QuickVoice, agent: Agent) -> None:
        self.vendors = vendors
        self.voice = voice
        self.agent = agent
        self.llm = NotedLlm(agent.services.llm)
        agent.services.llm = self.llm
        self.records: dict[UUID, asyncio.Future[CallRecord]] = {}

    def over(self, record: CallRecord) -> None:
        DOCUMENT.validate(json.loads(json.dumps(record.as_dict())))
        self._record(UUID(record.uuid)).set_result(record)

    def _record(self, call: UUID) -> asyncio.Future[CallRecord]:
        return self.records.setdefault(call, asyncio.get_running_loop().create_future())

    def speak_slowly(self, char_ms: int, *, until_asked: int) -> None:
        """Speak slowly enough to be interrupted, until the LLM is asked so often: the rest may be quick again."""
        quick, self.voice.char_ms = self.voice.char_ms, char_ms

        def on_ask(number: int) -> None:
            if number >= until_asked:
                self.voice.char_ms = quick

        self.llm.on_ask = on_ask

    @property
    def store(self) -> OfficeStore:
        return self.agent.store

    def plan(self, *, announced: bool = True, **changes: Any) -> CallPlan:
        fastagi = self.agent.fastagi_port if announced else None
        plan = CallPlan(
            port=self.agent.audio_port, fastagi_port=fastagi, did=LONDON, caller_id=CALLER,
            quiet_s=0.2, patience_s=4.0, linger_s=3.0, longest_s=40.0,
        )  # fmt: skip
        return replace(plan, **changes)

    async def dial(self, script: str, plan: CallPlan | None = None) -> CallResult:
        """A call as the caller has it: the lines of the script in order."""
        return await SimulatedCaller(plan or self.plan(), parse_script(script), ToneVoice()).run()

    async def call(self, script: str, plan: CallPlan | None = None) -> tuple[CallResult, CallRecord]:
        """The same, and the agent's record of it; nothing of the call may be left then."""
        plan = plan or self.plan()
        result = await self.dial(script, plan)
        return result, await self.record_of(plan.call)

    async def record_of(self, call: UUID, seconds: float = 4.0) -> CallRecord:
        async with asyncio.timeout(seconds):
            record = await self._record(call)
        await self.nothing_is_left()
        return record

    def sandbox_streams(self) -> int:
        """Streams that are open at the emulated Deepgram."""
        return self.vendors.deepgram.gauges["streams"]

    def slow_contexts(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """While entered, the back office takes so long to say whose call it is."""
        return _slow(self.store, "did_context", seconds)

    def slow_tools(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """While entered, each tool takes so long."""
        return _slow(self.agent.services.conversations.default.tools, "run", seconds)

    async def nothing_is_left(self) -> None:
        """Waits a moment for the last things to close, then insists."""
        await self.until(lambda: not self._left(), 1.5, self._left)

    async def until(
        self, condition: Callable[[], object], seconds: float = 4.0, what: Callable[[], object] = lambda: "no"
    ) -> None:
        """Wait until it is so; fails after so many seconds."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, what()
            await asyncio.sleep(0.01)

    def _left(self) -> list[str]:
        agent = self.agent
        left = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith(CALL_TASKS) and not t.done()]
        tts = agent.services.tts
        assert isinstance(tts, CartesiaTts)
        counts = {
            "calls": agent.calls,
            "calls of the engine": len(agent.engine.calls),
            "live calls": len(agent.live),
            "announced": agent.registry.announced,
            "running": agent.registry.running,
            "prepared": len(agent.preparations._ready),
            "Deepgram streams": self.vendors.deepgram.gauges["streams"],
            "LLM requests": self.vendors.groq.gauges["requests"],
            "TTS contexts": sum(socket.contexts for socket in tts._sockets),
        }
        return left + [f"{count} {name}" for name, count in counts.items() if count]


@asynccontextmanager
async def _slow(owner: Any, method: str, seconds: float) -> AsyncIterator[None]:
    inner = getattr(owner, method)

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(seconds)
        return await inner(*args, **kwargs)

    setattr(owner, method, slowly)
    try:
        yield
    finally:
        setattr(owner, method, inner)


@pytest.fixture
def agent_settings(tmp_path: Path, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings for an agent on the emulated vendors; what the user has set does not leak in."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "deepgram_url": vendors.deepgram_url, "deepgram_api_key": "dg-secret-key",
            "groq_url": vendors.groq_url, "groq_api_key": "groq-secret-key",
            "cartesia_url": vendors.cartesia_url, "cartesia_api_key": "car-secret-key",
            "data_dir": tmp_path, "listen_port": 0, "fastagi_port": 0, "http_port": 0, "console": False,
            "max_calls": 20, "deepgram_endpointing_ms": 200, "stt_fallbacks": ("none",), **UNLIMITED,
        }  # fmt: skip
        return load_settings(**values | changes)

    return make


RigMaker = Callable[..., AbstractAsyncContextManager[Rig]]


@pytest.fixture
def a_rig(vendors: Sandbox, voice: QuickVoice, agent_settings: Callable[..., Settings]) -> RigMaker:
    """Call it with settings: it makes an agent that has them, as a context."""

    @asynccontextmanager
    async def make(**changes: Any) -> AsyncIterator[Rig]:
        rigs: list[Rig] = []
        agent = Agent(agent_settings(**changes), on_record=lambda record: rigs[0].over(record))
        before = asyncio.all_tasks()
        async with agent:
            rigs.append(Rig(vendors, voice, agent))
            await seed_examples(rigs[0].store)
            yield rigs[0]
        names = {task.get_name() for task in asyncio.all_tasks() - before if not task.done()}
        assert not [name for name in names if name.startswith((*CALL_TASKS, "cartesia", "accept", "drain"))]

    return make


@pytest.fixture
async def rig(a_rig: RigMaker) -> AsyncIterator[Rig]:
    async with a_rig() as running:
        yield running
