"""The back office over HTTP: what it answers, and what it refuses and how it says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from agent.office.api import MAX_BODY_BYTES, office_app
from agent.office.seed import seed_examples
from agent.office.store import OfficeStore

KEY = {"X-API-Key": "right"}
BOOKING = {
    "customer_name": "Jo Bloggs",
    "postcode": "M14 6BT",
    "address": "12 Acacia Avenue",
    "problem_description": "a leaking tap",
    "did_number": "+442079460123",
}
Client = TestClient[Request, Application]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OfficeStore]:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        await seed_examples(store)
        yield store


@pytest.fixture
async def client(store: OfficeStore) -> AsyncIterator[Client]:
    async with TestClient(TestServer(office_app(store, api_key="right"))) as client:
        yield client


async def post(client: Client, path: str, **kwargs: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(path, **kwargs) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def test_the_context_of_a_known_number(client: Client) -> None:
    status, body = await post(client, "/did_context", json={"did_number": "0161 496 0456", "caller_id": "07700900123"})
    assert status == 200
    assert body["company_name"] == "Northern Spark Electrical"
    assert body["trade_label"] == "electrician"
    assert body["caller_id"] == "+447700900123"
    assert body["repeat_caller"] is False


async def test_the_context_of_an_unknown_number(client: Client) -> None:
    status, body = await post(client, "/did_context", json={"did_number": "", "caller_id": ""})
    assert (status, body["company_name"], body["trade_type"]) == (200, "Home Services", "general")


async def test_the_context_needs_a_number(client: Client) -> None:
    assert await post(client, "/did_context", json={}) == (
        400,
        {"error": "did_number is missing", "field": "did_number"},
    )


async def test_the_context_asks_for_its_own_key_where_there_is_one(store: OfficeStore) -> None:
    app = office_app(store, api_key="right", context_api_key="context")
    async with TestClient(TestServer(app)) as client:
        assert (await post(client, "/did_context", json={"did_number": ""}, headers=KEY))[0] == 401
        assert (await post(client, "/did_context", json={"did_number": ""}, headers={"X-API-Key": "context"}))[0] == 200


async def test_a_booking_is_made(client: Client, store: OfficeStore) -> None:
    status, body = await post(client, "/create_booking", json=BOOKING, headers=KEY)
    assert status == 201
    booking = await store.find_booking(body["booking_id"])
    assert booking is not None
    assert booking.company_name == "Thames Plumbing"
    assert booking.address == "12 Acacia Avenue"


@pytest.mark.parametrize("field", ["customer_name", "postcode", "address", "problem_description"])
@pytest.mark.parametrize("value", [None, "", "   ", 7, ["x"], "x" * 2001, "a\x00b"])
async def test_a_bad_field_is_named(client: Client, store: OfficeStore, field: str, value: object) -> None:
    status, body = await post(client, "/create_booking", json={**BOOKING, field: value}, headers=KEY)
    assert (status, body["field"]) == (400, field)
    assert field in body["error"]
    assert await store.list_bookings() == []


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"X-API-Key": "right "[:4]}])
async def test_nobody_books_without_the_key(client: Client, store: OfficeStore, headers: dict[str, str]) -> None:
    status, body = await post(client, "/create_booking", json=BOOKING, headers=headers)
    assert status == 401
    assert "X-API-Key" in body["error"]
    assert await store.list_bookings() == []


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="BOOKING_API_KEY"):
        office_app(None, api_key="")  # type: ignore[arg-type]


async def test_the_same_key_and_content_is_the_same_booking(client: Client, store: OfficeStore) -> None:
    headers = {**KEY, "Idempotency-Key": "k1"}
    first_status, first = await post(client, "/create_booking", json=BOOKING, headers=headers)
    again_status, again = await post(client, "/create_booking", json=BOOKING, headers=headers)
    assert (first_status, again_status) == (201, 200)
    assert first["booking_id"] == again["booking_id"]
    other = {**BOOKING, "address": "13 Acacia Avenue"}
    assert (await post(client, "/create_booking", json=other, headers=headers))[0] == 422
    assert len(await store.list_bookings()) == 1


async def test_posts_at_once_with_one_key_are_one_booking(client: Client, store: OfficeStore) -> None:
    headers = {**KEY, "Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(post(client, "/create_booking", json=BOOKING, headers=headers) for _ in range(12)))
    statuses = [status for status, _ in answers]
    # Who comes while the first one is at work is told so; who comes later gets its booking.
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    assert (await post(client, "/create_booking", json=BOOKING, headers=headers))[0] == 200
    assert len({body["booking_id"] for status, body in answers if status != 409}) == 1
    assert len(await store.list_bookings()) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_has_its_bounds(client: Client, key: str) -> None:
    headers = {**KEY, "Idempotency-Key": key}
    assert (await post(client, "/create_booking", json=BOOKING, headers=headers))[0] == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 60_000])
async def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    headers = {**KEY, "Content-Type": "application/json"}
    assert (await post(client, "/create_booking", data=body, headers=headers))[0] == 400


async def test_other_content_types_are_refused(client: Client) -> None:
    headers = {**KEY, "Content-Type": "text/plain"}
    assert (await post(client, "/create_booking", data=json.dumps(BOOKING), headers=headers))[0] == 415


async def test_a_body_has_a_largest_size(client: Client) -> None:
    big = {**BOOKING, "address": "x" * MAX_BODY_BYTES}
    assert (await post(client, "/create_booking", json=big, headers=KEY))[0] == 413


async def test_the_frameworks_refusals_are_json_too(client: Client) -> None:
    assert (await post(client, "/nonesuch"))[0] == 404
    async with client.get("/create_booking") as response:
        assert (response.status, response.content_type, response.headers["Allow"]) == (
            405,
            "application/json",
            "POST",
        )
