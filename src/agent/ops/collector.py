"""Python's garbage collector, set up for a process that answers calls.

Nearly everything here is freed by its reference count; the collector looks for cycles only. With its defaults it looks
every 700 new objects, and each thorough look goes through all that was ever loaded while every call waits.
"""

from __future__ import annotations

import gc

YOUNG = 5_000
"""New objects between two looks at the young ones: a millisecond for the calls, and a megabyte of rubbish at most."""


def settle() -> None:
    """Once everything is loaded: leave that alone from now on, and look at what is new less often."""
    gc.collect()
    gc.freeze()
    gc.collect()  # a thorough look is due by the share of what is new: of what is beside the frozen
    gc.set_threshold(YOUNG, 20, 20)
