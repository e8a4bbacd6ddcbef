"""The signature of a webhook by the Standard Webhooks specification (standardwebhooks.com, version 1.0.0). Pure.

What is signed is `id.timestamp.body` with HMAC-SHA256; a secret is `whsec_` and 24 to 64 random bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


class SecretError(ValueError):
    """A text is no secret that a webhook can be signed with; the text says what one looks like, and never shows it."""


def new_secret() -> str:
    """Return a new secret, by chance."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def keys_of(text: str) -> list[bytes]:
    """Return the keys in a setting: one secret, or while it is changed the new and the old one, with a space between.

    The base64 may be without its padding, and URL-safe. Raises `SecretError`.
    """
    return [_key(secret) for secret in text.split()]


def signature_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt: `timestamp` is its time, s since the epoch. Without a key, none is signed."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if keys:
        signed = f"{message_id}.{timestamp}.".encode() + body
        made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in made)
    return headers


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 16 <= len(key) <= 64:
        raise SecretError(f"a webhook's secret is {PREFIX} and 24 to 64 bytes in base64: openssl rand -base64 32")
    return key
