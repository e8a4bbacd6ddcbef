"""Judging what a caller has said so far, which is done for each interim transcript: against decoding its message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.language.words import completeness

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

ASKED = "Lovely, thank you. And what's your postcode, please?"
SAID = {
    "a yes": "Yes.",
    "a code": "It's M for Mike, one four, six, B for Bravo",
    "a sentence": "My boiler has stopped working and we've no hot water, so I wondered if somebody could have a look",
}


@pytest.mark.parametrize("what", SAID)
def test_completeness(what: str, compare: Compare) -> None:
    text = SAID[what]
    words = [{"word": one, "start": 0.1, "end": 0.2, "confidence": 0.99} for one in text.split()]
    message = json.dumps({"type": "Results", "channel": {"alternatives": [{"transcript": text, "words": words}]}})
    compare(
        f"completeness of {what}", lambda: completeness(text, ASKED), "json.loads of it", lambda: json.loads(message)
    )
