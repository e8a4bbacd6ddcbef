"""What the console calls the things of a call: outcomes, ends, moments and stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.ops.waterfall import NAMES

OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "booked": ("Booked", "good"),
    "booking_kept": ("Booked, to be sent", "info"),
    "transferred": ("Put through", "info"),
    "no_booking": ("No booking", ""),
    "silent": ("Fell silent", ""),
    "machine": ("A machine", ""),
    "refused": ("Turned away", "warn"),
    "failed": ("Failed", "bad"),
}
"""Outcomes of `CallRecord.outcome`: what they are called, and the kind of their badge."""

ENDED_BY: Final[Mapping[str, str]] = {
    "caller": "the caller",
    "agent": "the agent",
    "peer_hangup": "Asterisk",
    "peer_error": "an error of Asterisk's",
    "not_reading": "a line that took no audio",
    "socket_error": "a broken connection",
    "stopped": "the agent's end",
}

MARKS: Final[Mapping[str, str]] = {
    "hold": "Held: the caller made a sound",
    "resume": "Went on",
    "barge_in": "The caller speaks over the agent",
    "flush": "Stopped speaking: interrupted",
    "dtmf": "Key pressed",
    "step": "Step",
    "goes_on": "Says the rest: it was a noise",
    "bear_with_me": "Asked for patience",
    "stt_away": "Nobody hears the caller",
    "stt_back": "The caller is heard again",
    "stalled": "No answer came",
    "booking_kept": "Booking kept, to be sent",
    "default_context": "Answered without the company's details",
    "machine": "A machine",
    "operator": "From the console",
    "recording_lost": "Recording lost",
    "refused": "Turned away",
    "stopping": "The agent is stopping",
    "agent_died": "The agent was killed or crashed",
    "other_format": "Audio of another kind",
    "transfer_missed": "Nobody took the transfer",
}

LANES: Final[Mapping[str, str]] = {
    "hold": "held", "resume": "resumed", "barge_in": "barged", "flush": "cut", "dtmf": "key", "step": "step",
}  # fmt: skip
"""Moments that are drawn on the time line in a way of their own; the rest are "other"."""

STAGES: Final[Mapping[str, str]] = NAMES


def outcome(name: str) -> tuple[str, str]:
    """What an outcome is called, and the kind of its badge."""
    return OUTCOMES.get(name, (plain(name), ""))


def ended_by(name: str) -> str:
    """Who ended a call."""
    return ENDED_BY.get(name, plain(name).lower())


def mark(what: str) -> str:
    """What a moment is called."""
    return MARKS.get(what, plain(what))


def plain(name: str) -> str:
    """A code as words: "booking_kept" is "Booking kept"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
