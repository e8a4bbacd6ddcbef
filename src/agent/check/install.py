"""Python, and what was installed: the compiled core, its version, the voice activity detector."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys

from agent import __version__
from agent.check.finding import Findings, error, ok, warning
from agent.check.subject import Subject

OLDEST, NEWEST = (3, 11), (3, 13)
DISTRIBUTION = "fastaudio-agent"


async def python(_subject: Subject) -> Findings:
    """Its version, and the system's."""
    version = sys.version_info[:2]
    told = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if not OLDEST <= version <= NEWEST:
        yield error("python", told, "use Python 3.11, 3.12 or 3.13: make the virtual environment anew with one of them")
    elif sys.platform != "linux":
        yield error("python", told, "run the agent on Linux: the media thread uses epoll and timerfd")
    else:
        yield ok("python", told)


async def wheel(_subject: Subject) -> Findings:
    """The extension can be imported, is of this version, and finds the detector."""
    reinstall = "install the package again: pip install --force-reinstall fastaudio-agent"
    try:
        import fastaudio
        from fastaudio import _core
    except ImportError as problem:
        yield error("wheel", f"the compiled core cannot be imported: {problem}", reinstall)
        return
    try:
        packaged = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        packaged = ""
    if packaged and packaged != __version__:
        yield error(
            "wheel", f"the package says {packaged}, its code {__version__}: two installations are mixed", reinstall
        )
    else:
        # It works, too: a level of known samples.
        level = fastaudio.rms((1000).to_bytes(2, "little") * 160)
        if abs(level - 1000) <= 1:
            yield ok("wheel", f"fastaudio-agent {__version__}, with its compiled core")
        else:
            yield error("wheel", f"the compiled core {_core.__file__} computes wrongly", reinstall)
    try:
        import webrtcvad  # noqa: F401
    except ImportError as problem:
        yield error("webrtcvad", f"cannot be imported: {problem}", "pip install webrtcvad-wheels")
    else:
        yield ok("webrtcvad", "webrtcvad is there")
    if importlib.util.find_spec("picows") is None:
        yield warning(
            "picows", "picows is not installed: vendors' sockets take more of the processor", "pip install picows"
        )
