"""What a call used, by its record, against what the emulated vendors counted themselves; and what that costs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from agent.ops.prices import load_prices
from agent.ops.recording import read_tracks
from agent.ops.settings import SettingsError
from agent.providers.base import bytes_a_ms
from agent.providers.metering import METER, Meter
from agent.telephony import CallInfo
from tests.agent.scripts import BOOKING

if TYPE_CHECKING:
    from agent.call.record import CallRecord
    from tests.agent.conftest import Rig, RigMaker

MODEL = "openai/gpt-oss-120b"


def counted(rig: Rig, rate: int = 8000) -> dict[str, Any]:
    """What the emulated vendors have received and sent."""
    deepgram, groq, cartesia = (
        each.counters for each in (rig.vendors.deepgram, rig.vendors.groq, rig.vendors.cartesia)
    )
    return {
        "seconds": deepgram["audio_bytes"] / bytes_a_ms(rate) / 1000,
        "requests": groq["requests"],
        **{name: groq[name] for name in ("tokens_in", "tokens_cached", "tokens_out")},
        "characters": cartesia["characters_taken"],
    }


def used(record: CallRecord) -> dict[str, float]:
    """The same of a record, over all models."""
    sums: dict[str, float] = {}
    for models in record.usage.values():
        for units in models.values():
            for unit, amount in units.items():
                sums[unit] = sums.get(unit, 0) + amount
    return sums


def price_of(record: CallRecord) -> float:
    """By hand, at the packaged prices."""
    sums = used(record)
    return (
        sums["seconds"] / 60 * 0.0048
        + (sums["tokens_in"] - sums.get("tokens_cached", 0)) * 0.15e-6
        + sums.get("tokens_cached", 0) * 0.075e-6
        + sums["tokens_out"] * 0.6e-6
        + sums["characters"] * 39.2e-6
    )


@pytest.mark.parametrize("early_answers", [0, 2])
async def test_a_call_has_used_what_its_vendors_counted(a_rig: RigMaker, early_answers: int) -> None:
    async with a_rig(early_answers=early_answers) as rig:
        spent: list[float] = []
        rig.agent.services.on_turn = lambda *_: spent.append(rig.agent.admission.usage.cost)
        result, record = await rig.call(BOOKING)
        assert (result.failure, record.outcome) == ("", "booked")
        sums, told = used(record), counted(rig)
        assert sums.pop("seconds") == pytest.approx(told.pop("seconds"), abs=0.001)
        assert sums == told, "no estimate, and no token more or less"
        assert sums["tokens_cached"] > 0
        assert {vendor: list(models) for vendor, models in record.usage.items()} == {
            "stt": ["nova-3"], "llm": [MODEL], "tts": ["sonic-3"],
        }  # fmt: skip

        assert record.cost == pytest.approx(price_of(record), abs=2e-6)
        assert (record.currency, record.unpriced, record.vendor_errors) == ("USD", [], {})
        assert set(record.costs) == {"stt", "llm", "tts"}
        usage = rig.agent.admission.usage
        assert usage.cost == pytest.approx(record.cost, abs=2e-6), "the day's cost is that of its calls"
        assert len({*spent}) == len(spent) == len(record.turns)
        assert 0 < spent[0] < spent[-1] <= usage.cost, "it grows with each turn, not at the end"
        assert rig.agent.used["tts", "sonic-3", "characters"] == sums["characters"]

        # The greeting was made for this call; the next one finds it.
        before = counted(rig)["characters"]
        _, second = await rig.call("say: No thanks\nhangup")
        assert used(second)["characters"] == counted(rig)["characters"] - before
        assert used(second)["characters"] < used(record)["characters"] - len(record.turns[0].agent)
        assert usage.cost == pytest.approx(record.cost + second.cost, abs=4e-6)

        page = await metrics(rig)
        characters = counted(rig)["characters"]
        sample = 'voice_agent_vendor_use_total{model="sonic-3",unit="characters",vendor="tts"}'
        assert f"{sample} {characters}.0" in page
        assert 'voice_agent_vendor_cost_total{model="nova-3",vendor="stt"}' in page


async def metrics(rig: Rig) -> str:
    async with rig.agent.floor.http.get(f"http://127.0.0.1:{rig.agent.http_port}/metrics") as response:
        return await response.text()


async def test_answers_that_are_let_go_are_counted_or_estimated(a_rig: RigMaker) -> None:
    """A model that takes its time is interrupted in mid-answer: nobody tells how many tokens that took."""
    async with a_rig(early_answers=0) as rig:
        rig.vendors.groq.config.tokens_per_second = 6.0
        rig.vendors.groq.config.reasoning_tokens = {}
        rig.speak_slowly(60, until_asked=9)
        _, record = await rig.call(
            "say: My tap is leaking, and there is water everywhere\ninterrupt 400ms: Hello, are you there?\nhangup"
        )
        sums, told = used(record), counted(rig)
        assert sums["requests"] == told["requests"]
        assert sums["tokens_estimated"] > 0
        assert sums["tokens_in"] == pytest.approx(told["tokens_in"], rel=0.1)
        assert abs(sums["tokens_out"] - told["tokens_out"]) < 16
        assert sums["characters"] == told["characters"]
        assert record.cost == pytest.approx(price_of(record), abs=2e-6)


async def test_what_is_sent_again_is_counted_again(rig: Rig) -> None:
    """The connection is lost when speech is under way, and a second one hears it anew."""
    rig.vendors.deepgram.faults.close_times = 1
    rig.vendors.deepgram.faults.close_after_ms = 600
    _, record = await rig.call("say: My kitchen tap is leaking and there is water everywhere\nhangup")
    assert record.vendors["stt"]["reconnected"] == 1
    assert record.vendor_errors == {"stt": 1}
    # What was under way as the connection broke may have gone out and not been received.
    assert used(record)["seconds"] - counted(rig)["seconds"] == pytest.approx(0.15, abs=0.16)


async def test_flux_hears_silence_that_is_paid_for(a_rig: RigMaker) -> None:
    """It wants a stream that does not pause: its seconds are nearly those of the call. In wideband, too."""
    async with a_rig(deepgram_model="flux-general-en", sample_rate=16000) as rig:
        _, record = await rig.call("say: My kitchen tap is leaking\nhangup", rig.plan(rate=16000))
        (seconds,) = (model["seconds"] for model in record.usage["stt"].values())
        assert seconds == pytest.approx(counted(rig, 16000)["seconds"], abs=0.001)
        assert seconds > 0.6 * record.seconds
        assert record.costs["stt"] == pytest.approx(seconds / 60 * 0.0065, abs=1e-6)


async def test_two_models_are_counted_by_themselves(rig: Rig) -> None:
    rig.vendors.groq.faults.refuse_times = 1
    rig.vendors.groq.faults.refuse_status = 500
    _, record = await rig.call("say: My tap is leaking\nhangup")
    models = record.usage["llm"]
    assert set(models) == {MODEL, "openai/gpt-oss-20b"}
    assert models[MODEL]["requests"] >= 1
    assert sum(model.get("tokens_in", 0) for model in models.values()) == counted(rig)["tokens_in"]
    assert record.vendor_errors["llm"] == 1


async def test_errors_stand_in_the_record_by_whose_they_are(rig: Rig, tmp_path: Path) -> None:
    rig.vendors.cartesia.faults.context_error_times = 1
    async with rig.slow_contexts(5.0):
        _, record = await rig.call("say: My tap is leaking\nhangup")
    assert record.vendor_errors["context"] == 1
    assert record.vendor_errors["tts"] >= 1


async def test_a_model_without_a_price_costs_nothing_and_is_told_once(
    a_rig: RigMaker, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_rig(cartesia_model="sonic-latest") as rig:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                _, record = await rig.call("say: My tap is leaking\nhangup")
        assert record.unpriced == ["tts sonic-latest"]
        assert record.costs["tts"] == 0.0
        assert record.cost > 0
        assert [entry.getMessage() for entry in caplog.records if "price" in entry.getMessage()] == [
            "TTS has no price for sonic-latest: it counts as nothing (PRICES_FILE)"
        ]


async def test_own_prices_hold_in_calls_and_on_the_day(a_rig: RigMaker, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('currency = "GBP"\n[tts.sonic-3]\nmillion_characters = 1e5\n')
    async with a_rig(prices_file=file) as rig:
        _, record = await rig.call("say: My tap is leaking\nhangup")
        assert record.currency == "GBP"
        assert record.costs == {"stt": 0.0, "llm": 0.0, "tts": pytest.approx(used(record)["characters"] / 10)}
        assert rig.agent.admission.usage.cost == pytest.approx(record.cost)
        # New prices with the next reload, without a restart.
        file.write_text('currency = "GBP"\n[tts.sonic-3]\nmillion_characters = 2e5\n')
        await rig.agent.reload(rig.agent.settings)
        _, record = await rig.call("say: My tap is leaking\nhangup")
        assert record.costs["tts"] == pytest.approx(used(record)["characters"] / 5)


async def test_wrong_prices_are_told_before_the_first_call(a_rig: RigMaker, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"PRICES_FILE: cannot read .*none\.toml"):
        async with a_rig(prices_file=tmp_path / "none.toml"):
            pass


async def test_spending_stops_calls_within_the_day(a_rig: RigMaker) -> None:
    async with a_rig(max_spending_per_day=0.0001) as rig:
        _, first = await rig.call("say: My tap is leaking\nhangup")
        assert first.outcome == "no_booking"
        result, second = await rig.call("wait: 20s")
        assert (result.ended_by, second.outcome, second.cost) == ("agent", "refused", 0.0)


async def test_a_call_that_never_comes_costs_the_day_what_was_made_for_it(rig: Rig) -> None:
    plan = rig.plan()
    info = CallInfo(plan.call, did=plan.did, caller_id=plan.caller_id)
    outside = METER.get()
    rig.agent.preparations.begin(info)
    assert METER.get() is outside
    await rig.until(lambda: rig.agent.used["tts", "sonic-3", "characters"])
    rig.agent.preparations.drop(info)
    await rig.nothing_is_left()
    assert rig.agent.admission.usage.cost == pytest.approx(counted(rig)["characters"] * 39.2e-6)


async def test_the_notice_that_a_call_is_recorded_comes_before_the_greeting(a_rig: RigMaker) -> None:
    async with a_rig(recording_notice="This call is recorded.") as rig:
        result, record = await rig.call("hangup")
        assert record.turns[0].agent.startswith("This call is recorded. Hello, Thames Plumbing, good ")
        assert result.failure == ""
    async with a_rig(recording_notice="This call is recorded.", record_calls=False) as rig:
        _, record = await rig.call("hangup")
        assert record.turns[0].agent.startswith("Hello, Thames Plumbing, good ")
        assert (record.recording, list(rig.agent.settings.recordings.glob(f"{record.uuid}*"))) == ("", [])


@pytest.mark.parametrize("form", ["flac", "opus"])
async def test_a_call_is_recorded_in_the_format_of_the_settings(a_rig: RigMaker, form: str) -> None:
    async with a_rig(recording_format=form) as rig:
        _, record = await rig.call("say: My tap is leaking\nhangup")
        assert Path(record.recording).name == f"{record.uuid}.{form}"
        tracks = read_tracks(Path(record.recording))
        assert len(tracks.caller) / 16000 == pytest.approx(record.seconds, abs=0.5)
        assert any(tracks.caller)
        assert any(tracks.agent)


async def test_a_recording_that_cannot_be_begun_is_told_in_the_record(a_rig: RigMaker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with a_rig(recordings_dir=tmp_path / "file" / "below") as rig:
        result, record = await rig.call("say: My tap is leaking\nhangup")
        assert result.failure == ""
        assert record.turns[1].heard
        assert record.recording == ""
        assert "recording_failed" in [mark.what for mark in record.marks]
        assert rig.agent.counters["recordings_failed"] == 1


async def test_a_meter_ends_with_its_call() -> None:
    told: list[float] = []
    meter = Meter(lambda vendor, model, unit, amount: told.append(amount))
    answer = meter.answer("m", 400)
    answer.characters = 21
    assert meter.usage == {}
    meter.close()
    expected = {"tokens_in": 100, "tokens_out": 6, "tokens_estimated": 106}
    assert meter.usage == {"llm": {"m": expected}}
    answer.settle({"prompt_tokens": 5, "completion_tokens": 5})
    assert meter.usage == {"llm": {"m": expected}}, "told too late, it is counted once"
    assert sum(told) == 212


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": "x", "completion_tokens": -5}, {"prompt_tokens": 3, "prompt_tokens_details": [1]}]
)
async def test_a_meter_takes_what_a_vendor_tells_wrong(usage: dict[str, Any]) -> None:
    meter = Meter()
    meter.answer("m", 400).settle(usage)
    assert orjson.dumps(meter.usage)
    assert "tokens_estimated" not in str(meter.usage)
    await asyncio.sleep(0)
    assert load_prices().costs(meter.usage).get("llm", 0.0) < 0.001
