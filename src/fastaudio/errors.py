"""What can go wrong in the media core, as exceptions."""

from __future__ import annotations


class FastAudioError(Exception):
    """Base class of every error of this package."""


class ProtocolError(FastAudioError):
    """The peer broke the AudioSocket protocol, or that of the header that a balancer puts in front of it.

    `reason` is one of the names of `END_REASONS`; `offset` is the number of bytes taken before it showed.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"protocol error after {offset} bytes: {reason}")
        self.reason = reason
        self.offset = offset


class StaleGeneration(FastAudioError):
    """The utterance was flushed or has ended: nothing more of it is played."""


class EngineClosed(FastAudioError):
    """The engine has stopped."""


class EngineBusy(FastAudioError):
    """The command ring is full: the media thread has not run for a long time."""
