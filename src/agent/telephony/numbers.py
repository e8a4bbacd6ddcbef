"""Phone numbers as they come from a trunk, made comparable."""

from __future__ import annotations

import phonenumbers

WITHHELD = frozenset({"", "anonymous", "private", "restricted", "unknown", "unavailable", "withheld", "s", "<unknown>"})
"""What trunks and Asterisk put in the place of a number that the caller does not show, in lower case."""


def is_withheld(number: str) -> bool:
    """Tell whether `number` stands for a caller who shows none."""
    return number.strip().lower() in WITHHELD


def normalise_number(number: str, region: str = "GB") -> str:
    """Return `number` in E.164 ("+442079460123"), or "" when it is withheld.

    `region` (ISO 3166, two letters) is the one whose national format is understood. Forms such as
    "020 7946 0123", "442079460123" and "00442079460123" come out alike. What is no full phone number, such as
    an extension ("1001") or a SIP user ("alice"), comes back as it is, in lower case and without blanks, so that
    it can still be looked up.
    """
    if is_withheld(number):
        return ""
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is not None and _is_full(parsed):
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return "".join(number.split()).lower()


def is_phone_number(number: str, region: str = "GB") -> bool:
    """Tell whether `number` is one that can be rung from anywhere: not withheld, not an extension."""
    return normalise_number(number, region).startswith("+")


def _is_full(parsed: phonenumbers.PhoneNumber) -> bool:
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE)
