"""The table of prices: packaged, overridden by a file, wrong in every way that a file can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.ops.prices import PriceTable, Pricing, load_prices
from agent.ops.settings import Settings

USAGE = {
    "stt": {"nova-3": {"seconds": 120.0}},
    "llm": {
        "openai/gpt-oss-120b": {
            "requests": 3.0,
            "tokens_in": 1_000_000.0,
            "tokens_cached": 400_000.0,
            "tokens_out": 10_000.0,
            "tokens_estimated": 5_000.0,
        }
    },
    "tts": {"sonic-3": {"characters": 1000.0}},
}


def test_a_call_costs_what_its_pieces_do() -> None:
    costs = load_prices().costs(USAGE)
    assert costs == {"stt": 2 * 0.0048, "llm": 0.6 * 0.15 + 0.4 * 0.075 + 0.006, "tts": 0.0392}


def test_the_default_models_have_prices() -> None:
    prices, fields = load_prices(), Settings.model_fields
    assert prices.written.year >= 2026
    for vendor, setting in (
        ("stt", "deepgram_model"),
        ("llm", "groq_model"),
        ("llm", "groq_fallback_model"),
        ("tts", "cartesia_model"),
    ):
        assert prices.price(vendor, fields[setting].default) is not None, setting
    assert prices.price("stt", "local") is not None
    for vendor, model in (("stt", "flux-general-en"), ("tts", "sonic-3-2026-01-12"), ("tts", "sonic-3.5-2026-05-04")):
        assert prices.price(vendor, model) is not None


def test_a_file_replaces_the_models_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[stt.nova-3]\nminute = 0.001\n[llm."localhost:11434 llama3.2"]\nmillion_in = 0\nmillion_out = 0\n')
    prices = load_prices(file)
    assert prices.cost("stt", "nova-3", "seconds", 60) == pytest.approx(0.001)
    assert prices.cost("tts", "sonic-3", "characters", 1e6) == pytest.approx(39.2)
    assert prices.unpriced({"llm": {"localhost:11434 llama3.2": {}, "localhost:11434 other": {}}}) == [
        "llm localhost:11434 other"
    ]
    # One behind a URL of its own may stand under its name alone, and has its full price where cached ones have none.
    file.write_text("[llm.big]\nmillion_in = 2\nmillion_out = 4\n")
    usage = {"llm": {"api.example.com big": {"tokens_in": 1e6, "tokens_cached": 5e5, "tokens_out": 1e6}}}
    assert load_prices(file).costs(usage) == {"llm": 6.0}


def test_a_file_in_another_currency_stands_alone(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('currency = "GBP"\n[stt.nova-3]\nminute = 0.004\n')
    prices = load_prices(file)
    assert prices.currency == "GBP"
    assert prices.unpriced(USAGE) == ["llm openai/gpt-oss-120b", "tts sonic-3"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[stt.nova-3\n", "is no TOML"),
        ("[stt.nova-3]\nminutes = 1\n", r"stt\.nova-3\.minute: Field required; stt\.nova-3\.minutes: Extra"),
        ("[stt.nova-3]\nminute = -1\n", r"stt\.nova-3\.minute: .*greater than or equal to 0"),
        ("[llm.x]\nmillion_in = nan\nmillion_out = 1\n", r"llm\.x\.million_in: .*finite"),
        ('currency = "pounds"\n', "currency"),
        ("[asr.nova-3]\nminute = 1\n", r"asr: Extra"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"prices\.toml.*{why}"):
        load_prices(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*none\.toml: No such file"):
        load_prices(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        load_prices(tmp_path / "bytes.toml")


def test_a_piece_is_priced_as_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    spent: list[tuple[str, str, str, float, float]] = []
    pricing = Pricing(PriceTable(), lambda *piece: spent.append(piece))
    for _ in range(3):
        pricing.used("stt", "nova-3", "seconds", 5.0)
    assert spent == [("stt", "nova-3", "seconds", 5.0, 0.0)] * 3
    assert len(caplog.records) == 1
