"""A rate that the agent does not converse at is refused before anything is begun."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from agent.cli import app


@pytest.mark.parametrize("command", ["call", "demo"])
def test_a_rate_that_does_not_exist_is_named(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--rate", "44100"])
    assert result.exit_code == 2
    assert "--rate is 8000 or 16000, not 44100" in result.output
