"""The outbox's table and its rules: what becomes of a row, and what a person may do about it. Time is given."""

from __future__ import annotations

import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from agent.tools.outbox import OutboxError, OutboxStore, Pace, Target
from agent.tools.outbox.entry import DAY_S, Entry, Kind, Verdict
from agent.tools.outbox.table import FILE
from agent.tools.outbox.verdict import judge, judge_failure, pause_s, retry_after_s

NOW = 1_800_000_000.0
ALERT: tuple[Kind, ...] = ("alert",)
OFFICE = Target("office", "http://127.0.0.1:1/create_booking", honours_keys=True)
OTHER = Target("https://book.example/create", "https://book.example/create")
BODY = {"customer_name": "Jo Bloggs", "address": "12 Acacia Avenue"}
LOST, LATER = Verdict("lost", "no answer in time"), Verdict("later", "status 503", 503)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OutboxStore]:
    with closing(OutboxStore(tmp_path)) as store:
        yield store


def keep(store: OutboxStore, key: str = "key-1", now: float = NOW) -> Entry:
    return store.keep(key, BODY, did="+442079460123", call_uuid="call-1", now=now)[0]


def claim(store: OutboxStore, target: Target = OFFICE, now: float = NOW) -> list[Entry]:
    kinds: dict[Kind, Target] = {"booking": target}
    return store.claim(kinds, fresh=10, again=10, now=now)


def send(store: OutboxStore, verdict: Verdict, target: Target = OFFICE, now: float = NOW) -> Entry:
    (entry,) = claim(store, target, now)
    return store.settle(entry, verdict, target, due_at=now + 5, now=now)


# ---- the way of a row -----------------------------------------------------------------------------------------------


def test_a_key_is_kept_once_and_stays_as_it_is(store: OutboxStore) -> None:
    first, is_new = store.keep("key-1", BODY, did="", call_uuid="", now=NOW)
    assert (first.state, first.body, is_new) == ("waiting", BODY, True)
    accepted = send(store, Verdict("accepted", "accepted", 201, "BK-1"))
    again, is_new = store.keep("key-1", BODY, did="", call_uuid="", now=NOW + 1)
    assert (again, is_new) == (accepted, False)
    assert (again.state, again.answer) == ("accepted", "BK-1")
    assert claim(store, now=NOW + DAY_S) == []


def test_what_was_not_done_waits_for_its_time_and_is_sent_to_any_place(store: OutboxStore) -> None:
    keep(store)
    entry = send(store, LATER, OTHER)
    assert (entry.state, entry.attempts, entry.doubt) == ("waiting", 1, "")
    assert claim(store, OTHER, NOW + 4.9) == []
    assert len(claim(store, OFFICE, NOW + 5)) == 1


def test_a_lost_answer_is_asked_about_by_its_key(store: OutboxStore) -> None:
    keep(store)
    assert send(store, LOST).doubt == "office"
    assert send(store, LATER, now=NOW + 5).doubt == "office", "what came later does not take the doubt away"
    assert send(store, Verdict("accepted", "accepted", 200, "BK-1"), now=NOW + 10).doubt == ""


def test_a_lost_answer_of_an_api_without_keys_is_uncertain_and_stays_so(store: OutboxStore) -> None:
    keep(store)
    assert send(store, LOST, OTHER).state == "uncertain"
    assert claim(store, OTHER, NOW + DAY_S) == []
    assert claim(store, OFFICE, NOW + DAY_S) == []


@pytest.mark.parametrize(
    "now_to", [replace(OFFICE, name="https://new.example/create"), replace(OFFICE, honours_keys=False)]
)
def test_a_row_in_doubt_is_not_sent_to_who_cannot_know_of_it(store: OutboxStore, now_to: Target) -> None:
    keep(store)
    send(store, LOST)
    assert claim(store, now_to, NOW + 10) == []
    assert store.get("key-1").state == "uncertain"


