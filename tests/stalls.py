"""A call that fails while this host stands still is made again, as a scripted caller's is, and the run says so.

A caller who speaks in tones says a letter in 50 ms: a host that stands still for longer takes letters out of words, and
seconds from what is timed. Whole calls cannot tell that from a fault of the agent, so they are tried again where, and
only where, a thread that does nothing else was late itself. A fault of the agent fails again.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import pytest
from _pytest.runner import runtestprotocol

STALL_MS: Final = 100.0
AGAIN: Final = 2
STEP_S: Final = 0.01
TOLD: Final = "this host stood still, ms"
CALLS: Final = frozenset({"rig", "a_rig", "vendors", "sandbox", "callers"})
"""Fixtures of tests that make calls, or speak in tones; so do those that are marked `alone`."""
TIMED: Final = frozenset({"sandbox_caller", "peers", "console"})
"""Directories whose tests hold the other end of a line, with limits of time."""


class Stalls:
    """While entered, notes for how long the host stood still at the most, ms."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            due += STEP_S
            time.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            self.longest_ms = max(self.longest_ms, 1000 * late)
            due += late


def _may_be_repeated(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and (
        bool(CALLS & set(item.fixturenames))
        or item.get_closest_marker("alone") is not None
        or item.path.parent.name in TIMED
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test of calls, and run it again if it failed on a host that stood still."""
    if not _may_be_repeated(item):
        return None
    assert isinstance(item, pytest.Function)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for again in range(AGAIN + 1):
        if again:
            item._initrequest()  # its fixtures are made anew
        with Stalls() as stalls:
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if again == AGAIN or stalls.longest_ms < STALL_MS or not any(report.failed for report in reports):
            break
        item.user_properties.append((TOLD, round(stalls.longest_ms)))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which tests were run again."""
    told: dict[str, list[object]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if stalls := [value for name, value in getattr(report, "user_properties", ()) if name == TOLD]:
            told[report.nodeid] = stalls
    if told:
        terminalreporter.section("run again, since this host stood still")
        for nodeid, stalls in told.items():
            terminalreporter.line(f"{nodeid}: for {', '.join(f'{ms} ms' for ms in stalls)}")
