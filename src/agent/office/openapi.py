"""The description of the back office's APIs (OpenAPI 3.1), made of the models that check the requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent import __version__
from agent.office.schemas import (
    MAX_KEY_CHARS,
    Availability,
    AvailabilityRequest,
    Booking,
    BookingRequest,
    DidContext,
    DidContextRequest,
    Problem,
)

_MODELS: Final = (
    DidContextRequest,
    DidContext,
    BookingRequest,
    Booking,
    AvailabilityRequest,
    Availability,
    Problem,
)
_PROBLEMS: Final = {
    400: "the request cannot be understood; `field` names the field that is to blame, where one is",
    401: "the header X-API-Key is missing or wrong",
    409: "an earlier request with the same Idempotency-Key is still at work: ask again a little later",
    413: "the body is too large",
    415: "the body is not sent as application/json",
    422: "the Idempotency-Key was used for a booking of other content",
    429: "too many requests of this key and address: Retry-After tells how many seconds to wait",
}
_EVERYWHERE: Final = (400, 401, 413, 415, 429)


def describe(*, context_needs_key: bool) -> dict[str, Any]:
    """Return the document that `GET /openapi.json` serves."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "voice-agent back office",
            "version": __version__,
            "description": "What the agent asks while it is on the phone. A company's own backend may take the place of"
            " either part: CONTEXT_API_URL, BOOKING_API_URL and AVAILABILITY_API_URL name the endpoints.",
        },
        "paths": {
            "/did_context": _post(
                "did_context",
                "In whose name is this call answered?",
                DidContextRequest,
                {200: (DidContext, "the company, or the defaults where the number belongs to none")},
                needs_key=context_needs_key,
            ),
            "/create_booking": _post(
                "create_booking",
                "Book a visit",
                BookingRequest,
                {
                    201: (Booking, "the booking is made"),
                    200: (Booking, "it had been made by an earlier request with the same Idempotency-Key and content"),
                },
                problems=(409, 422),
                parameters=[
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "required": False,
                        "description": "the same for the same booking sent again, which is then made once",
                        "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_CHARS}}}$"},
                    }
                ],
            ),
            "/check_availability": _post(
                "check_availability",
                "Can somebody come, and how soon?",
                AvailabilityRequest,
                {200: (Availability, "whether, and when")},
            ),
        },
        "components": {
            "schemas": _without_titles(definitions["$defs"]),
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def _post(
    name: str,
    summary: str,
    request: type[BaseModel],
    answers: Mapping[int, tuple[type[BaseModel], str]],
    *,
    problems: tuple[int, ...] = (),
    needs_key: bool = True,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    refusals = [status for status in (*_EVERYWHERE, *problems) if needs_key or status != 401]
    responses = {str(status): _body(model, text) for status, (model, text) in answers.items()}
    responses |= {str(status): _body(Problem, _PROBLEMS[status]) for status in sorted(refusals)}
    responses["429"]["headers"] = {
        "Retry-After": {"required": True, "description": "s", "schema": {"type": "integer", "minimum": 1}}
    }
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "requestBody": _body(request, "") | {"required": True},
        "responses": responses,
        "security": [{"key": []}] if needs_key else [],
    }
    if parameters:
        operation["parameters"] = parameters
    return {"post": operation}


def _body(model: type[BaseModel], description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {"content": content} | ({"description": description} if description else {})


def _without_titles(schemas: Any) -> Any:
    """Pydantic's titles are the fields' names again."""
    if isinstance(schemas, dict):
        return {
            name: _without_titles(value)
            for name, value in schemas.items()
            if name != "title" or not isinstance(value, str)
        }
    return [_without_titles(value) for value in schemas] if isinstance(schemas, list) else schemas
