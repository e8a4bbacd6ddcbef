"""What the vendors ask: a table by vendor and model, packaged, and overridden by a file of the administrator's.

An estimate: it knows list prices, and neither contracts nor free allowances nor how an invoice is rounded.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.providers.metering import UsageByModel

log = logging.getLogger(__name__)

Price = Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SttPrice(_Table):
    """Of speech to text."""

    minute: Price

    def of(self, unit: str) -> float:
        """Of one unit of `metering.Unit`."""
        return self.minute / 60 if unit == "seconds" else 0.0


class LlmPrice(_Table):
    """Of a language model, by millions of tokens; without a price of their own cached ones cost as much as others."""

    million_in: Price
    million_out: Price
    million_cached: Price | None = None

    def of(self, unit: str) -> float:
        """Of one unit; `tokens_cached` are among `tokens_in`, so theirs is the difference."""
        if unit == "tokens_in":
            return self.million_in / 1e6
        if unit == "tokens_out":
            return self.million_out / 1e6
        if unit == "tokens_cached" and self.million_cached is not None:
            return (self.million_cached - self.million_in) / 1e6
        return 0.0


class TtsPrice(_Table):
    """Of text to speech."""

    million_characters: Price

    def of(self, unit: str) -> float:
        """Of one unit."""
        return self.million_characters / 1e6 if unit == "characters" else 0.0


AnyPrice: TypeAlias = SttPrice | LlmPrice | TtsPrice


class PriceTable(_Table):
    """Prices by model, in one currency. A model that is not there costs nothing as far as is known."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    written: date = date(1970, 1, 1)
    """When somebody last looked at the prices."""
    stt: Mapping[str, SttPrice] = {}
    llm: Mapping[str, LlmPrice] = {}
    tts: Mapping[str, TtsPrice] = {}

    def price(self, vendor: str, model: str) -> AnyPrice | None:
        """Of one model; None: unknown.

        A model of a URL of its own ("host model") may stand under its name alone, and one of a certain date
        ("sonic-3-2026-01-12") without it.
        """
        prices = _PRICES[vendor](self)
        names = (model, model.partition(" ")[2], _DATE.sub("", model))
        return next((prices[name] for name in names if name in prices), None)

    def cost(self, vendor: str, model: str, unit: str, amount: float) -> float:
        """What so many units cost; negative for cached tokens, whose full price stands under `tokens_in`."""
        price = self.price(vendor, model)
        return price.of(unit) * amount if price is not None else 0.0

    def costs(self, usage: UsageByModel) -> dict[str, float]:
        """What a call's use costs, by vendor."""
        return {
            vendor: round(sum(self.cost(vendor, *piece) for piece in _pieces(models)), 6)
            for vendor, models in usage.items()
        }

    def unpriced(self, usage: UsageByModel) -> list[str]:
        """The models that were used and have no price: "llm localhost:11434 llama3.2"."""
        return sorted(
            f"{vendor} {model}"
            for vendor, models in usage.items()
            for model in models
            if self.price(vendor, model) is None
        )


_DATE: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_PRICES: Final[Mapping[str, Callable[[PriceTable], Mapping[str, AnyPrice]]]] = {
    "stt": lambda table: table.stt,
    "llm": lambda table: table.llm,
    "tts": lambda table: table.tts,
}


def _pieces(models: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str, float]]:
    return ((model, unit, amount) for model, units in models.items() for unit, amount in units.items())


_PACKAGED: Final = "prices.toml"


def load_prices(file: Path | None = None) -> PriceTable:
    """The packaged table, with the models of `file` instead of its own. Raises ValueError with what is wrong.

    A file in another currency stands alone: the packaged prices are no use beside it.
    """
    packaged = _read(_PACKAGED, files("agent.ops").joinpath(_PACKAGED).read_text("utf-8"))
    if file is None:
        return packaged
    try:
        own = _read(str(file), file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from error
    if own.currency != packaged.currency:
        return own
    return own.model_copy(
        update={vendor: {**getattr(packaged, vendor), **getattr(own, vendor)} for vendor in ("stt", "llm", "tts")}
    )


def _read(name: str, text: str) -> PriceTable:
    try:
        return PriceTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no TOML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"{name}: {wrong}") from error


class Pricing:
    """Tells of each piece of use what it costs, at the prices of one table; of a model without one it says so, once."""

    def __init__(self, prices: PriceTable, spend: Callable[[str, str, str, float, float], None]) -> None:
        """`spend` is told vendor, model, unit, how much of it, and what that costs."""
        self._prices = prices
        self._spend = spend
        self._told: set[tuple[str, str]] = set()

    def used(self, vendor: str, model: str, unit: str, amount: float) -> None:
        """So much was used."""
        if self._prices.price(vendor, model) is None and (vendor, model) not in self._told:
            self._told.add((vendor, model))
            log.warning("%s has no price for %s: it counts as nothing (PRICES_FILE)", vendor.upper(), model)
        self._spend(vendor, model, unit, amount, self._prices.cost(vendor, model, unit, amount))
