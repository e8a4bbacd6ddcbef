"""The queries of Deepgram's `/v1/listen` and `/v2/listen`, checked as strictly as the vendor does.

Source: Deepgram's AsyncAPI, its pages on keyterm, endpointing, utterance end and Flux (October 2026).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from multidict import MultiMapping

_ENCODINGS = frozenset("linear16 linear32 flac alaw mulaw amr-nb amr-wb opus ogg-opus speex g729".split())
_DECODED = frozenset({"linear16", "alaw", "mulaw"})
_BOOLEANS = """interim_results vad_events smart_format punctuate numerals profanity_filter multichannel diarize
dictation filler_words no_delay detect_entities mip_opt_out""".split()
_OTHERS = frozenset(
    """model language encoding sample_rate channels endpointing utterance_end_ms keyterm keywords redact replace
    search tag extra diarize_model callback callback_method language_hint version""".split()
)
_MODELS = re.compile(r"(nova-3|nova-2|nova|enhanced|base)(-[a-z]+)*")
_LANGUAGE = re.compile(r"multi|[a-z]{2}(-[A-Za-z0-9]{2,4})*")
KEYTERM_TOKENS = 500
"""Limit of all key terms together. The vendor counts its model's tokens, the emulator words."""
_TOO_MANY_KEYTERMS = f"Keyterm limit exceeded. The maximum number of tokens across all keyterms is {KEYTERM_TOKENS}."


class QueryError(Exception):
    """The upgrade is refused with HTTP 400; `code` and the text go into the body and the header dg-error."""

    def __init__(self, message: str, code: str = "INVALID_QUERY_PARAMETER") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ListenQuery:
    """What a client asked of `/v1/listen`."""

    model: str
    encoding: str
    sample_rate: int
    endpointing_ms: int | None
    """Silence that makes `speech_final`; none when the client said false."""
    interim_results: bool
    utterance_end_ms: int | None
    vad_events: bool
    punctuated: bool
    keyterms: tuple[str, ...]
    unknown: tuple[str, ...]
    """Parameters that the vendor does not have: it ignores them."""

    @property
    def takes_keyterms(self) -> bool:
        """Whether `Configure` may change the key terms: on Nova-3 only."""
        return self.model.startswith("nova-3")


def parse(query: MultiMapping[str]) -> ListenQuery:
    """Check a query. Raises `QueryError` where the vendor answers 400."""
    model = query.get("model", "base")
    if not _MODELS.fullmatch(model) or not _LANGUAGE.fullmatch(query.get("language", "en")):
        raise QueryError("Bad Request: No such model/language/tier combination found.", "Bad Request")
    nova_3 = model.startswith("nova-3")
    if nova_3 and "keywords" in query:
        raise QueryError("Keywords are not supported for Nova-3. Please use `keyterm` instead.")
    keyterms = tuple(query.getall("keyterm", []))
    if keyterms and not model.startswith("nova-"):
        raise QueryError("Keyterm is only supported for Nova-3. Please use `keywords` instead.")
    if keyterm_tokens(keyterms) > KEYTERM_TOKENS:
        raise QueryError(_TOO_MANY_KEYTERMS)

    flags = {name: _boolean(query, name) for name in _BOOLEANS}
    encoding, sample_rate = _audio(query, multichannel=flags["multichannel"])
    utterance_end_ms = _integer(query, "utterance_end_ms") if "utterance_end_ms" in query else None
    if utterance_end_ms is not None and (utterance_end_ms < 1000 or not flags["interim_results"]):
        raise QueryError("`utterance_end_ms` must be at least 1000 and needs `interim_results=true`.")
    endpointing = query.get("endpointing", "10")
    return ListenQuery(
        model=model,
        encoding=encoding,
        sample_rate=sample_rate,
        endpointing_ms=None if endpointing == "false" else _integer(query, "endpointing", "10"),
        interim_results=flags["interim_results"],
        utterance_end_ms=utterance_end_ms,
        vad_events=flags["vad_events"],
        punctuated=flags["smart_format"] or flags["punctuate"] or flags["dictation"],
        keyterms=keyterms,
        unknown=tuple(sorted(set(query) - _OTHERS - set(_BOOLEANS))),
    )


def keyterm_tokens(keyterms: tuple[str, ...]) -> int:
    """How much of the limit these terms take."""
    return sum(len(term.split()) for term in keyterms)


