"""A user's own tools by URL: declared in `conversation.toml`, asked over HTTP.

What the LLM gives is only ever a JSON body or the values of a query. Scheme, host, path and headers come from the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from yarl import URL

from agent.tools.api import ask
from agent.tools.registry import Effect, Tool, ToolContext, ToolResult

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 16 * 1024
MAX_TEXT_CHARS = 2000
_SECRET = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NEARLY_SECRET = re.compile(r"\$([A-Za-z_]\w*)|\$?\{([^}]*)\}?|\$\(([^)]*)\)?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SCALARS = ("string", "integer", "number", "boolean")

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class UrlTool(BaseModel):
    """A table of `url_tools`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: _Text
    """Tells the LLM what the tool is for."""
    url: str
    """http or https, with host and path as they are."""
    method: Literal["POST", "GET"] = "POST"
    parameters: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")], dict[str, Any]] = {}
    """A JSON schema for each argument, by name."""
    optional: list[str] = []
    """Names of arguments that may be left out."""
    headers: dict[str, str] = {}
    """`${NAME}` in a value is that environment variable."""
    timeout_s: float = Field(TIMEOUT_S, gt=0, le=30, strict=False)
    acts: bool | None = None
    """Whether it does something in the world; by default a POST does and a GET does not."""
    send_call: bool = False
    """Whether the body also holds `call`: the call's UUID, the caller's number, the number dialled and the company."""
    effect: Literal["booked", "end"] | None = None
    """What a success means for the call: a booking was made, or the call is to end."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        try:
            url = URL(value)
        except ValueError as error:
            raise ValueError(f"no URL: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("a URL must begin with https:// (or http:// on your own network) and name a host")
        if url.user is not None or url.password is not None:
            raise ValueError("no user or password may stand in a URL; use headers with ${NAME}")
        if url.fragment or re.search(r"[\x00-\x20{}]", value):
            raise ValueError("arguments cannot stand in a URL: they are sent as the body, or with GET as the query")
        return value

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no header's name")
            if not _HEADER_VALUE.fullmatch(text):
                raise ValueError(f"the value of {name} holds line ends or control characters")
            for written in _NEARLY_SECRET.finditer(_SECRET.sub("", text)):
                inside = "".join(filter(None, written.groups())).strip()
                right = f"${{{inside}}}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", inside) else "${NAME}"
                raise ValueError(f"{name} has {written[0]}, which would be sent as it stands: write {right}")
            if name.lower() in ("host", "content-length", "transfer-encoding", "connection"):
                raise ValueError(f"{name} is set by the request itself")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> UrlTool:
        if unknown := sorted(set(self.optional) - set(self.parameters)):
            raise ValueError(f"optional names {', '.join(unknown)}, which is not among parameters")
        if self.method == "GET":
            if self.send_call:
                raise ValueError("send_call needs method POST: a query is written into logs on its way")
            for name, schema in self.parameters.items():
                kind = schema.get("type")
                if kind not in _SCALARS and not (kind == "array" and schema.get("items", {}).get("type") in _SCALARS):
                    raise ValueError(f"parameters.{name}: a query has only {', '.join(_SCALARS)}, and arrays of them")
        elif self.send_call and "call" in self.parameters:
            raise ValueError("with send_call no parameter can be named call")
        return self


def url_tool(name: str, declared: UrlTool, environment: Mapping[str, str] | None = None) -> Tool:
    """Return a declared tool as one that runs. Secrets come from `environment`, by default the process's own.

    Raises `ValueError` when a secret is missing or no header could hold it.
    """
    headers = _with_secrets(declared.headers, os.environ if environment is None else environment)
    url = URL(declared.url)
    acts = declared.acts if declared.acts is not None else declared.method == "POST"

    async def handler(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        body: dict[str, Any] | None = None
        target = url
        if declared.method == "GET":
            target = url.extend_query([(key, text) for key, value in arguments.items() for text in _query(value)])
        else:
            body = {**arguments, "call": _call(context)} if declared.send_call else dict(arguments)
        sent = {**headers, "Idempotency-Key": _key(context, name, arguments)} if acts else headers
        try:
            status, raw, _ = await ask(
                context.http, declared.method, target, sent, json_body=body, limit=MAX_ANSWER_BYTES
            )
        except (aiohttp.ClientError, OSError) as error:
            log.warning("tool %s: %s", name, type(error).__name__)
            told = f"{name} cannot be reached; apologise, and do not say that it is done"
            return ToolResult.error(told, reason="unreachable")
        return _result(name, status, raw, declared.effect)

    schema = {
        "type": "object",
        "properties": declared.parameters,
        "required": [key for key in declared.parameters if key not in declared.optional],
        "additionalProperties": False,
    }
    return Tool(name, declared.description, schema, handler, acts, declared.timeout_s)


def _with_secrets(headers: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    filled = {}
    for header, text in headers.items():
        missing = sorted({name for name in _SECRET.findall(text) if not environment.get(name)})
        if missing:
            raise ValueError(f"headers.{header} needs {', '.join(missing)}: put it into the agent's environment")
        value = _SECRET.sub(lambda match: environment[match[1]], text)
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"headers.{header}: what the environment puts into it holds line ends or control characters"
            )
        filled[header] = value
    return filled


def _query(value: object) -> list[str]:
    """The texts of an argument in a query: one, or one for each element of an array."""
    if isinstance(value, list):
        return [text for element in value for text in _query(element)]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)]


def _call(context: ToolContext) -> dict[str, str]:
    return {
        "uuid": context.call_uuid,
        "caller_id": context.company.caller_id,
        "did_number": context.did_number,
        "company_name": context.company.company_name,
    }


def _key(context: ToolContext, name: str, arguments: Mapping[str, Any]) -> str:
    """The same for the same request within one call, so that a server can tell one that was sent twice."""
    content = json.dumps([context.call_uuid, name, arguments], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _result(name: str, status: int, raw: bytes, effect: Effect | None) -> ToolResult:
    """What the LLM reads: the answer's JSON object, or its text."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = raw.decode("utf-8", "replace")[:MAX_TEXT_CHARS].strip() or ("done" if status < 300 else "")
    answer = answer if isinstance(answer, dict) else {"result": answer}
    if 200 <= status < 300:
        return ToolResult.success(answer, effect=effect, data={"booking_id": str(answer.get("booking_id", ""))[:64]})
    log.warning("tool %s: status %d", name, status)
    told = answer.get("error")
    if 400 <= status < 500 and status not in (401, 403) and isinstance(told, str) and told:
        return ToolResult.error(f"nothing was done: {told[:300]}")
    return ToolResult.error(
        f"{name} refused (status {status}); apologise, and do not say that it is done", reason=f"http_{status}"
    )