def test_only_the_store_that_claimed_a_row_settles_it(store: OutboxStore, tmp_path: Path) -> None:
    keep(store)
    (entry,) = claim(store)
    with closing(OutboxStore(tmp_path)) as other:
        assert other.settle(entry, Verdict("accepted"), OFFICE, due_at=NOW, now=NOW).state == "sending"
        assert other.recover(now=NOW) == 0, "its owner lives"
        assert claim(other) == []
    store.close()
    with closing(OutboxStore(tmp_path)) as other:
        assert other.recover(now=NOW) == 1
        entry = other.get("key-1")
        assert (entry.state, entry.doubt) == ("waiting", "office")


def test_the_files_of_owners_that_are_gone_are_taken_away(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from agent.tools.outbox import OutboxStore;"
        "s = OutboxStore(Path(sys.argv[1])); s._own(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.glob("*.owner"))) == 1
    with closing(OutboxStore(tmp_path)) as first, closing(OutboxStore(tmp_path)) as second:
        assert first._own() != second._own()
        assert len(list(tmp_path.glob("*.owner"))) == 2
    assert list(tmp_path.glob("*.owner")) == []


def test_first_attempts_come_first_and_each_kind_of_attempt_has_its_room(store: OutboxStore) -> None:
    for number in range(3):
        keep(store, f"old-{number}")
        send(store, LATER)
    for number in range(3):
        keep(store, f"new-{number}", NOW + 60)
    kinds: dict[Kind, Target] = {"booking": OFFICE}
    claimed = store.claim(kinds, fresh=2, again=1, now=NOW + 60)
    assert [entry.key for entry in claimed] == ["new-0", "new-1", "old-0"]


def test_a_clock_that_is_set_back_leaves_nothing_waiting(store: OutboxStore) -> None:
    keep(store)
    send(store, LATER)
    assert claim(store, now=NOW - 60) == [], "a minute is nothing"
    assert len(claim(store, now=NOW - 365 * DAY_S)) == 1


# ---- the file -------------------------------------------------------------------------------------------------------


def test_the_file_is_durable_and_its_owners_alone(store: OutboxStore, tmp_path: Path) -> None:
    keep(store)
    claim(store)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_a_full_disk_is_said(store: OutboxStore) -> None:
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OutboxError, match="full"):
        store.keep("large", {"problem_description": "x" * 100_000}, did="", call_uuid="", now=NOW)
    store._db.execute("PRAGMA max_page_count=1000000")
    assert keep(store, "after").state == "waiting", "it goes on when there is room again"


def test_a_file_that_is_none_of_ours_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("a shopping list, long enough to be no header of any database at all " * 9)
    with pytest.raises(OutboxError, match=r"outbox\.sqlite3"):
        OutboxStore(tmp_path)


def test_a_newer_versions_file_is_left_alone(store: OutboxStore, tmp_path: Path) -> None:
    store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="newer"):
        OutboxStore(tmp_path)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="File exists"):
        OutboxStore(tmp_path / "file")


def test_what_is_done_with_goes_after_its_time_and_the_rest_stays(store: OutboxStore, tmp_path: Path) -> None:
    for key, verdict in (
        ("accepted", Verdict("accepted")),
        ("told", Verdict("refused")),
        ("refused", Verdict("refused")),
    ):
        keep(store, key)
        send(store, verdict)
    store.told("told")
    keep(store, "uncertain")
    send(store, LOST, OTHER)
    keep(store, "dropped")
    store.drop("dropped", "a test", now=NOW)
    keep(store, "waiting")
    assert store.forget(now=NOW + 30 * DAY_S - 1) == 0
    assert store.forget(now=NOW + 30 * DAY_S + 1) == 3
    assert {entry.key for entry in store.entries(everything=True)} == {"refused", "uncertain", "waiting"}


def test_what_is_deleted_is_not_left_in_the_file(store: OutboxStore, tmp_path: Path) -> None:
    keep(store)
    store.drop("key-1", "a test", now=NOW)
    store.close()
    for path in tmp_path.iterdir():
        assert b"Acacia" not in path.read_bytes(), path.name


# ---- who must hear of it --------------------------------------------------------------------------------------------


def alerts(store: OutboxStore, now: float) -> list[str]:
    return [event for event, _ in store.raise_alerts(ALERT, now=now)]


