"""Whether somebody can come and how soon: the area, the crews, what is booked, and what a request must hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from alembic import command
from sqlalchemy import Connection, text

from agent.office import availability
from agent.office.api import office_app
from agent.office.availability import Urgency, serves
from agent.office.database import create_engine, migration_config
from agent.office.seed import LONDON_PLUMBER
from agent.office.store import NewBooking, OfficeStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KEY = {"X-API-Key": "right"}
BOOKING = NewBooking("Jo", "SW4 7DQ", "12 Mill Lane", "a leak", did_number=LONDON_PLUMBER.numbers[0])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OfficeStore]:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        yield store


@pytest.fixture
async def client(store: OfficeStore) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(office_app(store, api_key="right"))) as client:
        yield client


@pytest.mark.parametrize(
    ("areas", "postcode", "served"),
    [
        ((), "M14 6BT", True),
        (("SW", "SE"), "SW4 7DQ", True),
        (("sw4 ",), "SW4 7DQ", True),
        (("SW1",), "SW1A 2AA", True),
        (("SW1A",), "SW1A 2AA", True),
        (("SW1",), "SW11 2AA", False),
        (("S",), "SW4 7DQ", False),
        (("M1",), "M14 6BT", False),
        (("",), "M14 6BT", False),
    ],
)
def test_the_area_that_is_served(areas: tuple[str, ...], postcode: str, served: bool) -> None:
    assert serves(areas, postcode) is served


@pytest.mark.parametrize(
    ("urgency", "crews", "minutes_ago", "arrival"),
    [
        ("standard", 0, [5] * 50, "within thirty minutes to an hour"),
        ("standard", 2, [5], "within thirty minutes to an hour"),
        ("standard", 2, [5, 10], "within an hour and a half to two hours"),
        ("standard", 2, [70, 80], "within thirty minutes to an hour"),
        ("standard", 1, [50], "within an hour to an hour and a half"),
        ("standard", 1, [30, 20, 10], "within three hours to three and a half hours"),
        ("standard", 1, [100, 90], "within an hour to an hour and a half"),
        ("emergency", 1, [5, 5, 5], "within thirty minutes to an hour"),
        ("standard", 1, [5] * 10, None),
    ],
)
def test_crews_take_visits_in_their_order(
    urgency: Urgency, crews: int, minutes_ago: list[int], arrival: str | None
) -> None:
    booked = [NOW - timedelta(minutes=ago) for ago in minutes_ago]
    answer = availability.answer("SW4 7DQ", urgency, areas=(), crews=crews, booked=booked, now=NOW)
    assert answer["available"] is (arrival is not None)
    assert answer.get("arrival") == arrival


def test_no_wait_that_is_told_is_without_words() -> None:
    for count in range(40):
        booked = [NOW - timedelta(minutes=count)] * count
        answer = availability.answer("SW4 7DQ", "standard", areas=(), crews=3, booked=booked, now=NOW)
        assert answer["available"] is False or answer["to_minutes"] - answer["from_minutes"] == 30


async def test_what_was_booked_counts_for_its_company(store: OfficeStore, client: TestClient[Any, Any]) -> None:
    await store.add_company(replace(LONDON_PLUMBER, crews=1, areas=("SW",)))
    question = {"postcode": "sw47dq", "urgency": "standard", "did_number": LONDON_PLUMBER.numbers[0]}
    before = await (await client.post("/check_availability", json=question, headers=KEY)).json()
    assert before["arrival"] == "within thirty minutes to an hour"
    await store.create_booking(BOOKING)
    after = await (await client.post("/check_availability", json=question, headers=KEY)).json()
    assert after["from_minutes"] == 90
    elsewhere = {**question, "did_number": "+442079460999"}
    assert (await (await client.post("/check_availability", json=elsewhere, headers=KEY)).json())["from_minutes"] == 30
    by_name = {"postcode": "M14 6BT", "urgency": "standard", "company_name": LONDON_PLUMBER.name}
    answer = await (await client.post("/check_availability", json=by_name, headers=KEY)).json()
    assert answer == {"available": False, "reason": "the postcode is outside the area that is served"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"urgency": "standard"}, "postcode"),
        ({"postcode": "M14", "urgency": "standard"}, "postcode"),
        ({"postcode": "M14 6BT' OR '1'='1", "urgency": "standard"}, "postcode"),
        ({"postcode": "M14 6BT"}, "urgency"),
        ({"postcode": "M14 6BT", "urgency": "soon"}, "urgency"),
        ({"postcode": "M14 6BT", "urgency": "standard", "company_name": "a\x00b"}, "company_name"),
    ],
)
async def test_a_bad_request_is_told_its_field(client: TestClient[Any, Any], body: dict[str, str], field: str) -> None:
    response = await client.post("/check_availability", json=body, headers=KEY)
    assert (response.status, (await response.json())["field"]) == (400, field)


async def test_the_key_is_asked_for(client: TestClient[Any, Any]) -> None:
    body = {"postcode": "M14 6BT", "urgency": "standard"}
    assert (await client.post("/check_availability", json=body)).status == 401
    assert (await client.post("/check_availability", json=body, headers={"X-API-Key": "wrong"})).status == 401


async def test_sql_in_a_name_is_a_name(store: OfficeStore, client: TestClient[Any, Any]) -> None:
    await store.add_company(replace(LONDON_PLUMBER, crews=1))
    await store.create_booking(BOOKING)
    for name in ("' OR 1=1 --", "'; DROP TABLE bookings; --", 'x" UNION SELECT * FROM companies'):
        body = {"postcode": "M14 6BT", "urgency": "standard", "company_name": name, "did_number": name}
        answer = await (await client.post("/check_availability", json=body, headers=KEY)).json()
        assert answer["from_minutes"] == 30, "no company was found by it"
    assert len(await store.list_bookings()) == 1


async def test_a_company_keeps_its_conversation_and_language(store: OfficeStore) -> None:
    await store.add_company(replace(LONDON_PLUMBER, conversation="dentist", language="en-IE"))
    context = await store.did_context(LONDON_PLUMBER.numbers[0], "")
    assert (context["conversation"], context["language"]) == ("dentist", "en-IE")
    unknown = await store.did_context("+442079460999", "")
    assert (unknown["conversation"], unknown["language"]) == ("", "")


async def test_companies_of_the_first_schema_are_taken_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    engine = create_engine(url)

    def first_schema(connection: Connection) -> None:
        command.upgrade(migration_config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO companies (name, trade_type, trade_label, callout_fee, area, greeting, timezone, "
                "voice_id, keyterms, transfer_targets, recording, created_at) VALUES "
                "('Old', 'x', 'x', '', '', '', 'UTC', '', '[]', '{}', 1, '2026-01-01 00:00:00')"
            )
        )

    async with engine.begin() as connection:
        await connection.run_sync(first_schema)
    await engine.dispose()
    async with await OfficeStore.open(url) as store:
        ((company, _),) = await store.list_companies()
        assert (company.conversation, company.language, company.areas, company.crews) == ("", "", [], 0)
        assert (await store.availability("M14 6BT", "standard", company_name="Old"))["available"] is True
    engine = create_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(migration_config(c), "0001"))
        columns = [row[1] for row in await connection.execute(text("PRAGMA table_info(companies)"))]
    await engine.dispose()
    assert "crews" not in columns
    assert "recording" in columns
