"""Sentences that are there when the voice is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from agent.call.prompts import Prompt, PromptKey, Prompts, embedded
from agent.conversations import Phrases
from agent.conversations.command import copy_conversation
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import OfficeStore
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.providers.base import DEFAULT_VOICE, SpeakingVoice
from agent.sandbox import Sandbox
from agent.speech_engines.tones import ToneRecogniser

pytest.importorskip("cartesia", reason="the extra [cartesia] is not installed")

from agent.ops.prompts import folder_name, record_prompts, wording


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("prompt", Prompt)
def test_each_prompt_of_the_package_is_speech_at_the_level_of_a_call(prompt: Prompt, rate: int) -> None:
    pcm, text = Prompts().audio(prompt, DEFAULT_VOICE, rate)
    assert text == prompt.value
    samples = np.frombuffer(pcm, "<i2") / 32768
    assert 0.04 < len(samples) / rate / len(text) < 0.12  # s for each letter
    assert -23.0 < 10 * np.log10(np.mean(samples**2)) < -19.0
    assert np.abs(samples).max() < 0.9
    assert np.abs(samples[[0, -1]]).max() < 0.02  # no click at either end


def test_both_rates_are_one_sound() -> None:
    from scipy.signal import resample_poly

    narrow = np.frombuffer(embedded(Prompt.TROUBLE, 8000), "<i2").astype(float)
    wide = np.frombuffer(embedded(Prompt.TROUBLE, 16000), "<i2").astype(float)
    wanted = resample_poly(narrow, 2, 1)
    assert np.mean((wide - wanted) ** 2) < 1e-4 * np.mean(wanted**2)


def test_a_voice_that_was_recorded_is_heard_and_no_other() -> None:
    own, german = (b"own", "In my voice."), (b"deutsch", "Einen Moment.")
    prompts = Prompts(
        {PromptKey(Prompt.SORRY, "emma", "en", 8000): own, PromptKey(Prompt.SORRY, "emma", "de", 8000): german},
        default_voice_id="emma",
    )
    assert prompts.audio(Prompt.SORRY, DEFAULT_VOICE, 8000) == own
    assert prompts.audio(Prompt.SORRY, SpeakingVoice("emma", "en"), 8000) == own
    assert prompts.audio(Prompt.SORRY, SpeakingVoice("", "de"), 8000) == german
    for voice, rate in ((SpeakingVoice("fred", "en"), 8000), (DEFAULT_VOICE, 16000)):
        assert prompts.audio(Prompt.SORRY, voice, rate) == (embedded(Prompt.SORRY, rate), Prompt.SORRY.value)
    assert prompts.audio(Prompt.TROUBLE, DEFAULT_VOICE, 8000)[0] == embedded(Prompt.TROUBLE, 8000)


# ---- recorded -------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(sandbox: Sandbox, tmp_path: Path) -> Settings:
    sandbox.cartesia.config.voices = ("emma", "fred")
    return load_settings(
        None, data_dir=tmp_path, cartesia_url=sandbox.cartesia_url, cartesia_api_key="car-secret-key",
        cartesia_voice_id="emma",
    )  # fmt: skip


async def record(settings: Settings, *, again: bool = False) -> tuple[int, list[str]]:
    lines: list[str] = []
    return await record_prompts(settings, again=again, report=lines.append), lines


def said(audio: tuple[bytes, str]) -> str:
    return " ".join(word.text for word in ToneRecogniser().transcribe(np.frombuffer(audio[0], "<i2")))


async def test_prompts_are_recorded_once_and_found_again(settings: Settings, sandbox: Sandbox) -> None:
    failed, lines = await record(settings)
    assert (failed, len(lines)) == (0, 1 + len(Prompt))
    prompts = Prompts.load(settings.prompts, "emma")
    for prompt in Prompt:
        audio = prompts.audio(prompt, SpeakingVoice("emma", "en"), 8000)
        assert said(audio) == audio[1] == wording(prompt, Phrases())
    assert sandbox.cartesia.counters["bytes_asked_for"] == len(Prompt)
    failed, lines = await record(settings)
    assert (failed, len(lines)) == (0, 1)
    assert sandbox.cartesia.counters["bytes_asked_for"] == len(Prompt)
    assert sandbox.cartesia.counters["voices_asked_for"] == 1
    await record(settings, again=True)
    assert sandbox.cartesia.counters["bytes_asked_for"] == 2 * len(Prompt)


async def test_only_what_has_other_words_is_recorded_anew(settings: Settings, sandbox: Sandbox, tmp_path: Path) -> None:
    await record(settings)
    desk = tmp_path / "desk"
    copy_conversation("home_services", desk)
    toml = (desk / "conversation.toml").read_text()
    toml = toml.replace("I'll put you through now.", "One moment, my colleague is here.")
    (desk / "conversation.toml").write_text(toml.replace("Are you still there?", "Is {company_name} too quiet?"))
    changed = settings.model_copy(update={"conversation": str(desk)})
    failed, lines = await record(changed)
    assert failed == 0
    assert sandbox.cartesia.counters["bytes_asked_for"] == len(Prompt) + 1
    assert any("still_there has a placeholder" in line for line in lines)
    prompts = Prompts.load(settings.prompts, "emma")
    assert said(prompts.audio(Prompt.TRANSFERRING)) == "One moment, my colleague is here."
    assert len(list(settings.prompts.glob("*/*.wav"))) == len(Prompt), "what nothing names any more is gone"


async def test_each_company_has_them_in_its_own_voice(settings: Settings) -> None:
    async with await OfficeStore.open(settings.database) as store:
        await seed_examples(store)
        await store.add_company(replace(LONDON_PLUMBER, name="Fred's", numbers=("+442079460555",), voice_id="fred"))
        await store.add_company(replace(LONDON_PLUMBER, name="Gone", numbers=("+442079460556",), voice_id="../gone"))
    failed, lines = await record(settings)
    assert failed == 1
    assert any("../gone (Gone): Cartesia has no such voice" in line for line in lines)
    prompts = Prompts.load(settings.prompts, "emma")
    assert prompts.has(Prompt.SORRY, SpeakingVoice("fred", "en"), 8000)
    assert not prompts.has(Prompt.SORRY, SpeakingVoice("../gone", "en"), 8000)
    assert {path.name for path in settings.prompts.iterdir()} == {"emma", "fred"}
    assert folder_name("../gone") == "%2E%2E%2Fgone"


async def test_what_cannot_be_recorded_is_said_and_costs_nothing_that_is_there(
    settings: Settings, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await record(settings)
    manifest = next(settings.prompts.glob("*/prompts.json"))
    before = manifest.read_bytes()
    sandbox.cartesia.config.keys = ("another",)
    failed, lines = await record(settings, again=True)
    assert (failed, lines) == (1, ["emma (the agent): Cartesia refuses CARTESIA_API_KEY"])
    assert manifest.read_bytes() == before
    with pytest.raises(SettingsError, match="CARTESIA_API_KEY is missing"):
        await record(settings.model_copy(update={"cartesia_api_key": SecretStr("")}))
    next(settings.prompts.glob("*/sorry-en*.wav")).write_bytes(b"RIFF")
    prompts = Prompts.load(settings.prompts, "emma")
    assert prompts.audio(Prompt.SORRY) == (embedded(Prompt.SORRY, 8000), Prompt.SORRY.value)
    assert "run voice-agent prompts" in caplog.text
    manifest.write_text("[")
    assert len(Prompts.load(settings.prompts, "emma")) == 0


async def test_wideband_prompts_have_their_own_recordings(settings: Settings) -> None:
    await record(settings)
    await record(settings.model_copy(update={"sample_rate": 16000}))
    prompts = Prompts.load(settings.prompts, "emma")
    narrow, wide = (prompts.audio(Prompt.SORRY, DEFAULT_VOICE, rate)[0] for rate in (8000, 16000))
    assert len(wide) == 2 * len(narrow)
    assert len(prompts) == 2 * len(Prompt)