def test_a_refusal_alerts_once_unless_the_caller_heard_of_it(store: OutboxStore) -> None:
    for key in ("told", "untold"):
        keep(store, key)
        send(store, Verdict("refused", "status 400", 400, "no such street"))
    store.told("told")
    assert alerts(store, NOW + 14) == [], "its tool may still be about to say so"
    assert alerts(store, NOW + 16) == ["refused"]
    assert alerts(store, NOW + 599) == []
    (alert,) = (entry for entry in store.entries(everything=False) if entry.kind == "alert")
    assert (alert.body["event"], alert.body["key"]) == ("booking_refused", "untold")
    assert (alert.body["did_number"], alert.body["reason"]) == ("+442079460123", "status 400")
    assert alert.body["command"] == "voice-agent outbox --show untold"
    assert "Bloggs" not in str(alert.body)


def test_a_refusal_that_led_to_nothing_alerts_although_the_caller_heard_of_it(store: OutboxStore) -> None:
    for call in ("corrected", "given-up"):
        store.keep(f"{call}-1", BODY, did="", call_uuid=call, now=NOW)
        send(store, Verdict("refused", "status 400", 400))
        store.told(f"{call}-1")
    assert store.counts()[0]["refused_told"] == 2
    store.keep("corrected-2", BODY, did="", call_uuid="corrected", now=NOW + 30)
    assert alerts(store, NOW + 599) == []
    assert alerts(store, NOW + 601) == ["refused"]
    counts, _ = store.counts()
    assert (counts["refused"], counts["refused_told"]) == (1, 1)
    assert "given-up-1" in {entry.key for entry in store.entries(everything=False)}


def test_no_more_than_a_bound_is_open(store: OutboxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.tools.outbox.store.MOST_OPEN", 2)
    keep(store, "key-1")
    send(store, Verdict("accepted"))
    keep(store, "key-2")
    keep(store, "key-3")
    with pytest.raises(OutboxError, match="open bookings"):
        keep(store, "key-4")
    assert keep(store, "key-3").state == "waiting"


def test_what_is_uncertain_or_held_up_alerts(store: OutboxStore) -> None:
    keep(store, "uncertain")
    send(store, LOST, OTHER)
    keep(store, "held")
    send(store, replace(LATER, held=True))
    keep(store, "slow")
    send(store, LATER)
    assert alerts(store, NOW) == ["uncertain", "held_up"]
    assert alerts(store, NOW + 899) == []
    assert alerts(store, NOW + 901) == ["held_up"]
    counts, oldest = store.counts()
    assert (counts["uncertain"], counts["waiting"], counts["alerts"], oldest) == (1, 2, 3, NOW)


def test_an_alert_and_the_mark_that_it_was_raised_are_one_transaction(store: OutboxStore) -> None:
    keep(store)
    send(store, LOST, OTHER)
    store._db.execute("CREATE TRIGGER stop BEFORE INSERT ON rows BEGIN SELECT RAISE(ABORT, 'here'); END")
    with pytest.raises(OutboxError, match="here"):
        alerts(store, NOW)
    store._db.execute("DROP TRIGGER stop")
    assert alerts(store, NOW) == ["uncertain"]


# ---- a person's hand ------------------------------------------------------------------------------------------------


def test_a_person_sends_again_or_gives_up(store: OutboxStore) -> None:
    keep(store, "uncertain-1")
    send(store, LOST, OTHER)
    assert store.retry("uncertain-1", now=NOW).state == "waiting"
    assert len(claim(store, OTHER)) == 1
    with pytest.raises(OutboxError, match="is sending"):
        store.retry("uncertain-1", now=NOW)
    with pytest.raises(OutboxError, match="is sending"):
        store.drop("uncertain-1", "x", now=NOW)
    keep(store, "waiting-1")
    dropped = store.drop("waiting-1", "rang back", now=NOW)
    assert (dropped.state, dropped.reason, dropped.body, dropped.did) == ("dropped", "rang back", {}, "")


def test_a_key_is_named_by_its_beginning(store: OutboxStore) -> None:
    keep(store, "abc1")
    keep(store, "abc2")
    assert store.named("abc1").key == "abc1"
    for wrong in ("abc", "x", "", "%", "abc_"):
        with pytest.raises(OutboxError, match="begin"):
            store.named(wrong)


# ---- what answers mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "what", "held"),
    [
        *[(status, "accepted", False) for status in (200, 201, 202, 204)],
        *[(status, "later", True) for status in (301, 302, 307, 308, 401, 403, 404, 405, 407)],
        *[(status, "later", False) for status in (408, 425, 429, 503)],
        *[(status, "refused", False) for status in (400, 402, 409, 410, 413, 415, 422)],
        *[(status, "lost", False) for status in (500, 501, 502, 504, 520)],
    ],
)
def test_statuses(status: int, what: str, held: bool) -> None:
    verdict = judge(status, b"{}", {})
    assert (verdict.what, verdict.held, verdict.status) == (what, held, status)


