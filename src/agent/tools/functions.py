"""A user's own tools as Python functions: what the LLM is told of them comes from signature and docstring.

from typing import Annotated, Literal
from agent.tools import ToolContext, tool

@tool(acts=True)
def leave_message(
    text: Annotated[str, "What the caller wants to have passed on"],
    urgency: Literal["today", "this week"] = "this week",
    *, context: ToolContext,
) -> dict[str, str]:
    '''Take a message for the office.'''
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import inspect
import re
import threading
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, overload

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from agent.tools.registry import MAX_REPORTED_ERRORS, Tool, ToolContext, ToolError, ToolResult

Function = TypeVar("Function", bound=Callable[..., Any])
MAX_THREADS = 32
"""Functions that are not async and run at once, of all calls; one that hangs keeps its place until it returns."""
TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 30.0  # below what the turn machine takes for a tool that hangs
_MARK = "__agent_tool__"
_threads = threading.BoundedSemaphore(MAX_THREADS)


@dataclasses.dataclass(frozen=True, slots=True)
class _Options:
    description: str = ""
    acts: bool = False
    timeout_s: float = TIMEOUT_S


@overload
def tool(function: Function, /) -> Function: ...
@overload
def tool(*, description: str = ..., acts: bool = ..., timeout_s: float = ...) -> Callable[[Function], Function]: ...
def tool(
    function: Function | None = None,
    /,
    *,
    description: str = "",
    acts: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Function | Callable[[Function], Function]:
    """Say of a function what its signature cannot: as `@tool` or `@tool(acts=True, timeout_s=3)`.

    `acts` is for what books, sends or changes something: it waits until the caller's turn is certain. `timeout_s` is at
    most 30. `description` takes the place of the docstring. The function stays as it is.

    Raises `ValueError` for a `timeout_s` out of range.
    """
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise ValueError(f"timeout_s is {timeout_s}; it must be above 0 and at most {LONGEST_TIMEOUT_S:g} s")

    def mark(marked: Function) -> Function:
        setattr(marked, _MARK, _Options(description, acts, timeout_s))
        return marked

    return mark if function is None else mark(function)


def is_marked(value: object) -> bool:
    """Whether a value is a function that was decorated with `tool`."""
    return inspect.isfunction(value) and hasattr(value, _MARK)


def tool_of(function: Callable[..., Any]) -> Tool:
    """Return a function as a tool, decorated or not.

    Parameters may be of any type that pydantic reads from JSON: `str`, `int`, `float`, `bool`, `Literal`, `Enum`,
    `list[...]`, `X | None`, dates, and `Annotated[X, "what it is"]`. One of the type `ToolContext` gets the call. An
    async function runs on the event loop, another one on a thread. What it returns goes to the LLM as JSON; a
    `ToolResult` goes as it is, and `ToolError` is an answer too. Raises `ValueError` for a function that cannot be one.
    """
    options: _Options = getattr(function, _MARK, _Options())
    name = function.__name__
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
        raise ValueError(f"{name!r} is no name for a tool; use at most 64 letters, digits and _")
    summary, told = _docstring(function)
    description = options.description or summary
    if not description:
        raise ValueError(f"{name} has no docstring: its first lines tell the LLM what the tool is for")
    model, takes_context = _arguments(function, name, told)

    async def handler(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        try:
            given = model.model_validate(dict(arguments))
        except ValidationError as error:
            return ToolResult.error(f"nothing was done: {_explain(error)}", reason="bad_arguments")
        values: dict[str, Any] = {str(field.alias): getattr(given, own) for own, field in model.model_fields.items()}
        if takes_context:
            values[takes_context] = context
        try:
            if inspect.iscoroutinefunction(function):
                answer = await function(**values)
            else:
                answer = await _on_a_thread(function, values)
        except ToolError as error:
            return ToolResult.error(str(error))
        return result_of(answer)

    return Tool(
        name=name,
        description=description,
        parameters=_schema(model),
        handler=handler,
        acts=options.acts,
        timeout_s=options.timeout_s,
    )


def result_of(answer: object) -> ToolResult:
    """Return what a function returned as a result: an object as it is, anything else as its `result`.

    Raises `ValueError` for what has no form in JSON.
    """
    if isinstance(answer, ToolResult):
        return answer
    plain = to_jsonable_python({"status": "done"} if answer is None else answer)
    return ToolResult.success(plain if isinstance(plain, dict) else {"result": plain})


# ---- what the LLM is told -------------------------------------------------------------------------------------------


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what "Args:" says of each parameter."""
    text = inspect.getdoc(function) or ""
    summary = " ".join(text.partition("\n\n")[0].split())
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    told: dict[str, str] = {}
    for line in section[1].splitlines() if section else ():
        entry = re.fullmatch(r"\s+(\w+)(?: \([^)]*\))?: (.+)", line)
        if entry:
            told[entry[1]] = entry[2].strip()
        elif told and line.strip():
            last = next(reversed(told))
            told[last] = f"{told[last]} {line.strip()}"
    return ("" if summary.startswith("Args:") else summary), told


