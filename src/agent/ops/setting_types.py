"""What a setting may be: each type checks its value, and says what would be right."""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from agent.office.mail_address import mail_address
from agent.office.webhook_signature import keys_of
from fastaudio.extras import how_to_install


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _stts(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if name in ("auto", "none") and len(value) > 1:
            raise ValueError(f"{name!r} stands alone")
        if name not in ("auto", "none", "local") and not name.startswith(("nova-", "flux-")):
            raise ValueError(f"{name!r} is none; write nova-3, flux-general-en or local, or auto, or none")
    if "local" in value and importlib.util.find_spec("moonshine_cpp") is None:
        raise ValueError(f"local needs an extra; {how_to_install('local')}, or leave it out")
    return value


def _recording_format(value: str) -> str:
    if value != "wav" and importlib.util.find_spec("soundfile") is None:
        raise ValueError(f"{value} needs an extra; {how_to_install('recording')}, or write wav")
    return value


def _spoken(value: str) -> str:
    if any(ord(letter) < 32 for letter in value):
        raise ValueError("it must be one line")
    return value.strip()


def _address(value: str) -> str:
    try:
        ipaddress.ip_address("127.0.0.1" if value == "localhost" else value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is no address; write 127.0.0.1, or 0.0.0.0 for all networks of this host"
        ) from error
    return value


def _model(value: str) -> str:
    if re.fullmatch(r"(nova-\d+|flux-general)(-[a-z0-9]+)*", value):
        return value
    known = ("nova-3", "nova-2", "flux-general-en", "flux-general-multi")
    near = difflib.get_close_matches(value.lower(), known, 1, 0.7)
    near = near or ["flux-general-en"] * value.lower().startswith("flux")
    if near:
        raise ValueError(f"{value!r} is no model; is {near[0]} meant?")
    return value


def _installed(value: str) -> str:
    if value == "picows" and importlib.util.find_spec("picows") is None:
        raise ValueError("picows is not installed; run pip install picows, or write auto")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ValueError(f"{network!r} is no network; write for example 10.0.0.5 or 10.0.0.0/24") from error
    return value


def _region(value: str) -> str:
    if value.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{value!r} is no region; write an ISO 3166 code such as GB")
    return value.upper()


def _timezone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is no time zone; write for example Europe/London")
    return value


def _websocket_url(value: str) -> str:
    if not value.startswith(("ws://", "wss://")):
        raise ValueError(f"{value!r} must begin with wss:// (or ws:// on your own network)")
    return value.rstrip("/")


def _http_url(value: str) -> str:
    if not value:
        raise ValueError("it must begin with https:// (or http:// on your own network)")
    return _endpoint(value).rstrip("/")


def _public_url(value: str) -> str:
    parsed = urlsplit(value)
    if value and not (parsed.scheme in ("http", "https") and parsed.hostname and parsed.path in ("", "/")):
        raise ValueError(f"{value!r} must be https://HOST or http://HOST, with a port if need be and no path")
    return value.rstrip("/")


def _endpoint(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"{value!r} must begin with https:// (or http:// on your own network)")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not value.get_secret_value().startswith(("http://", "https://")):
        raise ValueError("it must begin with https:// (or http:// on your own network)")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    keys_of(value.get_secret_value())  # SecretError is a ValueError, and shows no secret
    return value


def _mail_address(value: str) -> str:
    if value:
        try:
            mail_address(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no e-mail address; write reception@example.org") from error
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A comma-separated list in the environment, a tuple in the program."""
SttNames = Annotated[Words, AfterValidator(_stts)]
Networks = Annotated[Words, AfterValidator(_networks)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
Address = Annotated[str, AfterValidator(_address)]
"""An IP address of this host, or localhost."""
WebSocketUrl = Annotated[str, AfterValidator(_websocket_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""A base URL, without a slash at its end."""
PublicUrl = Annotated[str, AfterValidator(_public_url)]
"""Scheme, host and port, without a path."""
Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""A whole URL, or nothing."""
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
"""The same, where the URL itself lets somebody in."""
Region = Annotated[str, AfterValidator(_region)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
DeepgramModel = Annotated[str, AfterValidator(_model)]
WebSocketClient = Annotated[Literal["auto", "websockets", "picows"], AfterValidator(_installed)]
SampleRate = Annotated[Literal[8000, 16000], BeforeValidator(_number)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
Spoken = Annotated[str, AfterValidator(_spoken)]
"""What callers hear."""
RecordingFormat = Annotated[Literal["wav", "flac", "opus"], AfterValidator(_recording_format), BeforeValidator(_lower)]
