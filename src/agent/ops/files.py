"""Room for as many open files as the calls need: a common default is 1024, which 200 calls use up."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

FILES_A_CALL = 5
"""Its own socket, the STT's, the LLM's, a share of the TTS's and of the resolver's, the recording."""
FILES_BESIDES = 192


def make_room(calls: int) -> None:
    """Let this process open as many files as so many calls need, as far as it may; what is missing is logged."""
    needed = calls * FILES_A_CALL + FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        log.warning(
            "%d calls may need %d open files and this process may have %d: raise it (LimitNOFILE= in the unit, or "
            "ulimit -Hn), or lower MAX_CALLS",
            *(calls, needed, most),
        )
