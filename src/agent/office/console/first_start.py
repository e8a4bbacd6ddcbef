"""The first start: whoever can read the data directory, or saw the link, sets the first name and password, once."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from agent.ops.private import make_private_directory

FILE = "console-setup"


class SetUpToken:
    """A token in a file of mode 0600 in the data directory, so that all processes on it know the same one."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE

    def get(self) -> str:
        """The token; made if there is none. Raises `OSError`."""
        make_private_directory(self._path.parent)
        token = secrets.token_urlsafe(32)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self._read() or self._anew()
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(token)
        return token

    def is_right(self, given: str) -> bool:
        """Whether this is the token; the time it takes does not tell how much of it is right."""
        kept = self._read()
        return bool(kept) and hmac.compare_digest(kept.encode(), given.encode())

    def use_up(self) -> bool:
        """Make it worthless. Exactly one who asks gets True, whichever process it asks in."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _anew(self) -> str:
        self.use_up()
        return self.get()