@pytest.mark.parametrize(
    ("raw", "headers", "what"),
    [
        (b'{"booking_id": "7"}', {}, "accepted"),
        (b"", {}, "accepted"),
        (b"OK", {"Content-Type": "text/plain"}, "accepted"),
        (b"\n <!doctype html><p>Back soon", {}, "lost"),
        (b"Back soon", {"Content-Type": "text/html; charset=utf-8"}, "lost"),
    ],
)
def test_a_web_page_is_no_answer(raw: bytes, headers: dict[str, str], what: str) -> None:
    assert judge(200, raw, headers).what == what


def test_an_api_that_is_still_at_work_on_the_first_attempt_is_asked_again() -> None:
    assert judge(409, b"{}", {}, in_doubt=True).what == "later"


def test_an_api_that_says_what_it_does_not_find_refuses() -> None:
    verdict = judge(404, b'{"error": "no such company"}', {})
    assert (verdict.what, verdict.answer) == ("refused", "no such company")


def test_what_the_api_says_stays_out_of_the_reason() -> None:
    verdict = judge(400, b'{"error": "Jo Bloggs lives nowhere"}', {})
    assert (verdict.reason, verdict.answer) == ("status 400", "Jo Bloggs lives nowhere")
    assert "Bloggs" not in repr(verdict)
    assert judge(400, b"[" * 9999, {}).answer == "status 400"


def test_only_a_connection_that_never_was_is_sure_to_have_done_nothing() -> None:
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError())
    nowhere = aiohttp.ClientConnectorDNSError(key, OSError())
    for error in (refused, nowhere, aiohttp.ConnectionTimeoutError(), aiohttp.InvalidURL(URL("http://x"))):
        assert judge_failure(error).what == "later", error
    for lost in (
        aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(), aiohttp.ClientPayloadError(), TimeoutError(),
        aiohttp.SocketTimeoutError(), ConnectionResetError(),
    ):  # fmt: skip
        assert judge_failure(lost).what == "lost", lost


def test_pauses_double_up_to_a_limit_and_spread() -> None:
    pace, chance = Pace(), random.Random(1)
    for attempts, longest in ((1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (5000, 300)):
        pauses = [pause_s(LATER, attempts, pace, chance) for _ in range(200)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
        assert max(pauses) - min(pauses) > longest / 4
    assert pause_s(replace(LATER, after_s=40), 1, pace, chance) == 40
    assert pause_s(replace(LATER, after_s=1e9), 1, pace, chance) == 3600
    assert pause_s(replace(LATER, held=True), 1, pace, chance) == 60


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after_s(soon) <= 90
    assert retry_after_s(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0
    assert (retry_after_s(" 7 "), retry_after_s(""), retry_after_s("soon"), retry_after_s("-5")) == (7, 0, 0, 0)
    assert retry_after_s("9" * 400) < 1e10


def test_a_busy_file_is_waited_for_and_then_said(tmp_path: Path) -> None:
    with closing(OutboxStore(tmp_path, Pace(busy_s=0.05))) as store:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxError, match="locked"):
            keep(store)
        other.execute("ROLLBACK")
        other.close()
        assert keep(store).state == "waiting"
