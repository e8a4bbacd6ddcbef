"""The back office over HTTP: `POST /did_context`, `/create_booking` and `/check_availability`, JSON in and out.

Errors are JSON too: `{"error": "what is wrong"}`, with `"field"` where one field is to blame.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, cast, get_args

from aiohttp import web

from agent.office.availability import Urgency
from agent.office.store import IdempotencyConflict, NewBooking, OfficeStore
from agent.tools.booking import normalise_postcode

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_CHARS = 255
REQUIRED = {"customer_name": 200, "postcode": 16, "address": 500, "problem_description": 2000}
"""The fields that a booking cannot do without, and how many characters each may have."""
OPTIONAL = {"company_name": 200, "did_number": 64, "caller_id": 64, "phone": 64, "call_uuid": 64}


def office_app(store: OfficeStore, *, api_key: str, context_api_key: str = "") -> web.Application:
    """Return the back office as an application: to be run alone, or mounted with `add_subapp`.

    `api_key` is the `X-API-Key` that bookings and availability ask for; `did_context` asks for `context_api_key` where
    that is not empty. The store stays the caller's, who closes it. Raises `ValueError` for an empty `api_key`.
    """
    if not api_key:
        raise ValueError("the back office needs an API key, or anyone could book: set BOOKING_API_KEY")
    api = _OfficeApi(store, api_key=api_key, context_api_key=context_api_key)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[json_errors])
    app.router.add_post("/did_context", api.did_context)
    app.router.add_post("/create_booking", api.create_booking)
    app.router.add_post("/check_availability", api.check_availability)
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
    def __init__(self, store: OfficeStore, *, api_key: str, context_api_key: str) -> None:
        self._store = store
        self._api_key = api_key
        self._context_api_key = context_api_key

    async def did_context(self, request: web.Request) -> web.Response:
        if self._context_api_key:
            _require_key(request, self._context_api_key)
        body = await _json_object(request)
        did = _text(body, "did_number", required=True, limit=64)
        caller_id = _text(body, "caller_id", required=False, limit=64)
        return web.json_response(await self._store.did_context(did, caller_id))

    async def create_booking(self, request: web.Request) -> web.Response:
        _require_key(request, self._api_key)
        key = _idempotency_key(request)
        body = await _json_object(request)
        fields = {name: _text(body, name, required=True, limit=limit) for name, limit in REQUIRED.items()}
        fields |= {name: _text(body, name, required=False, limit=limit) for name, limit in OPTIONAL.items()}
        try:
            booking, is_new = await self._store.create_booking(NewBooking(**fields), idempotency_key=key)
        except IdempotencyConflict as error:
            # 422, as the IETF's draft has it: 409 there means that the first request is still at work.
            raise _refuse(web.HTTPUnprocessableEntity, str(error)) from error
        answer = {"booking_id": booking.id, "status": "created" if is_new else "exists"}
        return web.json_response(answer, status=201 if is_new else 200)

    async def check_availability(self, request: web.Request) -> web.Response:
        _require_key(request, self._api_key)
        body = await _json_object(request)
        postcode = normalise_postcode(_text(body, "postcode", required=True, limit=REQUIRED["postcode"]))
        if postcode is None:
            raise _refuse(web.HTTPBadRequest, "postcode is no full UK postcode", "postcode")
        urgency = _text(body, "urgency", required=True, limit=16)
        if urgency not in get_args(Urgency):
            raise _refuse(web.HTTPBadRequest, f"urgency must be one of {', '.join(get_args(Urgency))}", "urgency")
        did, company = (
            _text(body, name, required=False, limit=OPTIONAL[name]) for name in ("did_number", "company_name")
        )
        return web.json_response(
            await self._store.availability(postcode, cast(Urgency, urgency), did=did, company_name=company)
        )


def _refuse(kind: type[web.HTTPError], message: str, field: str | None = None) -> web.HTTPError:
    body: dict[str, str] = {"error": message} | ({"field": field} if field else {})
    return kind(text=json.dumps(body), content_type="application/json")


def _require_key(request: web.Request, expected: str) -> None:
    given = request.headers.get("X-API-Key", "")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise _refuse(web.HTTPUnauthorized, "the header X-API-Key is missing or wrong")


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key.strip()) <= MAX_KEY_CHARS:
        raise _refuse(web.HTTPBadRequest, f"the header Idempotency-Key must have 1 to {MAX_KEY_CHARS} characters")
    return key.strip() if key is not None else None


async def _json_object(request: web.Request) -> Mapping[str, Any]:
    if request.content_type != "application/json":
        raise _refuse(web.HTTPUnsupportedMediaType, "the body must be sent as Content-Type: application/json")
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise _refuse(web.HTTPBadRequest, "the body is no valid JSON") from error
    if not isinstance(body, dict):
        raise _refuse(web.HTTPBadRequest, "the body must be a JSON object")
    return body


def _text(body: Mapping[str, Any], name: str, *, required: bool, limit: int) -> str:
    value = body.get(name)
    if value is None:
        if required:
            raise _refuse(web.HTTPBadRequest, f"{name} is missing", name)
        return ""
    if not isinstance(value, str):
        raise _refuse(web.HTTPBadRequest, f"{name} must be a text", name)
    value = value.strip()
    # PostgreSQL takes no NUL in a text, and no address or name has control characters.
    if any(ord(char) < 32 and char not in "\t\n\r" for char in value):
        raise _refuse(web.HTTPBadRequest, f"{name} holds control characters", name)
    if required and not value and name in REQUIRED:
        raise _refuse(web.HTTPBadRequest, f"{name} is empty", name)
    if len(value) > limit:
        raise _refuse(web.HTTPBadRequest, f"{name} is longer than {limit} characters", name)
    return value