def _audio(query: MultiMapping[str], *, multichannel: bool) -> tuple[str, int]:
    encoding = query.get("encoding")
    if encoding is None:
        raise QueryError("The sandbox reads raw audio only: name `encoding` and `sample_rate`.", "SANDBOX")
    if encoding not in _ENCODINGS:
        raise QueryError(f"Unknown `encoding` {encoding!r}; one of {', '.join(sorted(_ENCODINGS))}.")
    if "sample_rate" not in query:
        raise QueryError("`sample_rate` is required with `encoding`.")
    sample_rate = _integer(query, "sample_rate")
    if not 8000 <= sample_rate <= 48000:
        raise QueryError("`sample_rate` must be 8000 to 48000.")
    if encoding not in _DECODED:
        raise QueryError(f"The sandbox does not decode {encoding}; use linear16, mulaw or alaw.", "SANDBOX")
    if _integer(query, "channels", "1") != 1 or multichannel:
        raise QueryError("The sandbox hears one channel only.", "SANDBOX")
    return encoding, sample_rate


def _boolean(query: MultiMapping[str], name: str) -> bool:
    value = query.get(name, "false")
    if value not in ("true", "false"):
        raise QueryError(f"`{name}` must be `true` or `false` in lower case, not {value!r}.")
    return value == "true"


def _integer(query: MultiMapping[str], name: str, default: str = "") -> int:
    value = query.get(name, default)
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise QueryError(f"`{name}` must be a whole number, not {value!r}.")
    return int(value)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When Flux ends a turn."""

    eot_threshold: float = 0.7
    """Confidence of the end of the turn, 0.5 to 1; 1 means never by the model."""
    eager_eot_threshold: float | None = None
    """Confidence of an early guess at it, 0.3 to 0.9; none: no guesses."""
    eot_timeout_ms: int = 5000
    """Silence that ends a turn whatever the confidence, 500 to 60000."""

    def changed(self, values: dict[str, Any]) -> Thresholds:
        """With some other values, from a query or a Configure. Raises `QueryError`."""
        numbers: dict[str, Any] = {}
        for name, value in values.items():
            low, high = _FLUX_RANGES[name]
            try:
                number = int(value) if name == "eot_timeout_ms" else float(value)
            except (TypeError, ValueError):
                raise QueryError(f"`{name}` must be a number, not {value!r}.") from None
            if not low <= number <= high:
                raise QueryError(f"`{name}` must be from {low:g} to {high:g}.")
            numbers[name] = number
        new = replace(self, **numbers)
        if new.eager_eot_threshold is not None and new.eager_eot_threshold > new.eot_threshold:
            raise QueryError("`eager_eot_threshold` must not be above `eot_threshold`.")
        return new


_FLUX_RANGES = {"eot_threshold": (0.5, 1.0), "eager_eot_threshold": (0.3, 0.9), "eot_timeout_ms": (500, 60000)}
_FLUX_OTHERS = frozenset(
    "model encoding sample_rate keyterm language_hint numerals profanity_filter redact tag mip_opt_out".split()
)


@dataclass(frozen=True, slots=True)
class FluxQuery:
    """What a client asked of `/v2/listen`."""

    encoding: str
    sample_rate: int
    thresholds: Thresholds
    keyterms: tuple[str, ...]


def parse_flux(query: MultiMapping[str]) -> FluxQuery:
    """Check a query of `/v2/listen`. Raises `QueryError` where the vendor answers 400."""
    if query.get("model") not in ("flux-general-en", "flux-general-multi"):
        raise QueryError("Bad Request: No such model/language/tier combination found.", "Bad Request")
    for name in query:
        if name not in _FLUX_OTHERS and name not in _FLUX_RANGES:
            raise QueryError(f"`{name}` is not a parameter of /v2/listen.")
    if "language_hint" in query and query["model"] != "flux-general-multi":
        raise QueryError("`language_hint` needs `model=flux-general-multi`.")
    keyterms = tuple(query.getall("keyterm", []))
    if keyterm_tokens(keyterms) > KEYTERM_TOKENS:
        raise QueryError(_TOO_MANY_KEYTERMS)
    for name in ("numerals", "profanity_filter", "mip_opt_out"):
        _boolean(query, name)
    encoding, sample_rate = _audio(query, multichannel=False)
    if sample_rate not in (8000, 16000, 24000, 44100, 48000):
        raise QueryError("`sample_rate` must be 8000, 16000, 24000, 44100 or 48000.")
    thresholds = Thresholds().changed({name: query[name] for name in _FLUX_RANGES if name in query})
    return FluxQuery(encoding, sample_rate, thresholds, keyterms)
