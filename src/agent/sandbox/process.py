"""Parts of the product as processes of their own, for the demo and the scripted callers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

READY_LIMIT_S = 180.0
STOP_LIMIT_S = 10.0


class ProcessError(RuntimeError):
    """A part does not start; the text says where to read why."""


@contextlib.asynccontextmanager
async def part(
    log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`voice-agent ARGUMENTS` in a process, ended with the block; what it complains of is added to `log`.

    `environment` is all of the process's environment; none: this process's.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


@contextlib.asynccontextmanager
async def sandbox_process(log: Path, *arguments: str) -> AsyncIterator[dict[str, str]]:
    """The emulated vendors in a process; gives the settings that lead an agent to them. Raises `ProcessError`."""
    async with part(log, "sandbox", *arguments) as process:
        assert process.stdout is not None
        variables: dict[str, str] = {}
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                while (line := (await process.stdout.readline()).decode().strip()) != "ready":
                    if not line and process.stdout.at_eof():
                        raise ProcessError(f"the emulated vendors do not start: see {log}")
                    name, _, value = line.partition("=")
                    variables[name] = value
        except TimeoutError:
            raise ProcessError(f"the emulated vendors were not ready in {READY_LIMIT_S:g} s: see {log}") from None
        yield variables
