"""`voice-agent forget`: what is kept of a caller is erased wherever it is. The agent may run meanwhile.

The number is never logged, said or written anywhere here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from agent.office.erasing import files_of_calls
from agent.office.housekeeping import name_of
from agent.office.recordings import Recordings
from agent.office.store import OfficeStore
from agent.office.words import number_words
from agent.ops.begun import BEGUN, is_running
from agent.ops.settings import Settings, SettingsError
from agent.telephony.numbers import normalise_number
from agent.tools.outbox.ledger import OutboxLedger
from agent.tools.outbox.table import FILE as OUTBOX_FILE

BLOCK = 8_000_000
LEAST_DIGITS = 7
FRESH_S = 30.0
"""Metadata of a call that is just beginning: the call would not be known, and what is kept of it comes later."""
SOUND = frozenset({".wav", ".flac", ".opus", ".ogg"})


class Trace:
    """How a number may be written in a file: in full or as within its country, with or without what goes between."""

    def __init__(self, number: str, region: str) -> None:
        forms = number_words(number, region)
        between = rb"[\s().\-/]{0,3}"
        written = rb"(?:" + rb"|".join(between.join(digit.encode() for digit in form) for form in forms) + rb")"
        self.certain = min(map(len, forms)) >= LEAST_DIGITS
        """Whether the digits alone tell the number; those of an extension are in many others."""
        alone = rb"(?<!\d)(?:00|\+)?" + written + rb"(?!\d)" if self.certain else b'"' + number.encode() + b'"'
        self._alone = re.compile(alone)
        self._anywhere = re.compile(written if self.certain else alone)

    def is_in(self, path: Path, *, anywhere: bool = False) -> bool:
        """Whether the file holds the number; one that is gone does not. In a database there is no end to what stands
        beside it: there `anywhere` tells. Raises `OSError`.
        """
        pattern = self._anywhere if anywhere else self._alone
        rest = b""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while block := file.read(BLOCK):
                if pattern.search(rest + block):
                    return True
                rest = block[-100:]
        return False


async def forget_caller(
    settings: Settings, number: str, *, dry_run: bool, also_waiting: bool, say: Callable[[str], None]
) -> bool:
    """Erase what is kept of a caller and say what was done; return whether nothing of it remains.

    Raises `ValueError` for a number that is none, `SettingsError` when there is nothing at DATA_DIR, and
    `DatabaseError`, `OutboxError` or `OSError` when a part of it cannot be had.
    """
    region = settings.default_region
    wanted = normalise_number(number, region)
    if sum(character.isdigit() for character in wanted) < 3:
        raise ValueError("this is no caller's number: write it in full, such as +44 and so on")
    if not settings.data_dir.is_dir():
        raise SettingsError(f"there is no {settings.data_dir}: nothing was ever kept there, or DATA_DIR is another")
    trace = Trace(wanted, region)
    would = "would be " if dry_run else ""

    def is_theirs(other: str) -> bool:
        return normalise_number(other, region) == wanted

    documents = await asyncio.to_thread(_documents_with, trace, settings.records)
    try:
        async with await OfficeStore.open(
            settings.database, region=region, timezone=settings.default_timezone
        ) as store:
            found = await store.archive.forget(wanted, dry_run=dry_run, also=documents)
            recordings = Recordings(settings)
            files = await _remove_files(recordings.folders, found.call_uuids, dry_run=dry_run)
            # After the documents: what is on its way to the bucket goes by their absence.
            files += await recordings.remove(found.call_uuids, dry_run=dry_run)
            say(f"calls: {found.calls} {would}erased, with {files} files; callers: {found.callers} {would}deleted")
            say(f"bookings: {len(found.booking_ids)} {would}left without a name, an address and a number")
            sent, waiting = _of_outbox(settings, is_theirs, found.call_uuids, also_waiting, dry_run)
            say(f"outbox: {sent} rows {would}deleted" + (f", {waiting} left" if waiting else ""))
            metadata, fresh = await asyncio.to_thread(_of_metadata, trace, settings.metadata, dry_run)
            if metadata or fresh:
                say(
                    f"metadata of announced calls: {metadata} files {would}deleted"
                    + (f", {fresh} left" if fresh else "")
                )
            if not dry_run:
                await store.archive.overwrite()
                await _make_sure(store, trace)
    except SQLAlchemyError as error:
        raise SettingsError(f"the database cannot be had ({name_of(error)}): nothing more was erased") from None
    if waiting:
        say("rows of the outbox are left: they wait to be sent; --also-waiting gives them up, or try again later")
    if fresh:
        say("a call of theirs is just beginning: run this again when it is over")
    if dry_run:
        return True
    remains = await asyncio.to_thread(lambda: list(_files_with(trace, settings)))
    for path in remains:
        say(f"the number is still in {path}")
    say("Backups and logs of other programs (Asterisk's too) are beyond this command.")
    return not (remains or waiting or fresh)


async def _make_sure(store: OfficeStore, trace: Trace) -> None:
    """Should a page of a SQLite file hold the number yet, the file is written anew: that takes a while."""
    path = store.archive.file
    if path is not None and await asyncio.to_thread(lambda: trace.is_in(path, anywhere=True)):
        await store.archive.rewrite()


def _documents_with(trace: Trace, directory: Path) -> set[str]:
    """Calls whose documents hold the number, by UUID: known to the database or not."""
    return {
        uuid
        for uuid, paths in files_of_calls([directory]).items()
        if not any(path.suffix == BEGUN and is_running(path) for path in paths)
        and any(trace.is_in(path) for path in paths if path.suffix not in SOUND)
    }


async def _remove_files(folders: Iterable[Path], uuids: Collection[str], *, dry_run: bool) -> int:
    def work() -> int:
        removed = 0
        for uuid, paths in files_of_calls(folders).items():
            if uuid in wanted:
                removed += len(paths)
                for path in () if dry_run else paths:
                    path.unlink(missing_ok=True)
        return removed

    wanted = frozenset(uuids)
    return await asyncio.to_thread(work)


def _of_outbox(
    settings: Settings, is_theirs: Callable[[str], bool], uuids: Collection[str], also_waiting: bool, dry_run: bool
) -> tuple[int, int]:
    if not (settings.data_dir / OUTBOX_FILE).is_file():
        return 0, 0
    with closing(OutboxLedger(settings.data_dir)) as outbox:
        return outbox.forget_caller(is_theirs, frozenset(uuids), also_open=also_waiting, dry_run=dry_run)


def _of_metadata(trace: Trace, directory: Path, dry_run: bool) -> tuple[int, int]:
    """What the AGI script left of announced calls: how many files go, and how many are of a call that begins."""
    gone = fresh = 0
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if path.suffix not in (".json", ".tmp") or not trace.is_in(path):
                continue
            if path.stat().st_mtime > time.time() - FRESH_S:
                fresh += 1
                continue
            gone += 1
            if not dry_run:
                path.unlink()
    return gone, fresh


def _files_with(trace: Trace, settings: Settings) -> Iterator[Path]:
    """Files of the agent in which the number is still to be found."""
    directories = {settings.data_dir, settings.records, settings.metadata}
    for directory in sorted(directories):
        for path in sorted(directory.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.suffix in SOUND:
                continue
            if trace.is_in(path, anywhere=".sqlite3" in path.name):
                yield path
