"""Sounds that can be recognised, for want of a voice."""

from __future__ import annotations

import array
import math
import random


def chirp(seconds: float, seed: int, peak: int = 8000) -> bytes:
    """8 kHz PCM like no other: a tone that wanders at random, so that a part of it is found at one place alone."""
    choose = random.Random(seed)
    pcm, phase, hertz = array.array("h"), 0.0, 800.0
    for sample in range(int(8000 * seconds)):
        if sample % 160 == 0:
            hertz = min(2500.0, max(300.0, hertz + choose.uniform(-300, 300)))
        phase += 2 * math.pi * hertz / 8000
        pcm.append(int(peak * math.sin(phase)))
    return pcm.tobytes()
