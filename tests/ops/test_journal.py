"""What journald gets, on a socket in its place."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.call.current import CALL_UUID
from agent.ops import journal
from agent.ops.logs import CarefulFormatter, set_up_logging
from agent.ops.settings import load_settings

UUID = "40325ec2-5efd-4bd3-805f-53576e581d13"


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.setblocking(False)
        yield listener


@pytest.fixture
def logger(tmp_path: Path, journald: socket.socket) -> Iterator[logging.Logger]:
    handler = journal.JournalHandler(str(tmp_path / "journal"))
    handler.setFormatter(CarefulFormatter("%(message)s", ["secret-key"]))
    logger = logging.Logger("agent.tried")
    logger.addHandler(handler)
    yield logger
    handler.close()


def entries(journald: socket.socket) -> list[dict[str, str]]:
    """As journald reads them: both forms of a field."""
    found: list[dict[str, str]] = []
    while True:
        try:
            data = journald.recv(1 << 20)
        except BlockingIOError:
            return found
        fields = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (length,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + length], data[8 + length :]
                assert data[:1] == b"\n"
                data = data[1:]
            fields[name.decode()] = value.decode()
        found.append(fields)


def test_an_entry_has_fields(logger: logging.Logger, journald: socket.socket) -> None:
    logger.warning("slow: %d ms", 7, extra={"MESSAGE_ID": journal.CALL_OVER, "lower": 1})
    (entry,) = entries(journald)
    assert entry | {"CODE_LINE": ""} == {
        "MESSAGE": "slow: 7 ms",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "voice-agent",
        "LOGGER": "agent.tried",
        "CODE_FILE": __file__,
        "CODE_LINE": "",
        "CODE_FUNC": "test_an_entry_has_fields",
        "MESSAGE_ID": journal.CALL_OVER,
    }


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_the_priority_is_that_of_syslog(
    logger: logging.Logger, journald: socket.socket, level: str, priority: str
) -> None:
    getattr(logger, level)("word")
    assert entries(journald)[0]["PRIORITY"] == priority


def test_the_call_that_is_worked_for_is_a_field(logger: logging.Logger, journald: socket.socket) -> None:
    token = CALL_UUID.set(UUID)
    try:
        logger.info("in a call")
    finally:
        CALL_UUID.reset(token)
    logger.info("outside")
    logger.info("told", extra={"CALL_UUID": "another"})
    assert [entry.get("CALL_UUID") for entry in entries(journald)] == [UUID, None, "another"]


def test_a_traceback_is_one_entry_and_holds_no_key(logger: logging.Logger, journald: socket.socket) -> None:
    try:
        raise RuntimeError("refused secret-key")
    except RuntimeError:
        logger.exception("failed\nwith secret-key")
    (entry,) = entries(journald)
    assert entry["MESSAGE"].startswith("failed\\nwith ***\nTraceback")
    assert "secret-key" not in str(entry)


def test_a_long_one_is_cut_and_not_lost(logger: logging.Logger, journald: socket.socket) -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise RuntimeError("x" * 300_000)
        deep(levels - 1)

    try:
        deep(20)
    except RuntimeError:
        logger.exception("deep")
    (entry,) = entries(journald)
    assert len(entry["MESSAGE"].encode()) == journal.LONGEST


def test_what_journald_does_not_take_is_counted_and_told(logger: logging.Logger, journald: socket.socket) -> None:
    for number in range(3000):  # more than its queue holds
        logger.info("entry %d", number)
    taken = entries(journald)
    logger.info("and now")
    about, last = entries(journald)
    assert about["MESSAGE"] == f"journald did not take {3000 - len(taken)} entries before this one"
    assert last["MESSAGE"] == "and now"
    logger.info("again")
    assert [entry["MESSAGE"] for entry in entries(journald)] == ["again"], "told once"


def test_a_journald_that_is_begun_anew_is_found_again(
    logger: logging.Logger, journald: socket.socket, tmp_path: Path
) -> None:
    logger.info("before")
    journald.close()
    (tmp_path / "journal").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anew:
        anew.bind(str(tmp_path / "journal"))
        anew.setblocking(False)
        logger.info("after")
        assert [entry["MESSAGE"] for entry in entries(anew)] == ["after"]


def test_the_format_is_the_journals_where_stderr_is(
    tmp_path: Path, journald: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))
    status = os.fstat(sys.stderr.fileno())
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        for variable, format_, is_journal in (
            (f"{status.st_dev}:{status.st_ino}", "auto", True),
            (f"{status.st_dev}:{status.st_ino + 1}", "auto", False),
            ("", "auto", False),
            (f"{status.st_dev}:{status.st_ino}", "text", False),
            ("", "journal", True),
        ):
            monkeypatch.setenv("JOURNAL_STREAM", variable)
            set_up_logging(load_settings(log_format=format_))
            logging.getLogger("agent.tried").info("a word")
            assert [entry["MESSAGE"] for entry in entries(journald)] == ["a word"] * is_journal, (variable, format_)
            assert ("INFO    agent.tried: a word" in capfd.readouterr().err) is not is_journal
    finally:
        logging.basicConfig(handlers=before[0], level=before[1], force=True)


def test_without_journald_there_are_lines(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(journal, "SOCKET", "/nonexistent/journal")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up_logging(load_settings(log_format="journal"))
        logging.getLogger("agent.tried").info("a word")
    finally:
        logging.basicConfig(handlers=before[0], level=before[1], force=True)
    said = capfd.readouterr().err
    assert "cannot log to journald" in said
    assert "agent.tried: a word" in said
