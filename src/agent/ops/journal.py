"""Log records as the journal's own entries, with fields to search by, where systemd runs the agent.

journald takes an entry as one datagram of `NAME=value` lines (systemd's "Native Journal Protocol"): a few lines
of code, where libraries bring libsystemd along or are built against its headers.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator

from agent.call.current import CALL_UUID

CALL_OVER = "50bc1c479d6847e199ad1823c04121ac"
"""MESSAGE_ID of a call's CALL_METRICS line: `journalctl MESSAGE_ID=…` lists calls."""
WATCHDOG_NOT_FED = "aa25b31662a84296838034ff4e8c1b87"
"""MESSAGE_ID of the media thread not answering."""

SOCKET = "/run/systemd/journal/socket"
LONGEST = 48 * 1024
"""Bytes of a field: with them an entry stays below what a datagram may have by default (208 KiB)."""
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def is_stderr_the_journal() -> bool:
    """Whether standard error goes to journald: it says so by the device and inode of that stream (systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends each record to journald, and never waits for it: what it does not take is counted, and told with the next.

    Fields beside the message: PRIORITY, LOGGER, CODE_FILE, CODE_LINE, CODE_FUNC, CALL_UUID of the call that is worked
    for, and whatever a record has in capitals: `log.info(…, extra={"MESSAGE_ID": …})`. Raises OSError where journald
    does not listen.
    """

    def __init__(self, path: str = "") -> None:
        super().__init__()
        self.lost = 0
        """Entries that journald has not taken, and that nobody was told of yet."""
        self._path = path or SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send it."""
        try:
            entry = encoded(_fields(record, self.format(record)))
        except Exception:
            self.handleError(record)
            return
        if self.lost and self._send(encoded(_about_lost(self.lost))):
            self.lost = 0
        if not self._send(entry):
            self.lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _send(self, entry: bytes) -> bool:
        try:
            self._socket.send(entry)
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET):
                with contextlib.suppress(OSError):  # journald was begun anew
                    self._socket.connect(self._path)
                    self._socket.send(entry)
                    return True
            return False
        return True


def encoded(fields: Iterator[tuple[str, str]]) -> bytes:
    """An entry; a value with a line break in it has its length before it."""
    parts = []
    for name, value in fields:
        text = value.encode(errors="backslashreplace")[:LONGEST]
        if b"\n" in text:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n")
        else:
            parts.append(name.encode() + b"=" + text + b"\n")
    return b"".join(parts)


def _fields(record: logging.LogRecord, message: str) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", message
    yield "PRIORITY", str(next(number for level, number in _PRIORITIES if record.levelno >= level))
    yield "SYSLOG_IDENTIFIER", "voice-agent"
    yield "LOGGER", record.name
    yield "CODE_FILE", record.pathname
    yield "CODE_LINE", str(record.lineno)
    yield "CODE_FUNC", record.funcName or ""
    own = {name: str(value) for name, value in vars(record).items() if _FIELD.fullmatch(name)}
    if call := own.pop("CALL_UUID", "") or CALL_UUID.get():
        yield "CALL_UUID", call
    yield from own.items()


def _about_lost(entries: int) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", f"journald did not take {entries} entries before this one"
    yield "PRIORITY", "4"
    yield "SYSLOG_IDENTIFIER", "voice-agent"
    yield "LOGGER", __name__
