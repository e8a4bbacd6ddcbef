"""`python -m tests.chaos`: every failure of the table "When things fail", while callers talk (make chaos)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agent.sandbox.scenarios.rig import AGAIN
from benchmarks.report import table
from tests.chaos import report
from tests.chaos.outcome import Outcome, judge_trial
from tests.chaos.row import Row
from tests.chaos.rows import ROWS
from tests.chaos.trial import Trial

OUT = Path(__file__).parents[2] / "build" / "chaos"


async def run(row: Row, seed: int, callers: int, folder: Path) -> Outcome:
    """One trial, run again when it failed while this host stood still, at most `AGAIN` times."""
    spoilt: list[float] = []
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        found = await Trial(row, seed=seed, callers=callers, folder=folder).run()
        outcome = await asyncio.to_thread(judge_trial, found)
        outcome.spoilt, outcome.folder = spoilt, str(folder)
        if outcome.passed or not outcome.stalled or len(spoilt) >= AGAIN:
            return outcome
        spoilt = [*spoilt, outcome.stalled_ms]


async def run_all(rows: Sequence[Row], options: argparse.Namespace) -> list[report.Line]:
    """Rounds of all rows, some trials at once, for as long as the options say."""
    lines = {row.name: report.Line(row) for row in rows}
    room = asyncio.Semaphore(options.at_once)
    began = time.monotonic()

    async def one(row: Row, seed: int) -> None:
        async with room:
            if seed > options.seed and time.monotonic() - began > 60 * options.minutes:
                return
            folder = OUT / "trials" / f"{row.name}-{seed}"
            try:
                outcome = await run(row, seed, options.callers, folder)
            except Exception as error:  # a trial that cannot be made is one that failed
                outcome = Outcome(row.name, seed, [f"the trial broke off: {error!r}"], folder=str(folder))
        lines[row.name].outcomes.append(outcome)
        if outcome.passed and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        told = "passed" if outcome.passed else "FAILED: " + "\n  ".join(outcome.wrong)
        again = f" (run again: this host stood still for {max(outcome.spoilt):.0f} ms)" if outcome.spoilt else ""
        print(f"{time.monotonic() - began:6.0f} s  {row.name}, seed {seed}{again}: {told}", flush=True)

    rounds = options.rounds or 1000
    for number in range(rounds):
        if number and time.monotonic() - began > 60 * options.minutes:
            break
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(one(row, options.seed + number))
    return list(lines.values())


def main() -> int:
    """Run the rows, print the table; 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.chaos")
    parser.add_argument(
        "--rounds", type=int, default=0, help="each row so often; 0: as the minutes allow, once at least"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="no new trial after that, but in the first round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each one has its own")
    parser.add_argument("--callers", type=int, default=3, help="callers in a trial")
    parser.add_argument("--at-once", type=int, default=3, help="trials at once, each with its own agent")
    parser.add_argument("--only", default="", help="rows whose name contains one of these, comma-separated")
    parser.add_argument("--last-failed", action="store_true", help="rows that failed in the run before, each once")
    parser.add_argument("--keep", action="store_true", help="keep recordings and logs of what passed, too")
    parser.add_argument("--list", action="store_true", help="list the rows")
    options = parser.parse_args()
    wanted = [part for part in options.only.split(",") if part]
    rows = [row for row in ROWS if not wanted or any(part in row.name for part in wanted)]
    if options.last_failed:
        failed_then = report.failed(OUT)
        rows = [row for row in rows if row.name in failed_then]
    if options.list:
        print(table(("row", "what fails"), [(row.name, row.fails) for row in rows]))
        return 0
    # An agent that is killed drops its connections to the back office, which is no news here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    shutil.rmtree(OUT / "trials", ignore_errors=True)
    lines = asyncio.run(run_all(rows, options))
    trials = sum(len(line.outcomes) for line in lines)
    failed = trials - sum(line.passed for line in lines)
    how = (
        f"{trials} trials of {len(rows)} rows, {options.callers} callers in each unless the row says otherwise, "
        f"seeds from {options.seed} on; {failed} failed"
    )
    print(table(report.HEADINGS, [line.cells() for line in lines]))
    page, document = report.write(lines, how, OUT)
    print(f"{how}; written to {page} and {document}")
    return 1 if failed or not trials else 0


if __name__ == "__main__":
    sys.exit(main())
