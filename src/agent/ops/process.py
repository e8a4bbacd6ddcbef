"""What this process takes of the machine, thread by thread."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from agent import __version__
from agent.ops.metric_families import FAMILIES

TASKS: Final = Path("/proc/self/task")
MEDIA_THREAD: Final = "fa-media"
"""As the media core names its thread (engine.c)."""
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


_others_s = 0.0
"""What was shown of them last: the kernel counts a thread's time in ticks, and a counter never goes back."""


def of_process() -> Iterator[Metric]:
    """CPU by thread, and how many threads there are. Threads that have ended are among the others."""
    global _others_s
    cpu: Counter[str] = Counter({"media": 0, "main": 0})
    threads = 0
    for task in TASKS.iterdir():
        try:
            # proc(5): "pid (comm) state ppid ...", where comm may have anything in it; utime and stime are 14 and 15.
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has just ended
        threads += 1
        fields = rest.split()
        kind = "media" if name == MEDIA_THREAD else "main" if int(task.name) == os.getpid() else ""
        if kind:
            cpu[kind] += int(fields[11]) + int(fields[12])
    _others_s = max(_others_s, time.process_time() - cpu.total() * TICK_S)
    shown = {kind: ticks * TICK_S for kind, ticks in cpu.items()}
    yield FAMILIES["thread_cpu_seconds"].counted(shown | {"others": _others_s})
    yield FAMILIES["threads"].counted(threads)
    yield FAMILIES["build_info"].counted({__version__: 1})
