"""Calls that have begun: a note on the disk, so that a call is known of whose agent is killed in the middle of it.

`RECORDS_DIR/UUID.begun` has the beginning of the call's record, and a lock for as long as the agent lives. It goes when
the record is written. What an agent finds at its start without a lock and without a record is made one: who rang, which
number and when, and the recording as far as it got.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from agent.call.record import CallRecord, RecordError, read_record, write_record
from agent.ops.private import make_private_directory

log = logging.getLogger(__name__)

BEGUN = ".begun"
MARK = "agent_died"


class BegunCall:
    """The note of one call that runs. `write` and `over` block for as long as the disk does; nothing here raises."""

    def __init__(self, record: CallRecord, directory: Path) -> None:
        """What is known of the call now is what the note will have."""
        self._uuid = record.uuid
        self._content = orjson.dumps(replace(record, turns=[], marks=[]).as_dict())
        self._path = directory / f"{record.uuid}{BEGUN}"
        self._written = directory / f"{record.uuid}.json"
        self._descriptor = -1

    def write(self) -> None:
        """Make the note, and hold its lock."""
        try:
            make_private_directory(self._path.parent)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, self._content)
        except OSError as error:
            log.warning("cannot note that call %s has begun: %s", self._uuid, error.strerror)

    def over(self) -> None:
        """The call is over: take the note away, if the record is there."""
        with suppress(OSError):
            if self._written.exists():
                self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_running(note: Path) -> bool:
    """Whether the agent that made this note is alive, and has the call yet."""
    try:
        with note.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def adopt_begun(records: Path, recordings: Path) -> list[CallRecord]:
    """Make records of calls that were cut off with their agent, and return them.

    Notes of other agents on the same directory, which live, are left alone. Raises nothing: what cannot be read is
    named in the log, and left.
    """
    adopted = []
    for note in sorted(records.glob(f"*{BEGUN}")):
        if is_running(note):
            continue
        try:
            if not note.with_suffix(".json").exists():
                record = _cut_off(read_record(note), note, recordings)
                write_record(record, records)
                adopted.append(record)
            note.unlink(missing_ok=True)
        except (RecordError, OSError) as error:
            log.warning("%s is left: %s", note, error)
    if adopted:
        log.warning(
            "calls that were cut off with an agent that was killed or crashed, and are kept as failed: %d", len(adopted)
        )
    return adopted


def _cut_off(record: CallRecord, note: Path, recordings: Path) -> CallRecord:
    sound = next(iter(sorted(recordings.glob(f"{record.uuid}.*"))), None)
    began = datetime.fromisoformat(record.started)
    last = datetime.fromtimestamp((sound or note).stat().st_mtime, UTC)
    record.seconds = max(0.0, round((last - began).total_seconds(), 3))
    record.outcome, record.ended_by = "failed", "stopped"
    record.recording = "" if sound is None else str(sound)
    record.mark(round(1000 * record.seconds), MARK)
    return record
