"""The published schema of a call's document: made of the record's classes, and strict enough to find a mistake."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes, Word
from agent.call.record_schema import record_schema
from tests import docs_scripts


@pytest.fixture
def document() -> dict[str, Any]:
    turn = TurnRecord(
        caller="My tap leaks",
        start_ms=1200,
        agent="We can help.",
        heard="We can",
        interrupted=True,
        end_ms=2900,
        times=TurnTimes(speech_end=1000, final_transcript=1100, turn_end=1200, llm_request=900, first_frame=1500),
        tools=[{"name": "check_availability", "arguments": {"postcode": "M14 6BT"}}],
        words=[Word("caller", "tap", 400, 700), Word("agent", "We", 1500, 1700)],
    )
    record = CallRecord("8a7c0d3e-0000-4000-8000-000000000001", turns=[turn], marks=[Mark(1900, "barge_in")])
    whole: dict[str, Any] = json.loads(json.dumps(record.as_dict()))
    return whole


def test_the_published_file_is_what_the_record_is() -> None:
    module = docs_scripts.load("make_schema")
    assert module.PAGE.read_text("utf-8") == module.schema_page(), "run python docs/make_schema.py"


def test_it_is_a_schema_that_a_document_fits(document: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(record_schema())
    Draft202012Validator(record_schema()).validate(document)


def test_it_names_everything_that_a_document_has(document: dict[str, Any]) -> None:
    schema = record_schema()
    for kind in (schema, *schema["$defs"].values()):
        kind["additionalProperties"] = False
    Draft202012Validator(schema).validate(document)


def test_every_property_is_explained_or_plain() -> None:
    unexplained = [name for name, about in record_schema()["properties"].items() if not about.get("description")]
    assert unexplained == ["turns", "version"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("uuid"),
        lambda document: document.update(version=1),
        lambda document: document.update(seconds="12"),
        lambda document: document["turns"][0].pop("latency_ms"),
        lambda document: document["turns"][0]["times"].update(first_frame="soon"),
        lambda document: document["turns"][0]["words"][0].pop("who"),
        lambda document: document["marks"][0].update(at_ms=None),
    ],
)
def test_a_document_that_differs_does_not_fit(document: dict[str, Any], spoil: Any) -> None:
    spoilt = deepcopy(document)
    spoil(spoilt)
    with pytest.raises(ValidationError):
        Draft202012Validator(record_schema()).validate(spoilt)
