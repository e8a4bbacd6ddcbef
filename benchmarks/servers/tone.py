"""What the Python servers play, and how they begin. Standard library alone: a peer's own environment has no more."""

from __future__ import annotations

import math
import os
import resource
import struct
from pathlib import Path

TONE = struct.pack("<8000h", *(round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000)))
"""A second of 440 Hz at 8 kHz, a whole number of periods."""
SOUND = Path(os.environ["BENCH_SOUND"]).read_bytes() if "BENCH_SOUND" in os.environ else TONE
"""What is played again and again: whole frames of 16-bit PCM at 8 kHz, from a file when the environment names one."""
FRAME_BYTES = 320
FRAMES = [SOUND[at : at + FRAME_BYTES] for at in range(0, len(SOUND), FRAME_BYTES)]
BACKLOG = 1024


def many_files() -> None:
    """Let this process open as many files as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
