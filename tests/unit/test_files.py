"""Room for open files."""

from __future__ import annotations

import logging
import resource

import pytest

from agent.ops.files import make_room


@pytest.mark.parametrize(
    ("soft", "hard", "becomes", "warned"),
    [(1024, 4096, 1192, False), (1024, 1100, 1100, True), (5000, 5000, None, False), (1024, -1, 1192, False)],
)
def test_the_limit_is_raised_as_far_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    becomes: int | None,
    warned: bool,
) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: made.append(limits))
    with caplog.at_level(logging.WARNING):
        make_room(200)
    assert made == ([] if becomes is None else [(becomes, hard)])
    assert ("may need 1192 open files" in caplog.text) is warned
