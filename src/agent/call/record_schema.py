"""The JSON Schema of a call's document, made of the record's own classes, so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from agent.call.record import STAGES, VERSION, CallRecord

SCHEMA_ID = f"https://voice-agent.invalid/call-record-{VERSION}.schema.json"
"""A name, not an address: `.invalid` resolves nowhere."""


def record_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of `CallRecord.as_dict`.

    Other properties may come with any version; a change of what is there raises `version`.
    """
    made = TypeAdapter(CallRecord).json_schema(mode="serialization")
    definitions = made.pop("$defs")
    turn = definitions["TurnRecord"]["properties"]
    turn["latency_ms"] = {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "description": "From the true end of the caller's speech to the first frame of the answer.",
    }
    turn["stages_ms"] = {
        "type": "object",
        "description": "The parts of that; what cannot be told is left out, and what came early is negative.",
        "properties": {name: {"type": "integer", "description": text} for name, text in STAGES.items()},
    }
    for kind in (made, *definitions.values()):
        kind["required"] = list(kind["properties"])
    made["properties"]["version"] = {"const": VERSION}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **made, "$defs": definitions}
    clean: dict[str, Any] = _plain(schema)
    return clean


def _plain(part: Any) -> Any:
    """Without pydantic's titles (the names again) and defaults (a document has every property)."""
    if isinstance(part, dict):
        return {
            name: _plain(value)
            for name, value in part.items()
            if not (name == "title" and isinstance(value, str)) and name != "default"
        }
    return [_plain(value) for value in part] if isinstance(part, list) else part