def _arguments(function: Callable[..., Any], name: str, told: Mapping[str, str]) -> tuple[type[BaseModel], str]:
    """A model of the parameters, and which of them is the call's context, if any."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ValueError(f"{name}: a type of its signature cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    context = ""
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if hint is ToolContext:
            context = parameter.name
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(
                f"{name}: the LLM gives arguments by name, so {parameter} cannot be filled; give each a name"
            )
        if hint is None:
            raise ValueError(f"{name}: {parameter.name} has no type; write for example {parameter.name}: str")
        described = get_origin(hint) is Annotated
        texts = [note for note in get_args(hint)[1:] if isinstance(note, str)] if described else []
        default = ... if parameter.default is parameter.empty else parameter.default
        description = texts[0] if texts else told.get(parameter.name)
        # Fields of names of their own: a model has attributes such as `json` already.
        fields[f"argument_{len(fields)}"] = (hint, Field(default, alias=parameter.name, description=description))
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        _schema(model)
    except (PydanticUserError, NameError, TypeError) as error:
        raise ValueError(f"{name}: a parameter's type has no form in JSON: {str(error).splitlines()[0]}") from error
    return model, context


class _PlainSchema(GenerateJsonSchema):
    """Without titles: they say what the names say, and are read anew for each reply."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_PlainSchema)
    definitions = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inline(schema, definitions)
    inlined.pop("title", None)
    return {**inlined, "properties": inlined.get("properties", {}), "additionalProperties": False}


def _inline(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """A schema with what it refers to in its place: not every LLM reads references."""
    if depth > 20:
        raise TypeError("a type refers to itself")
    if isinstance(schema, list):
        return [_inline(part, definitions, depth) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = {k: v for k, v in definitions[schema["$ref"].rpartition("/")[2]].items() if k != "title"}
        rest = {k: v for k, v in schema.items() if k != "$ref"}
        return _inline({**target, **rest}, definitions, depth + 1)
    return {key: _inline(value, definitions, depth + 1) for key, value in schema.items()}


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)[:MAX_REPORTED_ERRORS]
    return "; ".join(f"{'.'.join(str(part) for part in p['loc'])}: {p['msg'][:200]}" for p in problems)


# ---- running it -----------------------------------------------------------------------------------------------------


async def _on_a_thread(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Run a function that may block. A thread cannot be stopped: one whose time is up runs on, and its place stays
    taken; the thread is a daemon, so that it does not hold up the agent's end.
    """
    if not _threads.acquire(blocking=False):
        raise ToolError("too much is being looked up just now; apologise, and try again in a moment")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    surroundings = contextvars.copy_context()

    def settle(answer: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(answer)

    def work() -> None:
        answer: Any = None
        failure: BaseException | None = None
        try:
            answer = surroundings.run(function, **values)
        except BaseException as error:
            # A future carries no StopIteration.
            failure = error
            if isinstance(error, StopIteration):
                failure = RuntimeError("StopIteration").with_traceback(error.__traceback__)
        finally:
            _threads.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, answer, failure)

    threading.Thread(target=work, name=f"tool {function.__name__}", daemon=True).start()
    return await done
