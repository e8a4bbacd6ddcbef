"""What the tests of the media core on real sockets share."""

from __future__ import annotations

import array
import math
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them measure time on real sockets, or what the machine has left."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def voice() -> bytes:
    """A second of a loud buzz of 150 Hz whose level moves as syllables do: each detector takes it for speech."""
    pulses = (
        sum(math.sin(2 * math.pi * 150 * h * i / 8000) / h for h in range(1, 12))
        * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * i / 8000))
        for i in range(8000)
    )
    return array.array("h", (round(6000 * value) for value in pulses)).tobytes()
