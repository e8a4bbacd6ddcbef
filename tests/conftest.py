"""Rules for every test: in CI nothing is skipped, property tests try the same examples each time, and a call that fails
while this host stands still is made again.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from tests.postgres_fixtures import bare_postgres_url, postgres_server, postgres_template, postgres_url
from tests.stalls import pytest_runtest_protocol, pytest_terminal_summary

__all__ = [
    "bare_postgres_url",
    "postgres_server",
    "postgres_template",
    "postgres_url",
    "pytest_runtest_protocol",
    "pytest_terminal_summary",
]

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# A shell in the background lets what it starts ignore Ctrl-C, and so would each program that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a failure in CI: each part that a test needs must be there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI: skipped tests count as failures", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
