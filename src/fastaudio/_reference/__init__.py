"""The executable specification of the media core: each unit of `fastaudio._core` in plain, readable Python.

It has the names and methods of the compiled module, so that the same tests run on both and property tests compare
them event by event and byte by byte. It is slow on purpose (no cleverness), has no thread and no socket, and nothing
at run time imports it. Where the two disagree, this one says what is meant.
"""

from fastaudio._reference.call import RATE_TICKS, Call, EventKind
from fastaudio._reference.capture import Capture, Reader
from fastaudio._reference.clock import Clock
from fastaudio._reference.histogram import HISTOGRAM_BOUNDS_US, Histogram
from fastaudio._reference.playout import Playout, Producer
from fastaudio._reference.proxy import ProxyHeader
from fastaudio._reference.voice import BargeIn, Gate, Vad, rms, rms_batch
from fastaudio._reference.wire import AUDIO_KINDS, FrameParser, Rechunker, message

__all__ = [
    "AUDIO_KINDS",
    "HISTOGRAM_BOUNDS_US",
    "RATE_TICKS",
    "BargeIn",
    "Call",
    "Capture",
    "Clock",
    "EventKind",
    "FrameParser",
    "Gate",
    "Histogram",
    "Playout",
    "Producer",
    "ProxyHeader",
    "Reader",
    "Rechunker",
    "Vad",
    "message",
    "rms",
    "rms_batch",
]
