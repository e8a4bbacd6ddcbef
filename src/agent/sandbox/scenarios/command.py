"""The command `voice-agent callers`: scripted callers, and a table of what came of them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from agent.conversations import ConversationError
from agent.ops.settings import SettingsError
from agent.sandbox.process import ProcessError
from agent.sandbox.scenarios.evidence import Evidence
from agent.sandbox.scenarios.expect import interruptions_of, turns_of
from agent.sandbox.scenarios.reading import Caller, CallerError, own_callers, packaged_callers, read_caller
from agent.sandbox.scenarios.rig import Options, Outcome, callers_rig
from agent.speech_engines import EngineMissing


def choose_callers(conversation: str, only: Sequence[str], directory: Path | None = None) -> list[Caller]:
    """Return the callers of a conversation, or those of these names or files. Raises `CallerError`.

    A conversation of one's own is in `directory`.
    """
    known = packaged_callers(conversation) if directory is None else own_callers(directory)
    if not only and not known:
        raise CallerError(
            f"{directory} has no callers: write some as callers/NAME.caller there, or name one by --only FILE.caller"
        )
    if not only:
        return known
    by_name = {caller.name: caller for caller in known}
    chosen = []
    for name in only:
        if name in by_name:
            chosen.append(by_name[name])
        elif name.endswith(".caller"):
            chosen.append(read_caller(Path(name), conversation, directory))
        else:
            there = f"there is {', '.join(by_name)}" if by_name else "a file's name ends in .caller"
            raise CallerError(f"there is no caller {name!r}; {there}")
    return chosen


async def callers_command(options: Options, only: Sequence[str], console: Console) -> int:
    """Run the callers and print what came of them; the exit status: 1 when one fails, 2 when they cannot run."""
    try:
        callers = choose_callers(options.conversation, only, options.directory)
        with tempfile.TemporaryDirectory(prefix="voice-agent-callers-") as folder:
            # The agent begins with an empty back office each time.
            options = replace(options, folder=Path(folder))
            logging.basicConfig(filename=(options.save or options.folder) / "agent.log", level="INFO", force=True)
            of_whom = options.directory or options.conversation
            console.print(f"{len(callers)} callers of {of_whom}, {options.at_once} at once; each call takes its time")
            async with callers_rig(options) as rig:
                outcomes = await rig.run(callers, lambda outcome: console.print(line_of(outcome), soft_wrap=True))
    except (CallerError, ConversationError, ProcessError, SettingsError, EngineMissing) as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return 2
    console.print(table_of(outcomes))
    failed = sum(not outcome.passed for outcome in outcomes)
    console.print(f"{len(outcomes) - failed} of {len(outcomes)} callers got what they should")
    return 1 if failed else 0


def line_of(outcome: Outcome) -> str:
    """Return how a call went, in a line, and each fault in one more."""
    sign = "[green]passed[/green]" if outcome.passed else "[red]failed[/red]"
    faults = "".join(f"\n        {escape(fault)}" for fault in outcome.faults)
    if stalls := outcome.stalls_before_ms:
        faults += f"\n        called again: this host stood still for {', '.join(f'{ms:.0f} ms' for ms in stalls)}"
    if not outcome.passed and outcome.stalled_ms:
        faults += f"\n        this host stood still for {outcome.stalled_ms:.0f} ms: it may be no fault of the agent"
    return f"{sign}  {outcome.caller.name}{faults}"


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """Return a row a call: what came of it and what it took."""
    columns = [Column(no_wrap=True), Column("caller", overflow="fold"), Column("outcome", no_wrap=True)]
    columns += [Column(name, justify="right") for name in ("turns", "cut", "ms", "s", "asked", "left", "tokens")]
    caption = "cut: interrupted; ms: the median wait; asked: requests to the LLM; left: those broken off"
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0), caption=caption)
    for outcome in outcomes:
        record, asked = outcome.record, outcome.asked
        seen = Evidence(record) if record else None
        table.add_row(
            "[green]ok[/green]" if outcome.passed else "[red]failed[/red]",
            outcome.caller.name,
            record.outcome if record else "",
            str(turns_of(seen)) if seen else "",
            str(interruptions_of(seen)) if seen else "",
            "" if outcome.latency_ms is None else str(outcome.latency_ms),
            f"{record.seconds:.0f}" if record else "",
            str(asked.requests),
            str(asked.unfinished),
            str(asked.tokens),
        )
    return table
