"""Tools that the LLM may call: declared once, checked before anything runs, and never the end of a call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import aiohttp
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

if TYPE_CHECKING:
    from agent.call.company import CompanyContext
    from agent.tools.outbox import Outbox

log = logging.getLogger(__name__)

Effect: TypeAlias = Literal["booked", "kept", "transfer", "end"]
MAX_ARGUMENT_CHARS = 16 * 1024
MAX_REPORTED_ERRORS = 4
_HERE = Path(__file__).parent
_LIBRARY = Path(asyncio.__file__).parent.parent
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class ToolError(Exception):
    """Raised by a user's own tool: its text tells the LLM what is wrong and what to do about it."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call: `content` goes back to the LLM, the rest is for the session."""

    content: str
    """A JSON object as text: what the LLM reads as the tool's answer."""
    ok: bool
    effect: Effect | None = None
    """What the session has to do about it, if anything."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """For the session and the call's record; it does not reach the LLM."""
    reason: str = ""
    """Why it failed or was refused, as a code for the record: "timeout", "bad_arguments", "refused" and so on."""

    @classmethod
    def success(
        cls, answer: Mapping[str, Any], *, effect: Effect | None = None, data: Mapping[str, Any] | None = None
    ) -> ToolResult:
        """Return a result that the LLM may rely on."""
        return cls(_dumps(answer), ok=True, effect=effect, data=data or {})

    @classmethod
    def error(cls, message: str, *, reason: str = "refused", data: Mapping[str, Any] | None = None) -> ToolResult:
        """Return a failure: `message` tells the LLM what is wrong and what to do about it."""
        return cls(_dumps({"error": message}), ok=False, data=data or {}, reason=reason)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the business APIs are: whole URLs, with the key that goes into `X-API-Key`."""

    booking_url: str
    booking_api_key: str = field(repr=False)
    availability_url: str = ""
    """It has the booking API's key."""


@dataclass(slots=True)
class ToolContext:
    """One call, as its tools see it. The HTTP session is shared and stays its owner's."""

    call_uuid: str
    company: CompanyContext
    http: aiohttp.ClientSession
    endpoints: Endpoints
    did_number: str = ""
    region: str = "GB"
    data_dir: Path = field(default_factory=Path)
    """Where a user's own tools may keep files, `DATA_DIR/conversations/NAME` in a call; it need not exist yet."""
    outbox: Outbox | None = None
    """Keeps bookings until they are accepted, and knows those that were asked for before. Without it none is made."""


