"""What a traffic needs: lines, hosts, the vendors' streams, contexts and requests, network, disk and money. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from agent.capacity.costs import Use, cost_a_minute
from agent.capacity.erlang import busy_at_once, lines_for
from agent.ops.prices import PriceTable

AUDIO_BYTES: Final = 320
"""20 ms at 8000 samples a second, 16 bits."""
HEADER_BYTES: Final = 3
"""Of AudioSocket."""
TCP_BYTES: Final = 52
"""IPv4 and TCP with timestamps."""
ETHERNET_BYTES: Final = 38
"""Frame, checksum, preamble and the gap behind it."""
ACK_SHARE: Final = 0.5
"""Bare acknowledgements for each message, at most: both sides send all the time, so most ride along."""
UP_CHUNK_MS: Final = 80
"""Audio to the STT in one message."""
WEBSOCKET_BYTES: Final = 8
TLS_BYTES: Final = 22
BASE64: Final = 4 / 3
CONTEXT_MESSAGES_S: Final = 10.0
"""Messages of audio a second of speech, 100 ms each, with some 150 bytes of JSON around them."""
JSON_BYTES: Final = 150
RECORDING_BYTES_S: Final = 32_000
"""WAV, two channels of 16 bits at 8000 Hz."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes in, in the busiest hour."""

    calls_an_hour: float
    minutes: float
    """The mean length of a call."""
    blocking: float = 0.01
    """Share of calls that may find all lines taken."""

    @property
    def erlangs(self) -> float:
        """Calls at once, on average."""
        return self.calls_an_hour * self.minutes / 60


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts, and what one carries."""

    calls_a_host: int = 100
    hosts_lost: int = 1
    """So many may be gone, or draining for an update, at the worst time."""


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes."""

    erlangs: float
    lines: int
    hosts: int
    streams: int
    contexts: int
    requests_a_minute: float
    tokens_a_minute: float
    """Of those that the vendor counts: not from its cache."""
    asterisk_mbit_s: float
    """Each way, between Asterisk and the agents."""
    vendors_up_mbit_s: float
    vendors_down_mbit_s: float
    recordings_gb_an_hour: float
    cost_a_minute: dict[str, float] = field(default_factory=dict)
    cost_an_hour: float = 0.0


def plan(traffic: Traffic, fleet: Fleet, prices: PriceTable, use: Use | None = None) -> Need:
    """What a traffic needs. Streams, contexts and requests are those of all lines in use, as vendors count them."""
    use = use or Use()
    lines = lines_for(traffic.erlangs, traffic.blocking)
    cost = cost_a_minute(prices, use)
    carried = traffic.erlangs * (1 - traffic.blocking)
    return Need(
        erlangs=traffic.erlangs,
        lines=lines,
        hosts=math.ceil(lines / fleet.calls_a_host) + fleet.hosts_lost if lines else 0,
        streams=lines,
        contexts=busy_at_once(lines, use.speaking, 0.001),
        requests_a_minute=lines * use.requests,
        tokens_a_minute=lines * (use.tokens_in - use.tokens_cached + use.tokens_out),
        asterisk_mbit_s=lines * asterisk_bits_s() / 1e6,
        vendors_up_mbit_s=lines * stt_bits_s() / 1e6,
        vendors_down_mbit_s=lines * use.speaking * tts_bits_s() / 1e6,
        recordings_gb_an_hour=carried * RECORDING_BYTES_S * 3600 / 1e9,
        cost_a_minute=cost,
        cost_an_hour=carried * 60 * sum(cost.values()),
    )


def asterisk_bits_s() -> float:
    """Of one call, each way, on Ethernet: 50 messages a second, and what acknowledges the other side's."""
    message = HEADER_BYTES + AUDIO_BYTES + TCP_BYTES + ETHERNET_BYTES
    return 50 * 8 * (message + ACK_SHARE * (TCP_BYTES + ETHERNET_BYTES))


def stt_bits_s() -> float:
    """Of one call, to the STT: audio in messages of 80 ms, by WebSocket in TLS."""
    messages = 1000 / UP_CHUNK_MS
    audio = AUDIO_BYTES * UP_CHUNK_MS / 20
    return messages * 8 * (audio + WEBSOCKET_BYTES + TLS_BYTES + TCP_BYTES + ETHERNET_BYTES)


def tts_bits_s() -> float:
    """While the agent speaks, from the TTS: audio in base64."""
    audio = 16_000 / CONTEXT_MESSAGES_S * BASE64
    return CONTEXT_MESSAGES_S * 8 * (audio + JSON_BYTES + TLS_BYTES + 2 * (TCP_BYTES + ETHERNET_BYTES))
