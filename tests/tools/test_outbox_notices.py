"""Notices in the outbox: they go beside bookings and never before them, are erased when told, and given up some day."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.ops.metrics import Page
from agent.ops.outbox import of_outbox, outbox_health
from agent.tools.outbox import Entry, Kind, NewNotice, Outbox, OutboxError, OutboxStore, Pace, Target, Verdict
from agent.tools.outbox import store as store_module
from agent.tools.outbox.command import drop_booking, list_bookings, retry_booking
from agent.tools.outbox.entry import DAY_S
from tests.agent.hearing import until

NOW = 1_800_000_000.0
HURRY = Pace(
    poll_s=0.05, first_pause_s=0.02, longest_pause_s=0.05, notice_first_pause_s=0.02, notice_longest_pause_s=0.05
)


async def never(entry: Entry) -> Verdict:
    raise AssertionError("nobody sends it")


HOOK = Target("webhook", "", honours_keys=True, send=never, each_at_once=2)
HOOKS: dict[Kind, Target] = {"webhook": HOOK}


def notice(number: int, place: str = "company 1", kind: Kind = "webhook") -> NewNotice:
    return NewNotice(f"call:{number}:hook", kind, {"words": f"said {number}"}, place, f"call-{number}", "+447700900123")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OutboxStore]:
    with closing(OutboxStore(tmp_path)) as store:
        yield store


def send(store: OutboxStore, verdict: Verdict, now: float = NOW) -> Entry:
    (entry,) = store.claim(HOOKS, fresh=1, again=1, now=now)
    return store.settle(entry, verdict, HOOK, due_at=now + 5, now=now)


# ---- the way of a row -----------------------------------------------------------------------------------------------


def test_a_key_is_put_once_and_all_of_a_batch_or_none(store: OutboxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.put([notice(1), notice(2)], now=NOW) == 2
    assert store.put([notice(2), notice(3)], now=NOW) == 1
    monkeypatch.setattr(store_module, "MOST_NOTICES", 3)
    with pytest.raises(OutboxError, match="3 notices that wait"):
        store.put([notice(3), notice(4)], now=NOW)
    assert store.put([notice(3)], now=NOW) == 0, "what is there needs no room"
    assert store.notices()["webhook"]["waiting"] == 3
    assert store.keep("booking", {}, did="", call_uuid="", now=NOW)[1], "bookings have a limit of their own"


def test_what_was_told_is_erased_but_not_forgotten(store: OutboxStore, tmp_path: Path) -> None:
    store.put([notice(1)], now=NOW)
    told = send(store, Verdict("accepted", "accepted", 200))
    assert (told.state, told.body, told.caller) == ("accepted", {}, "")
    assert store.put([notice(1)], now=NOW) == 0, "nobody is told twice"
    store.forget(now=NOW)
    assert all(b"said 1" not in path.read_bytes() for path in tmp_path.iterdir())


def test_what_nobody_takes_is_given_up_and_may_be_retried(store: OutboxStore) -> None:
    store.put([notice(1), notice(2, kind="mail")], now=NOW)
    send(store, Verdict("later", "status 500", 500))
    assert store.give_up(now=NOW + 3 * DAY_S) == []
    late = NOW + 3 * DAY_S + 1
    assert {entry.key for entry in store.give_up(now=late)} == {"call:1:hook", "call:2:hook"}
    assert store.get("call:1:hook").reason == "given up: status 500"
    assert store.get("call:2:hook").reason == "given up: nobody sent it"
    assert store.notices()["webhook"]["refused"] == 1
    assert [entry.key for entry in store.entries(everything=False)] == ["call:1:hook", "call:2:hook"], "it is shown"
    assert store.retry("call:1:hook", now=late).state == "waiting"
    assert store.give_up(now=late + 60) == []
    assert store.forget(now=late + 31 * DAY_S) == 1, "that which nobody has taken in hand"


def test_a_place_has_two_at_once_and_takes_no_other_s_turn(store: OutboxStore) -> None:
    store.put([notice(number, "slow") for number in range(50)] + [notice(99, "quick")], now=NOW)
    first = store.claim(HOOKS, fresh=16, again=4, now=NOW)
    assert sorted(entry.place for entry in first) == ["quick", "slow", "slow"]
    places = ["slow", "slow"]
    assert store.claim(HOOKS, fresh=16, again=4, now=NOW, under_way=places) == []
    for entry in first:
        store.settle(entry, Verdict("later", "status 500"), HOOK, due_at=NOW, now=NOW)
    again = store.claim(HOOKS, fresh=16, again=4, now=NOW)
    assert sorted(entry.place for entry in again) == ["quick", "slow", "slow"], "fresh ones and others together"


def test_a_caller_is_forgotten(store: OutboxStore) -> None:
    mine, other = {"caller_id": "+447700900123", "phone": ""}, {"caller_id": "", "phone": "+447700900124"}
    store.put([notice(1), replace(notice(2), caller="+447700900999")], now=NOW)
    store.keep("a", mine, did="", call_uuid="", now=NOW)
    store.keep("b", other, did="", call_uuid="", now=NOW)
    assert store.forget_caller("+447700900123".__eq__, (), also_open=False) == (0, 2), "it is waited for"
    assert store.forget_caller("+447700900123".__eq__, (), also_open=True) == (2, 0)
    assert store.forget_caller("+447700900124".__eq__, (), also_open=True) == (1, 0)
    assert [entry.key for entry in store.entries(everything=True)] == ["call:2:hook"]


def test_a_file_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    with closing(OutboxStore(tmp_path)) as store:
        store.keep("old", {"customer_name": "Jo"}, did="", call_uuid="", now=NOW)
        path = store.path
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP INDEX rows_by_caller")
        db.execute("ALTER TABLE rows DROP COLUMN place")
        db.execute("ALTER TABLE rows DROP COLUMN caller")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    with closing(OutboxStore(tmp_path)) as store:
        assert store.get("old").body == {"customer_name": "Jo"}
        assert store.put([notice(1)], now=NOW) == 1


def test_who_sends_no_bookings_keeps_no_alert_from_those_who_do(store: OutboxStore) -> None:
    """A mail to the company has the booking, one to the operator has not."""
    store.keep("k" * 20, {"caller_id": "+447700900123", "customer_name": "Jo"}, did="+44161", call_uuid="c", now=NOW)
    (entry,) = store.claim({"booking": Target("api", "")}, fresh=1, again=0, now=NOW)
    store.settle(entry, Verdict("refused", "status 400", 400), Target("api", ""), due_at=NOW, now=NOW)
    kinds: tuple[Kind, ...] = ("booking", "mail")
    assert [event for event, _ in store.raise_alerts(kinds, now=NOW + 60)] == ["refused"]
    mails = [entry for entry in store.entries(everything=True) if entry.kind == "mail"]
    assert {mail.body["to"]: (mail.body.get("booking", {}).get("customer_name"), mail.caller) for mail in mails} == {
        "company": ("Jo", "+447700900123"),
        "operator": (None, ""),
    }


# ---- a running outbox -----------------------------------------------------------------------------------------------


async def test_a_webhook_that_hangs_holds_back_neither_bookings_nor_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, told = asyncio.Event(), list[str]()

    async def hook(entry: Entry) -> Verdict:
        if entry.place == "slow":
            await gate.wait()
        told.append(entry.place)
        return Verdict("accepted")

    async def book(entry: Entry) -> Verdict:
        return Verdict("accepted", answer="B1")

    targets: dict[Kind, Target] = {
        "webhook": replace(HOOK, send=hook, fresh_at_once=3, again_at_once=1),
        "booking": Target("api", "", honours_keys=True, send=book),
    }
    async with Outbox(tmp_path, targets, pace=HURRY) as outbox:
        await outbox.put([notice(number, "slow") for number in range(30)])
        await outbox.put([notice(100 + number, f"quick {number}") for number in range(5)])
        await outbox.keep("booking-key-1", {})
        assert (await outbox.wait("booking-key-1", 5)).state == "accepted"
        await until(lambda: len(told) == 5)
        assert "slow" not in told
        turns, turn = [0], outbox._turn

        def counted(*arguments: Any) -> Any:
            turns[0] += 1
            return turn(*arguments)

        monkeypatch.setattr(outbox, "_turn", counted)
        await asyncio.sleep(0.5)
        assert turns[0] <= 0.5 / HURRY.poll_s + 2, "it waits, and does not spin"
        gate.set()
        await until(lambda: len(told) == 35)
        await until(lambda: outbox.notices()["webhook"]["accepted"] == 35)
        assert outbox.told_of["webhook", "kept"] == outbox.told_of["webhook", "accepted"] == 35
        assert outbox.counters["accepted"] == 1, "notices are counted by themselves"


async def test_it_is_tried_again_counted_and_shown(tmp_path: Path) -> None:
    answers = ["later", "raise", "accepted"]

    async def hook(entry: Entry) -> Verdict:
        answer = answers.pop(0)
        if answer == "raise":
            raise OSError("the database is away")
        return Verdict("later", "status 500", 500) if answer == "later" else Verdict("accepted")

    async with Outbox(tmp_path, {"webhook": replace(HOOK, send=hook)}, pace=HURRY) as outbox:
        await outbox.put([notice(1)])
        await until(lambda: outbox.notices().get("webhook", {}).get("accepted") == 1)
        shown = Page()
        shown.include(lambda: of_outbox(outbox))
        text = shown.page().decode()
        assert 'voice_agent_notices{kind="webhook",state="accepted"} 1.0' in text
        assert 'voice_agent_notice_results_total{kind="webhook",result="later"} 2.0' in text
        assert outbox_health(outbox)["notices"]["webhook"]["accepted"] == 1
    lines: list[str] = []
    list_bookings(tmp_path, everything=False, say=lines.append)
    assert lines == ["nothing kept", "webhooks: delivered 1"]


async def test_given_up_is_seen_by_a_running_outbox_and_by_the_command(tmp_path: Path) -> None:
    async def hook(entry: Entry) -> Verdict:
        return Verdict("later", "status 500", 500)

    async with Outbox(tmp_path, {"webhook": replace(HOOK, send=hook)}, pace=replace(HURRY, give_up_s=0.3)) as outbox:
        await outbox.put([notice(1)])
        await until(lambda: outbox.told_of["webhook", "given_up"] == 1)
    lines: list[str] = []
    list_bookings(tmp_path, everything=False, say=lines.append)
    assert "webhooks: given up 1" in lines
    assert any("call:1:hook" in line and "given up: status 500" in line for line in lines)
    assert "said 1" not in "".join(lines)
    retry_booking(tmp_path, "call:1:hook", say=lines.append)
    drop_booking(tmp_path, "call:1:hook", "not needed", say=lines.append)
    assert "said 1" not in (tmp_path / "outbox.sqlite3").read_bytes().decode("latin-1")
