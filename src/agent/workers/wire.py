"""What goes over the bus, as JSON carries it: calls, contexts and settings. Both sides are of one installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from agent.call.company import CompanyContext
from agent.ops.settings import Settings
from agent.telephony import CallInfo


def pack_info(info: CallInfo) -> dict[str, Any]:
    """An announcement; `announced_ns` is of a clock that all processes of a host share."""
    return {field.name: getattr(info, field.name) for field in fields(info)} | {"uuid": str(info.uuid)}


def unpack_info(values: Mapping[str, Any]) -> CallInfo:
    """The other way."""
    return CallInfo(**{**values, "uuid": UUID(values["uuid"])})


def pack_context(context: CompanyContext) -> dict[str, Any]:
    """A company."""
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    return values | {
        "opening_hours": dict(context.opening_hours),
        "transfer_targets": dict(context.transfer_targets),
    }


def unpack_context(values: Mapping[str, Any]) -> CompanyContext:
    """The other way: lists are tuples again."""
    hours = {day: tuple((begin, end) for begin, end in spans) for day, spans in values["opening_hours"].items()}
    return CompanyContext(
        **{
            **values,
            "opening_hours": MappingProxyType(hours),
            "transfer_targets": MappingProxyType(values["transfer_targets"]),
            "keyterms": tuple(values["keyterms"]),
            "bad_fields": tuple(values["bad_fields"]),
        }
    )


def pack_settings(settings: Settings) -> dict[str, Any]:
    """All of them, keys too: a bus is between two processes of one user, and nobody else has it."""
    values = {name: _plain(getattr(settings, name)) for name in Settings.model_fields}
    read_from = settings._read_from
    return {"values": values, "read_from": str(read_from) if read_from is not None else ""}


def unpack_settings(packed: Mapping[str, Any]) -> Settings:
    """The other way; what the environment of this process says does not count."""
    settings = Settings(_env_file=None, **packed["values"])  # type: ignore[call-arg]
    settings._read_from = Path(packed["read_from"]) if packed["read_from"] else None
    return settings


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
