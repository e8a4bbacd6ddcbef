"""Bookings in the console: the list and its filters, one booking, CSV, what the outbox keeps, and who may what."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientPayloadError
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from agent.office.database import reading
from agent.office.scope import Scope
from agent.tools.outbox import OutboxStore, Target
from agent.tools.outbox.entry import Verdict
from tests.office.made_bookings import booking, keep

if TYPE_CHECKING:
    from tests.console.conftest import Office


def shown(page: str) -> list[str]:
    return re.findall(r'<a class="row-link" href="/bookings/([^"]+)"', page)


async def test_the_list_pages_filters_and_counts(office: Office) -> None:
    await keep(office.store, *(booking(n, office.acme) for n in range(60)), booking(99, office.bright, state="done"))
    admin = await office.browser("admin")
    first = await admin.page("/bookings")
    assert len(shown(first)) == 50
    assert shown(first)[0] == "BK-00000099"
    older = re.search(r'href="(/bookings\?before=[^"]+)" rel="next"', first)
    assert older is not None
    second = await admin.page(older[1].replace("&amp;", "&"))
    assert shown(second) == [f"BK-{n:08}" for n in range(10, -1, -1)]
    assert 'rel="next"' not in second
    assert shown(await admin.page("/bookings?state=done")) == ["BK-00000099"]
    assert shown(await admin.page("/bookings?q=37+acacia")) == ["BK-00000037"]
    assert shown(await admin.page(f"/bookings?company={office.bright}")) == ["BK-00000099"]
    # Summer time: 13:05 there is 12:05 UTC, and the day begins an hour earlier.
    assert len(shown(await admin.page("/bookings?from=2026-06-01&to=2026-06-01"))) == 50
    assert shown(await admin.page("/bookings?from=2026-06-02")) == []
    assert "No booking is like that" in await admin.page("/bookings?from=2026-06-02")
    assert re.search(r'>Done <span class="chip-count">1<', first)


@pytest.mark.parametrize("query", ["company=x&from=never&state=paid&q=", "company=99999999999", "from=0001-01-01"])
async def test_an_address_that_was_changed_by_hand_is_read_leniently(office: Office, query: str) -> None:
    await keep(office.store, booking(1, office.acme))
    assert shown(await (await office.browser("admin")).page(f"/bookings?{query}")) == ["BK-00000001"]


async def test_a_place_in_the_list_that_is_none_is_told(office: Office) -> None:
    async with await (await office.browser("admin")).get("/bookings?before=x") as answer:
        assert answer.status == 400
        assert "place in the list" in await answer.text()


async def test_nobody_sees_anothers_bookings(office: Office) -> None:
    await keep(office.store, booking(1, office.acme), booking(2, office.bright), booking(3, None))
    for role in ("viewer", "operator"):
        browser = await office.browser(role)
        assert shown(await browser.page("/bookings")) == ["BK-00000001"]
        assert shown(await browser.page(f"/bookings?company={office.bright}")) == []
        text = await browser.page("/bookings.csv")
        assert "BK-00000001" in text
        assert "BK-00000002" not in text
        assert (await browser.get("/bookings/BK-00000001")).status == 200
        for hidden in ("BK-00000002", "BK-00000003", "BK-00000009"):
            assert (await browser.get(f"/bookings/{hidden}")).status == 404
    answer = await browser.post("/bookings/BK-00000002", {"state": "done"})
    assert answer.status == 404
    stored = await office.store.bookings.get("BK-00000002", Scope.all())
    assert stored is not None
    assert stored.state == "new"


async def test_an_operator_moves_a_booking_on_and_a_viewer_does_not(office: Office) -> None:
    await keep(office.store, booking(1, office.acme))
    viewer = await office.browser("viewer")
    assert (await viewer.post("/bookings/BK-00000001", {"state": "done"})).status == 403
    page = await viewer.page("/bookings/BK-00000001")
    assert "<textarea" not in page
    assert 'name="state"' not in page
    operator = await office.browser("operator")
    answer = await operator.post("/bookings/BK-00000001", {"state": "confirmed"})
    assert (answer.status, answer.headers["Location"]) == (303, "/bookings/BK-00000001")
    await operator.post("/bookings/BK-00000001", {"note": "Key under <the> mat"})
    page = await operator.page("/bookings/BK-00000001")
    assert "Key under &lt;the&gt; mat" in page
    assert "New → confirmed" in page
    assert page.index("Note written") < page.index("New → confirmed") < page.index("Booked by the caller")
    assert re.search(r"operator, <time", page)
    assert (await operator.post("/bookings/BK-00000001", {"state": "paid"})).status == 400
    refused = await operator.post("/bookings/BK-00000001", {"note": "x" * 4001})
    assert refused.status == 400
    assert "x" * 4001 in await refused.text(), "what was written is not lost"


async def test_without_its_token_a_change_is_refused(office: Office) -> None:
    await keep(office.store, booking(1, office.acme))
    operator = await office.browser("operator")
    answer = await operator.client.post("/bookings/BK-00000001", data={"state": "done"})
    assert answer.status == 403


async def test_csv_is_for_spreadsheets(office: Office) -> None:
    await keep(
        office.store, booking(1, office.acme, customer_name="=cmd|' /C calc'!A0"), booking(2, office.acme, state="done")
    )
    browser = await office.browser("viewer")
    async with await browser.get("/bookings.csv?state=new") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["Content-Disposition"]
        raw = await answer.read()
    assert raw.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    assert row["customer_name"] == "'=cmd|' /C calc'!A0"
    assert row["created_at"] == "2026-06-01T13:01:00+01:00", "in the company's own zone"


async def test_csv_that_breaks_off_does_not_look_whole(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_args: object, **_options: object) -> AsyncIterator[str]:
        yield "booking_id\r\n"
        raise OperationalError("SELECT", {}, Exception("the disk is gone"))

    browser = await office.browser("viewer")
    monkeypatch.setattr(office.store.bookings, "csv", broken)
    async with await browser.get("/bookings.csv") as answer:
        with pytest.raises(ClientPayloadError):
            await answer.read()


async def test_the_list_asks_the_database_as_often_however_long_it_is(office: Office) -> None:
    await keep(office.store, booking(1, office.acme))
    browser = await office.browser("admin")
    queries: list[str] = []
    event.listen(
        reading(office.store._engine).sync_engine, "before_cursor_execute", lambda *args: queries.append(args[2])
    )

    async def asked() -> int:
        queries.clear()
        await browser.page("/bookings")
        return sum(query.lstrip().startswith("SELECT") for query in queries)

    few = await asked()
    await keep(office.store, *(booking(n, office.acme if n % 2 else office.bright) for n in range(2, 50)))
    assert await asked() == few <= 8


# ---- what nobody has accepted ----------------------------------------------------------------------------------------


def outbox(office: Office, *rows: tuple[str, str, Verdict]) -> None:
    """Rows by key and dialled number, each after one attempt."""
    store = OutboxStore(office.parts.settings.data_dir)
    target = Target("office", "http://127.0.0.1:1/")
    body = {"customer_name": "Jo <b>", "postcode": "M14 6BT", "problem_description": "a leak"}
    for number, (key, did, verdict) in enumerate(rows):
        now = time.time() - 100 + number
        store.keep(key, body, did=did, call_uuid="", now=now)
        (entry,) = store.claim({"booking": target}, fresh=1, again=0, now=now)
        store.settle(entry, verdict, target, due_at=now + 1e6, now=now)
    store.close()


def kept_keys(page: str) -> list[str]:
    return re.findall(r'name="key" value="([^"]+)"><input type="hidden" name="do" value="retry"', page)


REFUSED = Verdict("refused", "status 400", 400, "no such postcode")


async def test_what_nobody_accepted_is_at_the_top(office: Office) -> None:
    outbox(office, ("acme-key", "020 7946 0123", REFUSED), ("bright-key", "0161 496 0456", REFUSED))
    admin, operator, viewer = [await office.browser(role) for role in ("admin", "operator", "viewer")]
    page = await admin.page("/bookings")
    assert kept_keys(page) == ["acme-key", "bright-key"]
    assert "“no such postcode”" in page
    assert "Jo &lt;b&gt;" in page
    assert page.index("Not accepted yet") < page.index("No bookings yet")
    assert kept_keys(await operator.page("/bookings")) == ["acme-key"], "Acme's alone"
    page = await viewer.page("/bookings")
    assert "Not accepted yet" in page
    assert kept_keys(page) == [], "to be seen, not to be touched"


async def test_it_is_sent_again_or_set_aside(office: Office) -> None:
    outbox(office, *((key, "020 7946 0123", REFUSED) for key in ("one", "two")), ("theirs", "0161 496 0456", REFUSED))
    operator, viewer = await office.browser("operator"), await office.browser("viewer")
    assert (await viewer.post("/bookings/kept", {"key": "one", "do": "retry"})).status == 403
    assert (await operator.post("/bookings/kept", {"key": "theirs", "do": "retry"})).status == 404
    assert (await operator.post("/bookings/kept", {"key": "one", "do": "retry"})).status == 303
    assert (await operator.post("/bookings/kept", {"key": "two", "do": "drop"})).status == 400
    assert (await operator.post("/bookings/kept", {"key": "two", "do": "drop", "reason": "by hand"})).status == 303
    store = OutboxStore(office.parts.settings.data_dir)
    states = {key: (store.get(key).state, store.get(key).reason) for key in ("one", "two", "theirs")}
    store.close()
    assert states["one"][0] == "waiting"
    assert states["two"] == ("dropped", "by hand (operator)")
    assert states["theirs"][0] == "refused"


async def test_an_outbox_that_cannot_be_read_does_not_hide_the_bookings(office: Office) -> None:
    await keep(office.store, booking(1, office.acme))
    (office.parts.settings.data_dir / "outbox.sqlite3").write_bytes(b"no database" * 100)
    page = await (await office.browser("admin")).page("/bookings")
    assert "cannot be shown" in page
    assert shown(page) == ["BK-00000001"]
