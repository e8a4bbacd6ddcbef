"""What Asterisk says of a caller, made safe: one line, bounded, and withheld numbers are empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import UUID

from agent.telephony.registry import CallInfo, Source

MAX_TEXT = 128
"""Longest text kept, characters: longer than any number, name or channel of a real call."""

_UNKNOWN = frozenset({"unknown", "<unknown>"})
_WITHHELD = frozenset({"anonymous", "restricted", "private", "unavailable", "withheld", "asterisk"})


def clean(text: str) -> str:
    """`text` on one line, without control characters, at most `MAX_TEXT` long; Asterisk's "unknown" is empty."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * MAX_TEXT])
    text = " ".join(printable.split())[:MAX_TEXT].strip()
    return "" if text.lower() in _UNKNOWN else text


def caller_name(text: str) -> str:
    r"""The caller's name: `clean`, with the escapes of SIP's quoted string undone.

    chan_pjsip hands `\"` and `\\` of a display name on as they came (seen on 22.10.1).
    """
    return re.sub(r"\\([\"\\])", r"\1", clean(text))


def caller_number(text: str, presentation: str = "") -> str:
    """The caller's number, empty when withheld.

    `presentation` is `agi_callingpres` or `CALLERID(num-pres)`: a number with bits 0x60 set to restricted (0x20)
    or unavailable (0x40), or with such a name, came along for the operator only (callerid.h,
    `AST_PRES_RESTRICTION`).
    """
    presentation = presentation.strip().lower()
    if presentation.isascii() and presentation.isdigit():
        withheld = int(presentation[:6]) & 0x60 != 0
    else:
        withheld = presentation.startswith("prohib") or presentation == "unavailable"
    number = clean(text)
    return "" if withheld or number.lower() in _WITHHELD else number


def call_info(uuid: UUID, texts: Mapping[str, str], source: Source) -> CallInfo:
    """The announcement of a call, made safe, from its raw texts by name; what is missing is empty.

    The names are those of `CallInfo`, and `presentation`, which says whether the number is withheld.
    """
    return CallInfo(
        uuid=uuid,
        did=clean(texts.get("did", "")),
        caller_id=caller_number(texts.get("caller_id", ""), texts.get("presentation", "")),
        caller_name=caller_name(texts.get("caller_name", "")),
        unique_id=clean(texts.get("unique_id", "")),
        linked_id=clean(texts.get("linked_id", "")),
        channel=clean(texts.get("channel", "")),
        source=source,
    )
