"""What each Asterisk accepts over AudioSocket, what it does not forgive, and what the dialplan is told.

Three behaviours matter. OLD: 18.x, to 20.13, 21.8 and 22.3. MID: 20.14 to 20.16, 21.9 to 21.12, 22.4 to 22.6 and 23.0.
NEW: from 20.17, 22.7 and 23.1 on. Within MID and NEW a few releases differ, and they are here too.
Read in the source, which each rule names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

HANGUP, UUID, DTMF, AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
"""Kinds of messages: `enum ast_audiosocket_msg_kind`, include/asterisk/res_audiosocket.h."""
RATES = {
    0x10: 8000, 0x11: 12000, 0x12: 16000, 0x13: 24000, 0x14: 32000, 0x15: 44100, 0x16: 48000, 0x17: 96000, 0x18: 192000,
}  # fmt: skip
"""Samples a second of each audio kind."""
CONNECT_MS = 2000
"""`MAX_CONNECT_TIMEOUT_MSEC`, res_audiosocket.c."""

# What is logged, as level and text; %s is filled in. A test names a line by these.
NO_HEADER = "Failed to read header from AudioSocket because: %s"
NO_KIND = "Failed to read type header from AudioSocket"
NO_LENGTH = "Failed to read data length from AudioSocket"
NO_PAYLOAD = "Failed to read payload from AudioSocket: %s"
CUT_PAYLOAD = "Insufficient payload read from AudioSocket"
PAUSED = "Poll timed out while waiting for data"
WRONG_KIND = (
    "Received AudioSocket message other than hangup or audio, refer to protocol specification for valid message types"
)
NOT_AUDIO = "Received non-audio AudioSocket message"
NO_LENGTH_ZERO = "Invalid message length received from AudioSocket server. "
NOT_WRITTEN = "Failed to write data to AudioSocket because: %s"
NOT_FORWARDED = "Failed to forward frame from channel '%s' to AudioSocket server '%s'"
NOT_RECEIVED = "Failed to receive frame from AudioSocket server '%s' connected to channel '%s'"
CALLER_GONE = "Failed to receive frame from channel '%s' connected to AudioSocket server '%s'"
IDLE = "Reached timeout after %s ms of no activity on AudioSocket connection between '%s' and '%s'"
NOT_CONNECTED = "Failed to connect to AudioSocket service"


@dataclass(frozen=True, slots=True)
class Version:
    """One behaviour of res_audiosocket.c (`ast_audiosocket_*`) and app_audiosocket.c (`audiosocket_run`)."""

    name: str
    header: Literal["byte by byte", "one read", "loop at the wrong offset", "loop"]
    """How `ast_audiosocket_receive_frame` reads three bytes. Byte by byte: nothing to read, or the end of the stream,
    at the kind is a null frame, and in the length it is fatal. One read: nothing to read is fatal, one or two bytes
    are taken for a header whose rest is whatever the stack held. The loop waits for ever for what is missing
    (asterisk/asterisk#2089), and at the wrong offset it reads over what it has (fixed by 4ba7014f89)."""
    payload_pause_ms: int
    """How long a payload may pause; 0: not at all (`ast_wait_for_input(svc, 5)` from 3924a828ff on)."""
    audio_kinds: frozenset[int]
    skips_other_kinds: bool
    """Other kinds are read and skipped with a warning (OLD); else they are fatal."""
    takes_empty_audio: bool
    """Audio of length 0 is a null frame (OLD); else it is fatal."""
    sees_eof: bool
    """The end of the stream in front of a message is a hangup. OLD spins at 100 % CPU until the caller hangs up."""
    hangup_returns: int
    """What the application returns after `00 00 00`: 0, and the dialplan goes on; OLD -1, and the caller is hung up."""
    idle_ms: int
    """`MAX_WAIT_TIMEOUT_MSEC`: nothing from either side for so long is fatal; 0: never."""
    sends_dtmf: bool
    no_delay: bool
    """TCP_NODELAY on its socket (c4db87ae53)."""


WIDE = frozenset(RATES)
NARROW = frozenset({AUDIO})

NEW = Version(
    name="NEW (22.9 to 22.10.1, 20.19, 23.3 on)",
    header="loop",
    payload_pause_ms=5,
    audio_kinds=WIDE,
    skips_other_kinds=False,
    takes_empty_audio=False,
    sees_eof=True,
    hangup_returns=0,
    idle_ms=2000,
    sends_dtmf=True,
    no_delay=True,
)
NEW_WRONG_OFFSET = replace(NEW, name="NEW (22.7, 22.8, 20.17, 20.18)", header="loop at the wrong offset")
MID = replace(NEW, name="MID (22.5, 22.6)", header="one read", audio_kinds=NARROW)
MID_WIDE = replace(MID, name="MID (21.12)", audio_kinds=WIDE)
MID_FIRST = replace(MID, name="MID (22.4)", payload_pause_ms=0, no_delay=False)
OLD = Version(
    name="OLD (18.x, 20.13)",
    header="byte by byte",
    payload_pause_ms=0,
    audio_kinds=NARROW,
    skips_other_kinds=True,
    takes_empty_audio=True,
    sees_eof=False,
    hangup_returns=-1,
    idle_ms=0,
    sends_dtmf=False,
    no_delay=False,
)
MODES = {"OLD": OLD, "MID": MID, "NEW": NEW}
VERSIONS = (OLD, MID_FIRST, MID, MID_WIDE, NEW_WRONG_OFFSET, NEW)
