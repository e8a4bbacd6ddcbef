"""The benchmark's other processes: started, waited for, ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
START_S = 60.0


class Unavailable(RuntimeError):
    """A part of the benchmark does not start; the text says why."""


@dataclass
class Running:
    """A process, and the lines that it printed until it was ready."""

    process: subprocess.Popen[str]
    lines: list[str]
    _errors: IO[str]

    def complaint(self) -> str:
        """The last line of what it complained of; empty when it did not."""
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or [""])[-1]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], until: str = "") -> Iterator[Running]:
    """Start a process and wait until it has printed the line `until`, or any line. Raises `Unavailable`."""
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            list(command), stdout=subprocess.PIPE, stderr=complaints, text=True, cwd=ROOT, env=dict(environment)
        )
        patience = threading.Timer(START_S, process.kill)
        patience.start()
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or (until and lines[-1] != until):
                if not (line := process.stdout.readline().strip()):
                    complaints.seek(0)
                    said = complaints.read().strip().splitlines() or ["it said nothing"]
                    raise Unavailable(f"{' '.join(command[1:4])} did not start: {said[-1]}")
                lines.append(line)
            patience.cancel()
            yield Running(process, lines, complaints)
        finally:
            patience.cancel()
            process.kill()
            process.communicate()


@contextmanager
def first_on_the_host() -> Iterator[None]:
    """While entered, this process goes before others, where that is allowed: it is the instrument that measures."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, usual - 10)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


def cpu_times() -> tuple[float, float]:
    """Idle time and all time of the host's processors so far, in the kernel's ticks."""
    fields = [float(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)
