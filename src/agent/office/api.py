"""The back office over HTTP: `POST /did_context`, `/create_booking` and `/check_availability`, JSON in and out.

Errors are JSON too: `{"error": "what is wrong"}`, with `"field"` where one field is to blame. `GET /openapi.json`
describes all of it, and `GET /call-record.schema.json` the document that is kept of each call.
"""

from __future__ import annotations

import hmac
import json
import math
import re
from typing import Any, TypeVar

from aiohttp import web

from agent.call.record_schema import record_schema
from agent.office.openapi import describe
from agent.office.schemas import (
    MAX_KEY_CHARS,
    AvailabilityRequest,
    BookingRequest,
    DidContextRequest,
    FieldError,
    Request,
    read_request,
)
from agent.office.store import IdempotencyConflict, NewBooking, OfficeStore
from agent.ops.rate import RateLimit

MAX_BODY_BYTES = 64 * 1024
REQUESTS_PER_MINUTE = 6000
"""Of one key from one address, unless told otherwise: one agent with hundreds of lines is far below."""
WRONG_KEYS_PER_MINUTE = 60
"""Of one address."""

RequestT = TypeVar("RequestT", bound=Request)


def office_app(
    store: OfficeStore, *, api_key: str, context_api_key: str = "", requests_per_minute: int = REQUESTS_PER_MINUTE
) -> web.Application:
    """Return the back office as an application: to be run alone, or mounted with `add_subapp`.

    `api_key` is the `X-API-Key` that bookings and availability ask for; `did_context` asks for `context_api_key` where
    that is not empty. The store stays the caller's, who closes it. Raises `ValueError` for an empty `api_key`.
    """
    if not api_key:
        raise ValueError("the back office needs an API key, or anyone could book: set BOOKING_API_KEY")
    api = _OfficeApi(store, _Doorman(requests_per_minute), api_key=api_key, context_api_key=context_api_key)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[json_errors])
    app.router.add_post("/did_context", api.did_context)
    app.router.add_post("/create_booking", api.create_booking)
    app.router.add_post("/check_availability", api.check_availability)
    app.router.add_get("/openapi.json", api.openapi)
    app.router.add_get("/call-record.schema.json", api.record_schema)
    return app


@web.middleware
async def json_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Give every refusal, the framework's own ones included, a JSON body."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPError as error:
        if error.content_type == "application/json":
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response({"error": error.reason}, status=error.status, headers=headers)
    return response


class _OfficeApi:
    def __init__(self, store: OfficeStore, doorman: _Doorman, *, api_key: str, context_api_key: str) -> None:
        self._store = store
        self._doorman = doorman
        self._api_key = api_key
        self._context_api_key = context_api_key
        self._document = describe(context_needs_key=bool(context_api_key))
        self._at_work: set[str] = set()
        """Idempotency keys of requests that have no answer yet."""

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.json_response(self._document)

    async def record_schema(self, _request: web.Request) -> web.Response:
        return web.json_response(record_schema(), content_type="application/schema+json")

    async def did_context(self, request: web.Request) -> web.Response:
        self._doorman.let_in(request, self._context_api_key)
        asked = await _read(request, DidContextRequest)
        return web.json_response(await self._store.did_context(asked.did_number, asked.caller_id or ""))

    async def create_booking(self, request: web.Request) -> web.Response:
        self._doorman.let_in(request, self._api_key)
        key = _idempotency_key(request)
        asked = await _read(request, BookingRequest)
        new = NewBooking(**{name: value or "" for name, value in asked})
        if key in self._at_work:
            raise _refuse(web.HTTPConflict, "an earlier request with this Idempotency-Key is still at work")
        if key is not None:
            self._at_work.add(key)
        try:
            booking, is_new = await self._store.create_booking(new, idempotency_key=key)
        except IdempotencyConflict as error:
            # 422, as the IETF's draft has it: 409 there means that the first request is still at work.
            raise _refuse(web.HTTPUnprocessableEntity, str(error)) from error
        finally:
            if key is not None:
                self._at_work.discard(key)
        answer = {"booking_id": booking.id, "status": "created" if is_new else "exists"}
        return web.json_response(answer, status=201 if is_new else 200)

    async def check_availability(self, request: web.Request) -> web.Response:
        self._doorman.let_in(request, self._api_key)
        asked = await _read(request, AvailabilityRequest)
        return web.json_response(
            await self._store.availability(
                asked.postcode, asked.urgency, did=asked.did_number or "", company_name=asked.company_name or ""
            )
        )


class _Doorman:
    """Knows the keys, and how often one may ask."""

    def __init__(self, requests_per_minute: int) -> None:
        self._requests = RateLimit(requests_per_minute, max(1, requests_per_minute // 10))
        self._wrong_keys = RateLimit(WRONG_KEYS_PER_MINUTE, WRONG_KEYS_PER_MINUTE)

    def let_in(self, request: web.Request, key: str) -> None:
        """Check the key, unless it is empty, and the rate. Raises what is to be answered otherwise."""
        address = request.remote or ""
        given = request.headers.get("X-API-Key", "")
        if key and not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode()):
            # Who has the right key is never kept out by somebody beside them who has not.
            if wait_s := self._wrong_keys.take_s(address):
                raise _too_often(wait_s, "too many requests with a wrong key")
            raise _refuse(web.HTTPUnauthorized, "the header X-API-Key is missing or wrong")
        if wait_s := self._requests.take_s((key, address)):
            raise _too_often(wait_s, "too many requests")


def _refuse(kind: type[web.HTTPError], message: str, field: str | None = None) -> web.HTTPError:
    body: dict[str, str] = {"error": message} | ({"field": field} if field else {})
    return kind(text=json.dumps(body), content_type="application/json")


def _too_often(wait_s: float, message: str) -> web.HTTPError:
    error = _refuse(web.HTTPTooManyRequests, f"{message}: try again later")
    error.headers["Retry-After"] = str(math.ceil(wait_s))
    return error


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(rf"[!-~]{{1,{MAX_KEY_CHARS}}}", key):
        raise _refuse(
            web.HTTPBadRequest, f"the header Idempotency-Key must have 1 to {MAX_KEY_CHARS} printable ASCII characters"
        )
    return key


async def _read(request: web.Request, kind: type[RequestT]) -> RequestT:
    if request.content_type != "application/json":
        raise _refuse(web.HTTPUnsupportedMediaType, "the body must be sent as Content-Type: application/json")
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise _refuse(web.HTTPBadRequest, "the body is no valid JSON") from error
    if not isinstance(body, dict):
        raise _refuse(web.HTTPBadRequest, "the body must be a JSON object")
    try:
        return read_request(kind, body)
    except FieldError as error:
        raise _refuse(web.HTTPBadRequest, str(error), error.field) from error