Handler: TypeAlias = Callable[[Mapping[str, Any], ToolContext], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what the LLM is told of it, and what runs when it is called."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema (draft 2020-12) of the arguments: an object."""
    handler: Handler
    acts: bool = False
    """Whether it does something in the world (books, transfers, ends), and so must wait until the caller's turn is
    certain."""
    timeout_s: float = 10.0


class ToolRegistry:
    """The tools of an agent, in the order in which they were declared. `counters` tell what became of the calls."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Take the tools in. Raises `ValueError` for two of one name or a schema that is none."""
        self._tools: dict[str, Tool] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        self.counters: Counter[str] = Counter()
        for tool in tools:
            if tool.name in self._tools:
                raise ValueError(f"two tools are called {tool.name!r}")
            if tool.parameters.get("type") != "object":
                raise ValueError(f'the parameters of {tool.name!r} must be a JSON schema of "type": "object"')
            try:
                Draft202012Validator.check_schema(tool.parameters)
            except SchemaError as error:
                raise ValueError(f"the parameters of {tool.name!r} are no JSON schema: {error.message}") from error
            self._tools[tool.name] = tool
            self._validators[tool.name] = Draft202012Validator(tool.parameters)
        self._schemas = tuple(
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in self._tools.values()
        )

    def schemas(self) -> list[dict[str, Any]]:
        """Return the tools in the form of OpenAI's `tools`, always byte for byte alike.

        Vendors cache what precedes the conversation only while it does not change.
        """
        return list(self._schemas)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def acts(self, name: str) -> bool:
        """Tell whether the tool does something in the world; an unknown one does not."""
        tool = self._tools.get(name)
        return tool is not None and tool.acts

    async def run(self, name: str, arguments_json: str, context: ToolContext) -> ToolResult:
        """Check the arguments and run the tool; every failure is a result that the LLM can read.

        Raises nothing but the cancellation of the task it runs in.
        """
        tool = self._tools.get(name)
        if tool is None:
            return self._failed("unknown_tool", f"there is no tool {name[:64]!r}; there is {', '.join(self._tools)}")
        arguments = _parse(arguments_json)
        if isinstance(arguments, str):
            return self._failed("bad_json", arguments)
        errors = sorted(self._validators[name].iter_errors(arguments), key=lambda e: [str(part) for part in e.path])
        if errors:
            told = "; ".join(_explain(error) for error in errors[:MAX_REPORTED_ERRORS])
            return self._failed("bad_arguments", f"nothing was done: {told}")
        try:
            async with asyncio.timeout(tool.timeout_s):
                result = await tool.handler(arguments, context)
        except TimeoutError:
            return self._failed(
                "timeout", f"{name} took longer than {tool.timeout_s:g} s; whether it worked is unknown"
            )
        except Exception as error:
            # The text of an exception may hold what the caller said: its kind is enough for the log.
            log.error(
                "tool %s failed in call %s: %s at %s", name, context.call_uuid, type(error).__name__, _where(error)
            )
            return self._failed("exception", f"{name} failed inside; say that there is a technical problem")
        if (
            result.effect == "transfer"
            and result.data.get("extension") not in context.company.transfer_targets.values()
        ):
            return self._failed("bad_transfer", "nobody can be reached there; there is no such target")
        self.counters["ok" if result.ok else "refused"] += 1
        return result

    def _failed(self, reason: str, message: str) -> ToolResult:
        self.counters[reason] += 1
        return ToolResult.error(message, reason=reason)


def _where(error: BaseException) -> str:
    """Where the tool's own code was when it failed: the last line of the first file that is not this package's."""
    place = ""
    file = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if not file and (path.parent == _HERE or _is_pythons_own(path)):
            continue  # on the way to the tool
        file = file or str(path)
        if str(path) == file:
            place = f"{path.parent.name}/{path.name}:{line} ({frame.f_code.co_name})"
    return place or "this package"


def _is_pythons_own(path: Path) -> bool:
    return path.is_relative_to(_LIBRARY) and "packages" not in path.relative_to(_LIBRARY).parts[0]


def _parse(arguments_json: str) -> dict[str, Any] | str:
    """Return the arguments, or what is wrong with them."""
    if len(arguments_json) > MAX_ARGUMENT_CHARS:
        return f"the arguments are longer than {MAX_ARGUMENT_CHARS} characters"
    try:
        # A tool without parameters is called with an empty text by some models.
        arguments = json.loads(arguments_json, parse_constant=_refuse_constant) if arguments_json.strip() else {}
    except (ValueError, RecursionError):
        return "the arguments are no valid JSON; send one JSON object"
    if not isinstance(arguments, dict):
        return "the arguments must be one JSON object"
    if _holds_what_is_no_text(arguments):
        return "the arguments hold control characters or broken characters; send plain text"
    return arguments


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _holds_what_is_no_text(arguments: Mapping[str, Any]) -> bool:
    """Whether a text holds NUL, an escape, half a surrogate pair or the like: no API has use for those, and some do
    harm with them. Line ends and tabs are text.
    """
    left: list[Any] = [arguments]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and _NO_TEXT.search(value):
            return True
    return False


def _explain(error: ValidationError) -> str:
    """Say in words which field is wrong and what would be right."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "required":
        # One error a missing field; jsonschema's text is "'postcode' is a required property".
        return f"{error.message.split(chr(39))[1]} is missing"
    if error.validator == "maxLength":
        return f"{where} is longer than {error.validator_value} characters"
    if error.validator in ("pattern", "minLength"):
        return f"{where} is empty" if not str(error.instance).strip() else f"{where} has the wrong form"
    return f"{where or 'the arguments'}: {error.message[:200]}"


def _dumps(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
