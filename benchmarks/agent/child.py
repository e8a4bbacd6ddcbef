"""Processes of a run, on cores of their own: they are asked by lines on their standard input, and answer in JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ANSWER_S = 60.0


class ChildFailed(RuntimeError):
    """A process of the run ended or did not answer; the text says which, and its last words."""


async def serve_questions(ready: Mapping[str, Any], answer: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
    """In the child: tell that it is ready, then answer each question until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps(dict(ready)), flush=True)
    while line := await reader.readline():
        print(json.dumps(await answer(line.decode().strip())), flush=True)


class Child:
    """In the parent: a process that runs, and `ready`, what it told when it was."""

    def __init__(self, name: str, process: subprocess.Popen[str], complaints: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._complaints = complaints
        self.ready = self._answer()

    def ask(self, question: str) -> dict[str, Any]:
        """Ask and wait for the answer. Raises `ChildFailed`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: its answer will not come
        return self._answer()

    def complaints(self) -> list[str]:
        """What it wrote to standard error."""
        return self._complaints.read_text(errors="replace").splitlines()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        line = self._process.stdout.readline() if readable else ""
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            last = (self.complaints() or ["it said nothing"])[-1]
            raise ChildFailed(f"{self.name} does not answer: {last}") from None
        return answer


@contextlib.contextmanager
def child(
    name: str,
    arguments: list[str],
    core: int,
    *,
    environment: Mapping[str, str] | None = None,
    nice: int = 0,
) -> Iterator[Child]:
    """Run `python ARGUMENTS` on a core. `nice`: how much it gives way to others there. Raises `ChildFailed`."""
    with tempfile.NamedTemporaryFile("w+") as complaints:  # not a pipe, which one that complains much would fill
        process = subprocess.Popen(
            ["taskset", "-c", str(core), "nice", "-n", str(nice), sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield Child(name, process, Path(complaints.name))
        finally:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
