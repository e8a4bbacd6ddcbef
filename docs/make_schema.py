"""Writes docs/call-record.schema.json from the record's classes: `python docs/make_schema.py`."""

from __future__ import annotations

import json
from pathlib import Path

from agent.call.record_schema import record_schema

PAGE = Path(__file__).parent / "call-record.schema.json"


def schema_page() -> str:
    """The file's text."""
    return json.dumps(record_schema(), indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(schema_page(), "utf-8")
