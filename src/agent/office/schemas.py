"""What the back office's APIs take and answer, as models: they check requests, and describe both for OpenAPI."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from agent.office.availability import Urgency
from agent.tools.booking import normalise_postcode

# No name or address has a control character, and PostgreSQL takes no NUL.
_CHAR: Final = r"[^\u0000-\u0008\u000B\u000C\u000E-\u001F]"
_PLAIN: Final = f"^{_CHAR}*$"
_FILLED: Final = rf"^{_CHAR}*[^\s\u0000-\u001F]{_CHAR}*$"
_POSTCODE: Final = r"^([A-Za-z]{1,2}[0-9][A-Za-z0-9]? ?[0-9][ABD-HJLNP-UW-Zabd-hjlnp-uw-z]{2}|GIR ?0AA)$"


MAX_KEY_CHARS: Final = 255
"""Of an `Idempotency-Key`."""


class FieldError(ValueError):
    """One field of a request is to blame: `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _plain(text: str) -> str:
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):
        raise ValueError("holds control characters")
    if re.search(r"[\ud800-\udfff]", text):  # JSON can write it, and no database takes it
        raise ValueError("holds half of a character")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return _plain(text)


def _postcode(text: str) -> str:
    postcode = normalise_postcode(text)
    if postcode is None:
        raise ValueError("is no full UK postcode")
    return postcode


Plain = Annotated[StrictStr, AfterValidator(_plain), Field(json_schema_extra={"pattern": _PLAIN})]
Filled = Annotated[StrictStr, AfterValidator(_filled), Field(json_schema_extra={"pattern": _FILLED})]
Number = Annotated[Plain, Field(max_length=64, examples=["+442079460123"])]
Postcode = Annotated[
    StrictStr,
    AfterValidator(_postcode),
    WithJsonSchema({"type": "string", "pattern": _POSTCODE, "examples": ["M14 6BT"]}),
]


class Request(BaseModel):
    """White space around a text counts for its length, and is gone in what is used."""

    @model_validator(mode="after")
    def _strip(self) -> Self:
        for name, value in self:
            if isinstance(value, str):
                setattr(self, name, value.strip())
        return self


RequestT = TypeVar("RequestT", bound=Request)


class DidContextRequest(Request):
    """Who is rung, and by whom."""

    did_number: Number = Field(description="the number that was dialled; empty where it is not known")
    caller_id: Number | None = Field(None, description="the caller's number; empty or left out when it is withheld")


class DidContext(BaseModel):
    """In whose name the call is answered. Every field may be left out; each has the default of a new company."""

    model_config = ConfigDict(extra="forbid")

    company_id: int | None = Field(description="the back office's own number for it; null for no known company")
    company_name: str = Field(examples=["Thames Plumbing"])
    trade_type: str = Field(description="the kind of work", examples=["plumbing"])
    trade_label: str = Field(description="who comes", examples=["plumber"])
    callout_fee: str = Field(description="as it is to be said", examples=["£65"])
    area: str = Field(description="where it works, in words", examples=["south London"])
    greeting: str = Field(description="said instead of the standard greeting; empty for that")
    timezone: str = Field(description="IANA name", examples=["Europe/London"])
    caller_id: str = Field(description="the caller's number in E.164; empty when it is withheld")
    repeat_caller: bool = Field(description="whether this number has called the company before")
    transfer_targets: dict[str, str] = Field(
        description="name of a person or desk to an extension of the dialplan", examples=[{"office": "201"}]
    )
    voice_id: str = Field(description="Cartesia's voice; empty for the agent's own")
    keyterms: list[str] = Field(description="terms that the speech recognition is to prefer")
    recording: bool = Field(description="whether calls are recorded")
    recording_notice: str = Field(description="said before the greeting where calls are recorded; empty for none")
    conversation: str = Field(description="name of a conversation that the agent has; empty for its default one")
    language: str = Field(description="a variant of the conversation's language; empty for that", examples=["en-IE"])
    instructions: str = Field(description="what the LLM is told beyond the conversation's own prompt")
    opening_hours: dict[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], list[list[str]]] = Field(
        description="day to spans of local time; empty where they are not known",
        examples=[{"mon": [["09:00", "12:30"], ["13:30", "18:00"]]}],
    )


class BookingRequest(Request):
    """A visit that a caller asks for. `did_number`, else `company_name`, says whose it is."""

    customer_name: Annotated[Filled, Field(max_length=200, examples=["Jo Bloggs"])]
    postcode: Annotated[Filled, Field(max_length=16, examples=["M14 6BT"])]
    address: Annotated[Filled, Field(max_length=500, examples=["12 Acacia Avenue"])]
    problem_description: Annotated[Filled, Field(max_length=2000, examples=["a leaking tap"])]
    company_name: Annotated[Plain, Field(max_length=200, examples=["Thames Plumbing"])] | None = None
    did_number: Number | None = Field(None, description="the number that was dialled")
    caller_id: Number | None = Field(None, description="the caller's number")
    phone: Number | None = Field(None, description="a number that the caller gave, where the caller ID is withheld")
    call_uuid: Annotated[Plain, Field(max_length=64)] | None = Field(None, description="the call that it comes from")


class Booking(BaseModel):
    """The booking, made now or by the same request before."""

    model_config = ConfigDict(extra="forbid")

    booking_id: str = Field(description="short enough to read out", examples=["BK-7F3K2Q9M"])
    status: Literal["created", "exists"]


class AvailabilityRequest(Request):
    """Where somebody is to come to, and how urgent it is."""

    postcode: Postcode
    urgency: Urgency
    did_number: Number | None = Field(None, description="whose: by the number that was dialled")
    company_name: Annotated[Plain, Field(max_length=200)] | None = Field(None, description="else by its name")


class Availability(BaseModel):
    """Whether somebody can come, and how soon."""

    model_config = ConfigDict(extra="forbid")

    available: bool
    reason: str | None = Field(None, description="why not", examples=["outside_area"])
    from_minutes: int | None = Field(None, description="from now")
    to_minutes: int | None = None
    arrival: str | None = Field(None, description="the same in words", examples=["within thirty minutes to an hour"])


class Problem(BaseModel):
    """Why there is no better answer."""

    error: str = Field(description="what is wrong, in words")
    field: str | None = Field(None, description="the field of the request that is to blame, where one is")


def read_request(kind: type[RequestT], body: Any) -> RequestT:
    """Check a request. Raises `FieldError` for the first field that is not what it must be."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        field = str(first["loc"][0])
        raise FieldError(field, f"{field} {_in_words(first)}") from error


def _in_words(error: Any) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "string_too_long" | "too_long":
            return f"is longer than {error['ctx']['max_length']} characters"
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error":
            return f"must be one of {', '.join(get_args(Urgency))}"
        case _:
            return "is missing" if error["input"] is None else "must be a text"
