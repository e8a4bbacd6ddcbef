"""The profiles' latencies, as drawn and as our own clients see them on the wire; and that they hold nothing up."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

import aiohttp
import numpy as np
import pytest

from agent.providers.base import Audio, Text, Transcript
from agent.providers.cartesia import CartesiaOptions, CartesiaTts
from agent.providers.nova import NovaOptions, NovaStt
from agent.providers.openai_chat import ChatModel, ChatOptions
from agent.sandbox import Sandbox
from agent.sandbox.config import SandboxConfig
from agent.sandbox.latency import Dice, Latency, Percentiles
from agent.sandbox.outbox import Outbox
from agent.sandbox.profiles import PROFILES, Profile, profiled
from agent.speech_engines.tones import ToneVoice

DRAWS = 24
LEAST_MS = -1.5  # the clocks of the two sides are one, and the loop's timers are a millisecond coarse
MOST_MS = 40.0  # at the median, on a host that does other things too


class NotedDice(Dice):
    """Notes what it draws of distributions."""

    def __init__(self) -> None:
        super().__init__(1)
        self.drawn: dict[Percentiles, list[float]] = {}

    def seconds(self, latency: Latency) -> float:
        seconds = super().seconds(latency)
        if isinstance(latency, Percentiles):
            self.drawn.setdefault(latency, []).append(seconds * 1000)
        return seconds


def now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000


def seen_as_drawn(seen: Sequence[float], drawn: Sequence[float]) -> None:
    """None came sooner than it was drawn, and most of them hardly later."""
    assert len(seen) == len(drawn)
    over = [s - d for s, d in zip(sorted(seen), sorted(drawn), strict=True)]
    assert min(over) > LEAST_MS
    assert statistics.median(over) < MOST_MS


@pytest.mark.parametrize("profile", PROFILES)
def test_draws_have_the_percentiles_of_the_profile(profile: Profile) -> None:
    config = profiled(SandboxConfig(), profile)
    latencies = [config.deepgram.final_latency, config.cartesia.first_audio]
    latencies.append(config.groq.first_token if config.groq.first_token is not None else config.groq.queue)
    dice = Dice(7)
    for latency in latencies:
        assert isinstance(latency, Percentiles)
        draws = sorted(dice.seconds(latency) * 1000 for _ in range(20_000))
        found = [draws[round(share * len(draws))] for share in (0.5, 0.9, 0.99)]
        assert found == pytest.approx([latency.p50, latency.p90, latency.p99], rel=0.04)


def test_the_published_profile_is_what_is_published() -> None:
    config = profiled(SandboxConfig(), "published")
    assert config.deepgram.final_latency == Percentiles(p50=170, p90=220, p99=350)
    assert config.groq.first_token == Percentiles(p50=35, p90=55, p99=120)
    assert config.cartesia.first_audio == Percentiles(p50=60, p90=85, p99=150)


@pytest.mark.parametrize("thoughts", [3, 40])  # 40 would take 80 ms, which the first word does not wait for
async def test_the_first_word_comes_when_it_was_drawn(
    sandbox: Sandbox, http: aiohttp.ClientSession, thoughts: int
) -> None:
    dice = sandbox.groq.dice = NotedDice()
    latency = Percentiles(p50=35, p90=55, p99=120)
    sandbox.groq.config.first_token = latency
    sandbox.groq.config.tokens_per_second = 500.0
    sandbox.groq.config.reasoning_tokens = {"low": thoughts}
    model = ChatModel(ChatOptions(sandbox.groq_url, "groq-key", "openai/gpt-oss-120b"), http)
    messages = [{"role": "user", "content": "My tap is leaking"}]

    async def ask() -> float:
        begun, first = now_ms(), 0.0
        async for event in model.reply(messages, []):
            if isinstance(event, Text) and not first:
                first = now_ms() - begun
        return first

    await ask()  # connects
    dice.drawn.clear()
    seen = [ms for _ in range(DRAWS // 4) for ms in await asyncio.gather(*(ask() for _ in range(4)))]
    seen_as_drawn(seen, dice.drawn[latency])


async def test_the_reasoning_comes_before_the_first_word_in_practice(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    config = sandbox.groq.config
    config.queue, config.prompt, config.tokens_per_second = 60.0, 10.0, 500.0
    config.reasoning_tokens = {"low": 20}
    model = ChatModel(ChatOptions(sandbox.groq_url, "groq-key", "openai/gpt-oss-120b"), http)
    begun = now_ms()
    async for event in model.reply([{"role": "user", "content": "My tap is leaking"}], []):
        if isinstance(event, Text):
            break
    assert now_ms() - begun > 60 + 10 + 21 * 2 + LEAST_MS


async def test_the_first_audio_comes_when_it_was_drawn(sandbox: Sandbox) -> None:
    dice = sandbox.cartesia.dice = NotedDice()
    latency = sandbox.cartesia.config.first_audio = Percentiles(p50=60, p90=85, p99=150)
    tts = CartesiaTts(CartesiaOptions(sandbox.cartesia_url, "car-key", voice_id="79a125e8-cd45-4c13-8a67-188112f4dd22"))

    async def speak() -> float:
        synthesis = await tts.open()
        begun = now_ms()
        await synthesis.say("Right. ")
        await synthesis.finish()
        first = 0.0
        async for event in synthesis.events():
            if isinstance(event, Audio) and not first:
                first = now_ms() - begun
        return first

    try:
        await speak()
        dice.drawn.clear()
        seen = [ms for _ in range(DRAWS // 3) for ms in await asyncio.gather(*(speak() for _ in range(3)))]
    finally:
        await tts.close()
    seen_as_drawn(seen, dice.drawn[latency])


async def test_a_final_comes_when_it_was_drawn_after_it_was_asked_for(sandbox: Sandbox) -> None:
    dice = sandbox.deepgram.dice = NotedDice()
    latency = sandbox.deepgram.config.final_latency = Percentiles(p50=170, p90=220, p99=350)
    sound = np.concatenate([ToneVoice().speak("Yes.", 8000).samples, np.zeros(800, np.int16)]).astype("<i2").tobytes()

    async def ask(times: int) -> list[float]:
        stt = NovaStt(NovaOptions(sandbox.deepgram_url, "dg-key", endpointing_ms=5000))
        await stt.connect()
        events = stt.events()
        seen = []
        try:
            for number in range(times):
                stt.hear(number * 1000, sound)
                await asyncio.sleep(0.05)
                begun = now_ms()
                stt.finalize()
                async for event in events:
                    if isinstance(event, Transcript) and event.final and event.text:
                        break
                seen.append(now_ms() - begun)
        finally:
            await stt.close()
        return seen

    answers = await asyncio.gather(*(ask(DRAWS // 6) for _ in range(6)))
    seen_as_drawn([ms for seen in answers for ms in seen], dice.drawn[latency])


async def test_a_final_on_its_way_holds_up_no_audio(sandbox: Sandbox) -> None:
    sandbox.deepgram.config.final_latency = 900.0
    said = [
        np.concatenate([ToneVoice().speak(text, 8000).samples, np.zeros(4000, np.int16)]).astype("<i2").tobytes()
        for text in ("My tap leaks.", "It drips.")
    ]
    stt = NovaStt(NovaOptions(sandbox.deepgram_url, "dg-key"))
    await stt.connect()
    try:
        stt.hear(0, said[0])
        await asyncio.sleep(0.1)  # a message each
        stt.hear(len(said[0]) // 16, said[1])
        came = []
        async for event in stt.events():
            if isinstance(event, Transcript) and event.final and event.text:
                came.append((event.text, now_ms()))
            if len(came) == 2:
                break
    finally:
        await stt.close()
    assert [text for text, _ in came] == ["My tap leaks.", "It drips."]
    assert came[1][1] - came[0][1] < 700, "the second one waited for the first one's latency to pass"


async def test_an_outbox_keeps_the_order_and_drops_what_is_overtaken() -> None:
    sent: list[str] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["text"]))

    outbox = Outbox(send)
    task = asyncio.create_task(outbox.run())
    begun = asyncio.get_running_loop().time()
    outbox.post({"text": "first"}, begun + 0.1)
    outbox.post({"text": "second, due before"}, begun)
    outbox.post({"text": "interim"}, begun + 5.0, passing=True)
    outbox.post({"text": "final"}, begun + 0.15)
    outbox.post({"text": "interim in time"}, begun + 0.16, passing=True)
    outbox.post({"text": "last"}, begun + 0.2)
    await outbox.drained()
    assert asyncio.get_running_loop().time() - begun >= 0.199
    assert sent == ["first", "second, due before", "final", "interim in time", "last"]
    task.cancel()
    outbox = Outbox(send)
    for _ in range(1024):
        outbox.post({"text": "x"}, begun)
    with pytest.raises(OverflowError):
        outbox.post({"text": "x"}, begun)
