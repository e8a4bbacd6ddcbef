"""Whole calls whose first STT fails: who hears the caller then, and that each word is answered once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from agent import vendors
from agent.ops.settings import load_settings
from agent.providers import breaker, deepgram

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker

NOVA, FLUX = "nova-3", "flux-general-en"


async def test_another_model_hears_the_caller_when_the_first_refuses(
    a_rig: RigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST_S", 60.0)
    async with a_rig(stt_fallbacks=(FLUX,)) as rig:
        faults = rig.vendors.deepgram.faults
        faults.model, faults.refuse_times, faults.refuse_status = NOVA, 100, 402
        for _ in range(2):
            result, record = await rig.call("say: My tap leaks.\nhangup")
            assert result.failure == ""
            assert [turn.caller for turn in record.turns[1:]] == ["My tap leaks."]
            assert record.vendors["stt"][f"took {FLUX}"] == 1
        assert rig.vendors.deepgram.counters["refused_by_fault"] == 1, "the second call knows from the first"
        assert rig.agent.breakers.of(f"stt {NOVA}").rest_s > 0


@pytest.mark.parametrize("how", ["lost", "mute"])
async def test_another_model_goes_on_in_the_middle_of_a_call(
    a_rig: RigMaker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(deepgram, "UNANSWERED_S", 0.4)
    async with a_rig(stt_fallbacks=(FLUX,)) as rig:
        faults = rig.vendors.deepgram.faults

        async def fail() -> None:
            await rig.until(lambda: rig.vendors.deepgram.sockets)
            faults.model = NOVA
            if how == "lost":
                faults.close_times, faults.close_after_ms, faults.refuse_times = 1, 400, 100
            else:
                faults.silent_times = 1

        failing = asyncio.create_task(fail())
        result, record = await rig.call("say: My tap leaks.\nsay: Thank you, that is all.\nhangup")
        await failing
        assert result.failure == ""
        said = " ".join(turn.caller for turn in record.turns if turn.caller)
        assert said == "My tap leaks. Thank you, that is all."
        counters = record.vendors["stt"]
        assert (counters["switched"], counters["dropped_ms"]) == (1, 0)
        assert [mark.what for mark in record.marks if mark.what.startswith("stt")] == ["stt_away", "stt_back"]


def test_who_may_hear_a_call() -> None:
    def names(model: str, fallbacks: tuple[str, ...], language: str = "en-GB") -> list[str]:
        return vendors.stt_names(load_settings(deepgram_model=model, stt_fallbacks=fallbacks), language)

    assert names(NOVA, ("auto",))[:2] == [NOVA, FLUX]
    assert names(FLUX, ("auto",))[:2] == [FLUX, NOVA]
    assert names(NOVA, ("auto",), "de") == [NOVA], "neither Flux's English model nor Moonshine hears it"
    assert names(NOVA, ("none",)) == [NOVA]
    assert names(FLUX, ("nova-3", "flux-general-en")) == [FLUX, NOVA]
