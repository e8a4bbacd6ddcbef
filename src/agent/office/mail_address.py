"""What an e-mail address is: one that a header can hold, and nothing behind it. Pure."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses


def mail_address(text: str) -> Address:
    """Read `office@example.org` or `Reception <office@example.org>`. Raises `ValueError` for what is neither."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("an e-mail address has no control characters")
    found = getaddresses([text])
    if len(found) != 1:
        raise ValueError("it must be one e-mail address")
    ((name, place),) = found
    try:
        address = Address(display_name=name, addr_spec=place)
    except (HeaderParseError, ValueError, IndexError) as error:
        raise ValueError("no e-mail address") from error
    if not address.username or not address.domain:
        raise ValueError("no e-mail address")
    return address
