"""What reaches the log, and how: one line each, without keys, and without numbers or words that callers said."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.ops import journal
from agent.ops.settings import Settings

HIDDEN = "***"
LEAST_SECRET = 6
"""Shorter keys are no secrets, and would be found in any text."""
LONGEST = 2000
"""Characters of a message; a traceback comes behind it."""
_NUMBER = re.compile(r"(?<![\w.:/-])(?:\+|00)?\d(?:[ ()-]?\d){8,14}(?![\w.:-])")
"""A telephone number as people and trunks write it; times, dates, UUIDs, addresses and versions are none."""
_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_NOISY = {
    **dict.fromkeys(("websockets", "aiohttp", "alembic", "aiosqlite", "sqlalchemy"), logging.WARNING),
    "picows": logging.CRITICAL,  # a peer that closes twice is an error to it; whoever has the connection tells the rest
}


class CarefulFormatter(logging.Formatter):
    """Keeps each record on one line (but for a traceback), and puts `***` where a key or a number would stand.

    What is logged should hold neither; this is for a vendor's or a library's text that repeats what it was sent.
    """

    def __init__(self, format_: str, secrets: Iterable[str], *, show_numbers: bool = False) -> None:
        super().__init__(format_)
        self._show_numbers = show_numbers
        self._secrets: tuple[str, ...] = ()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Hide these from now on, beside those before them."""
        known = {secret for secret in (*self._secrets, *secrets) if len(secret) >= LEAST_SECRET}
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def hidden(self, text: str) -> str:
        """`text` as it would stand in the log: one line, without keys and numbers."""
        return self._without_secrets(self._without_numbers(one_line(text)))

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self._without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message, on one line; the time and the logger's name are before it."""
        message = record.message
        record.message = self._without_numbers(one_line(message))
        try:
            return super().formatMessage(record)
        finally:
            record.message = message

    def formatException(self, ei: object) -> str:
        """The traceback; its last line may repeat a vendor's words."""
        return self._without_numbers(super().formatException(ei))  # type: ignore[arg-type]

    def _without_numbers(self, text: str) -> str:
        return text if self._show_numbers else _NUMBER.sub(HIDDEN, text)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def one_line(text: str) -> str:
    """`text` with nothing in it that a terminal or a log reader would take for more than a character of a line."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text)} characters)"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def set_up_logging(settings: Settings, file: Path | None = None, *, worker: int = 0) -> CarefulFormatter:
    """Log to `file`, to journald or to standard error, by LOG_FORMAT; the formatter can be told of new secrets.

    `worker` is the number of this process among several, which is in each line, and the journal's field WORKER.
    """
    handler, line = _handler(settings, file)
    if worker:
        line = line.replace("%(name)s", f"[worker {worker}] %(name)s")
        handler.addFilter(_of_worker(worker))
    formatter = CarefulFormatter(line, settings.secrets, show_numbers=settings.log_transcripts)
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    quieten_libraries()
    return formatter


def quieten_libraries() -> None:
    """Let libraries say only what an administrator can use."""
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)


def _handler(settings: Settings, file: Path | None) -> tuple[logging.Handler, str]:
    """Where records go, and what a line of theirs begins with: the journal has time, level and name as fields."""
    if file is not None:
        return logging.FileHandler(file, encoding="utf-8"), _LINE
    if settings.log_format == "journal" or (settings.log_format == "auto" and journal.is_stderr_the_journal()):
        try:
            return journal.JournalHandler(), "%(message)s"
        except OSError as error:
            print(f"cannot log to journald ({error.strerror}): lines instead, as with LOG_FORMAT=text", file=sys.stderr)
    return logging.StreamHandler(), _LINE


def _of_worker(number: int) -> Callable[[logging.LogRecord], bool]:
    def noted(record: logging.LogRecord) -> bool:
        record.WORKER = number
        return True

    return noted
