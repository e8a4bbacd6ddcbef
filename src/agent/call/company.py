"""In whose name a call is answered: fetched from the context API, checked field by field, defaults otherwise."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import aiohttp

from agent.call.opening_hours import UNKNOWN, OpeningHours, read_opening_hours
from agent.telephony.numbers import normalise_number

log = logging.getLogger(__name__)

BUDGET_SECONDS = 3.0
"""All the time that one context has, both attempts together."""
ATTEMPT_SECONDS = 1.4
"""Time of the first attempt; the second has what is left of the budget."""
PAUSE_SECONDS = 0.1
MAX_ANSWER_BYTES = 64 * 1024
MAX_INSTRUCTIONS = 4000
"""Characters: each reply waits while the LLM reads them."""

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?")
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{0,64}")
EXTENSION = re.compile(r"[0-9A-Za-z*#+_.-]{1,40}")
"""What may reach the dialplan as an extension: nothing that its expressions would read as more."""


@dataclass(frozen=True, slots=True)
class CompanyContext:
    """What is known of the company and the caller when a call is answered."""

    company_name: str = "Home Services"
    trade_type: str = "general"
    trade_label: str = "tradesperson"
    callout_fee: str = ""
    """As it is to be said, such as "£65"; empty when it is not known."""
    area: str = ""
    greeting: str = ""
    """Spoken instead of the standard greeting; empty for the standard one."""
    timezone: str = "Europe/London"
    company_id: int | None = None
    """In the back office; None where the context API does not say."""
    instructions: str = ""
    """What the LLM is told of this company beyond the conversation's own prompt; several lines."""
    opening_hours: OpeningHours = field(default_factory=lambda: UNKNOWN)
    """Empty where they are not known."""
    recording_notice: str = ""
    """Said before the greeting where the call is recorded; empty for none."""
    caller_id: str = ""
    """In E.164 where it is a full number; empty when it is withheld."""
    repeat_caller: bool = False
    transfer_targets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of a person or desk to an extension of the dialplan."""
    voice_id: str = ""
    """Empty for the agent's own default voice."""
    keyterms: tuple[str, ...] = ()
    conversation: str = ""
    """Name of a conversation that the agent has loaded; empty for its default one."""
    language: str = ""
    """A variant of the conversation's language, such as "en-IE"; empty for that itself."""
    recording: bool = True
    default_reason: str = ""
    """Why this is the default context: empty when the API answered."""
    bad_fields: tuple[str, ...] = ()
    """Fields of the API's answer that were not what they must be, and have their defaults instead."""

    @property
    def zone(self) -> ZoneInfo:
        """The company's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def withheld(self) -> bool:
        """Whether the caller shows no number."""
        return not self.caller_id


def default_context(caller_id: str = "", *, timezone: str = "Europe/London", reason: str = "") -> CompanyContext:
    """Return the context for when none can be had: "Home Services", "general"."""
    return CompanyContext(caller_id=caller_id, timezone=timezone, default_reason=reason)


class ContextClient:
    """Asks the context API who is being rung. One client serves every call; `counters` tell how that goes.

    `counters` has `fetched`, `retried`, `defaulted`, `defaulted_<reason>` and `bad_field_<name>`.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        session: aiohttp.ClientSession,
        *,
        region: str = "GB",
        timezone: str = "Europe/London",
        budget_s: float = BUDGET_SECONDS,
        counters: Counter[str] | None = None,
    ) -> None:
        """Ask `url` (the whole endpoint) with `api_key` as `X-API-Key`; `session` stays the caller's. `counters` of
        clients before it are gone on with.
        """
        self._url = url
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._session = session
        self._region = region
        self._timezone = timezone
        self._budget_s = budget_s
        self.counters: Counter[str] = Counter() if counters is None else counters

    async def fetch(self, did: str, caller_id: str) -> CompanyContext:
        """Return the context for a call to `did` from `caller_id`: within the budget, and never an exception.

        A refused connection, a slow or broken answer and a status of 429 or above 499 are tried once more; another
        refusal is not. After that it is `default_context`, whose `default_reason` is one of `timeout`, `connect`,
        `status_<n>`, `too_long` and `bad_json`.
        """
        number = normalise_number(caller_id, self._region)
        default = default_context(number, timezone=self._timezone)
        reason = "timeout"
        try:
            async with asyncio.timeout(self._budget_s):
                for attempt in (1, 2):
                    try:
                        limit = min(ATTEMPT_SECONDS, self._budget_s / 2) if attempt == 1 else None
                        async with asyncio.timeout(limit):
                            answer = await self._ask(did, caller_id)
                    except TimeoutError:
                        reason = "timeout"
                    except (aiohttp.ClientError, OSError):
                        reason = "connect"
                    except _Refused as refused:
                        reason = refused.reason
                        if not refused.again:
                            break
                    else:
                        return self._accept(answer, default)
                    if attempt == 1:
                        self.counters["retried"] += 1
                        await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            pass
        self.counters["defaulted"] += 1
        self.counters[f"defaulted_{reason}"] += 1
        log.warning("context API: %s; answering with the defaults", reason)
        return replace(default, default_reason=reason)

    async def _ask(self, did: str, caller_id: str) -> Mapping[str, Any]:
        body = {"did_number": did, "caller_id": caller_id}
        async with self._session.post(self._url, json=body, headers=self._headers) as response:
            if response.status != 200:
                again = response.status == 429 or response.status >= 500
                raise _Refused(f"status_{response.status}", again=again)
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > MAX_ANSWER_BYTES:
                    raise _Refused("too_long", again=False)
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise _Refused("bad_json", again=True) from error
        if not isinstance(answer, dict):
            raise _Refused("bad_json", again=True)
        return answer

    def _accept(self, answer: Mapping[str, Any], default: CompanyContext) -> CompanyContext:
        context = parse_context(answer, default)
        self.counters["fetched"] += 1
        for name in context.bad_fields:
            self.counters[f"bad_field_{name}"] += 1
        if context.bad_fields:
            log.warning("context API: unusable fields, answered with their defaults: %s", ", ".join(context.bad_fields))
        return context


