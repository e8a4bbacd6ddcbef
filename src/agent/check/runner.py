"""Runs probes: each within its time, those that do not disturb each other at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agent.check.finding import Finding, Level, Probe, error, skipped, worst
from agent.check.subject import Subject
from agent.ops.logs import CarefulFormatter


@dataclass
class Looked:
    """What a probe has found, and how long that took."""

    probe: Probe
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """All of it, in the order of the probes."""

    looked: Sequence[Looked]
    seconds: float

    @property
    def findings(self) -> list[Finding]:
        """Each line."""
        return [finding for one in self.looked for finding in one.findings]

    @property
    def status(self) -> Level:
        """The worst of all."""
        return worst(self.findings)


async def run(
    probes: Sequence[Probe],
    subject: Subject,
    *,
    on_begin: Callable[[Probe], None] = lambda probe: None,
    on_end: Callable[[Looked], None] = lambda looked: None,
) -> Outcome:
    """Run them all; what one raises is an error of its own, and disturbs no other."""
    begun = time.monotonic()
    secrets = subject.settings_.secrets if subject.settings_ is not None else ()
    careful = CarefulFormatter("%(message)s", secrets)
    looked = {probe: Looked(probe) for probe in probes}

    async def one(probe: Probe) -> None:
        on_begin(probe)
        found, since = looked[probe], time.monotonic()

        def say(finding: Finding) -> None:
            found.findings.append(
                replace(finding, text=careful.hidden(finding.text), mend=careful.hidden(finding.mend))
            )

        await _look(probe, subject, say)
        found.seconds = time.monotonic() - since
        on_end(found)

    for stage in sorted({probe.stage for probe in probes}):
        mine = [probe for probe in probes if probe.stage == stage]
        if stage == 0:
            for probe in mine:
                await one(probe)
            continue
        async with asyncio.TaskGroup() as group:
            for probe in mine:
                group.create_task(one(probe), name=f"check {probe.name}")
    return Outcome(list(looked.values()), time.monotonic() - begun)


async def _look(probe: Probe, subject: Subject, say: Callable[[Finding], None]) -> None:
    if probe.needs_settings and subject.settings_ is None:
        say(skipped(probe.name, "not tried: a setting is wrong", "mend the settings first"))
        return
    if probe.online and subject.offline:
        say(skipped(probe.name, "not tried: --offline"))
        return
    try:
        async with asyncio.timeout(probe.limit_s), contextlib.aclosing(probe.look(subject)) as findings:
            async for finding in findings:
                say(finding)
    except TimeoutError:
        say(
            error(
                probe.name,
                f"gave no answer within {probe.limit_s:g} s",
                "check again; when it stays so, what it asks hangs",
            )
        )
    except Exception as problem:
        say(
            error(
                probe.name,
                f"could not be looked at: {type(problem).__name__}: {problem}",
                "this is a fault of the check itself: report it",
            )
        )