class _Refused(Exception):
    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


def parse_context(answer: Mapping[str, Any], default: CompanyContext) -> CompanyContext:
    """Return `default` with each field of `answer` that is usable; the others are named in `bad_fields`.

    A field that is missing or null is no mistake: it keeps its default. A number as `callout_fee` is pounds.
    """
    good: dict[str, Any] = {}
    bad: list[str] = []
    for name, check in _CHECKS.items():
        value = answer.get(name)
        if value is None:
            continue
        try:
            good[name] = check(value)
        except (TypeError, ValueError):
            bad.append(name)
    return replace(default, **good, bad_fields=tuple(bad))


def _line(value: object) -> str:
    """A text for one line: it stands in the system prompt and is spoken."""
    if not isinstance(value, str) or len(value) > 500 or any(ord(char) < 32 for char in value):
        raise ValueError
    return value.strip()


def _filled(value: object) -> str:
    text = _line(value)
    if not text or len(text) > 200:
        raise ValueError
    return text


def _fee(value: object) -> str:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int | float):
        if not 0 <= value < 100_000:
            raise ValueError
        return f"£{value:.2f}".removesuffix(".00")
    return _line(value)


def _timezone(value: object) -> str:
    name = _filled(value)
    if name not in available_timezones():
        raise ValueError
    return name


def _caller(value: object) -> str:
    return normalise_number(_line(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _targets(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or len(value) > 50:
        raise TypeError
    targets = {}
    for name, extension in value.items():
        if not isinstance(extension, str) or not EXTENSION.fullmatch(extension):
            raise ValueError
        targets[_filled(name)] = extension
    return MappingProxyType(targets)


def _terms(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 100:
        raise TypeError
    return tuple(_filled(term) for term in value)


def _conversation(value: object) -> str:
    """A name, never a path: what is answered with is the agent's own to say."""
    if not isinstance(value, str) or not _CONVERSATION.fullmatch(value):
        raise ValueError
    return value


def _language(value: object) -> str:
    if not isinstance(value, str) or (value and not LANGUAGE.fullmatch(value)):
        raise ValueError
    return value


def _id(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _instructions(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_INSTRUCTIONS:
        raise ValueError
    text = value.replace("\r\n", "\n").strip()
    if any(ord(char) < 32 and char not in "\n\t" for char in text):
        raise ValueError
    return text


_CHECKS = {
    "company_id": _id,
    "company_name": _filled,
    "trade_type": _filled,
    "trade_label": _filled,
    "callout_fee": _fee,
    "area": _line,
    "greeting": _line,
    "timezone": _timezone,
    "caller_id": _caller,
    "repeat_caller": _flag,
    "transfer_targets": _targets,
    "voice_id": _line,
    "keyterms": _terms,
    "conversation": _conversation,
    "language": _language,
    "recording": _flag,
    "instructions": _instructions,
    "opening_hours": read_opening_hours,
    "recording_notice": _line,
}
