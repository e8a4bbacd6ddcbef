"""Any OpenAI-compatible chat API, streamed; Groq is the one it is made for.

Groq's stream as recorded (console.groq.com/docs): the first chunk is empty and no token; gpt-oss reasons before it
speaks (`delta.reasoning`); a tool call comes whole in one chunk, which is no promise, so it is gathered by index;
errors can come inside a 200 stream, as `error` or `x_groq.error`; a stream can end without `[DONE]`, so only a
`finish_reason` makes it complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall, why_not
from agent.providers.metering import METER, Answer
from agent.providers.quoting import without_quotes

log = logging.getLogger(__name__)

VENDOR = "LLM"
MAX_EVENT_BYTES = 256 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
RUN_OUT_S = 0.4  # a reply that nobody wants any more is closed then; a short one has ended by itself
RUNNING_OUT = 64
FRESH_TRIES = 2  # connections that the vendor closes between two turns: so often the request is sent anew, at once
LONGEST_RETRY_AFTER_S = 600.0  # a limit of a whole day is looked at again sooner
USER_AGENT = "fastaudio-agent"  # some user agents of HTTP libraries are turned away by the vendor's front
GO_ON = (
    "(Your answer was cut off there by a technical fault. Go on with its very next word. Do not begin anew, and do not "
    "mention this.)"
)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How replies are asked for. Times in s: to connect, TLS included, and without a byte (the first, or the next)."""

    url: str
    api_key: str = field(repr=False)
    """Empty for a server that wants none."""
    model: str
    temperature: float = 0.3
    max_tokens: int = 250
    reasoning_effort: str = "low"
    connect_s: float = 1.0
    silent_s: float = 3.0
    limit_name: str = "max_completion_tokens"
    """What the vendor calls the limit of tokens. Ollama knows only `max_tokens`, which OpenAI's newer models refuse."""
    price_name: str = ""
    """What the model is called in the table of prices; empty: by its name."""

    @property
    def billed_as(self) -> str:
        """As what its tokens are counted."""
        return self.price_name or self.model


@dataclass(frozen=True, slots=True)
class Alive:
    """Something came that is no word: the first, empty chunk, reasoning, a piece of a tool call."""

    calls: tuple[ToolCall, ...] = ()
    """The tool calls that are complete by now: their arguments are whole JSON objects."""


ALIVE = Alive()
DONE = b"[DONE]"


class ChatModel:
    """One model behind one URL."""

    def __init__(self, options: ChatOptions, session: aiohttp.ClientSession) -> None:
        self.options = options
        self._session = session
        self._running_out: set[asyncio.Task[None]] = set()
        self._wants_telling = False
        self.counters: Counter[str] = Counter()
        """`requests`, `sent_anew` (on a fresh connection), `refused_calls`. Tokens are counted by the call's meter."""

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        """The reply as it comes. Raises `ProviderError`, also in mid-reply."""
        async with aclosing(self.stream(messages, tools)) as events:
            async for event in events:
                if not isinstance(event, Alive):
                    yield event

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        *,
        partial: str = "",
        told: bool = False,
    ) -> AsyncGenerator[LlmEvent | Alive]:
        """The same, and a sign of life for whatever else comes.

        With `partial` the reply is one that has begun with these words, and the model is asked to go on with it. They
        stand as the last message, which Groq ("Assistant message prefilling"), Ollama and llama.cpp go on with. Others
        take it for whole and begin anew, or refuse it (llama.cpp with reasoning, Mistral); these, and any if `told`,
        are asked in words as well.
        """
        if partial:
            messages = [*messages, {"role": "assistant", "content": partial.rstrip()}]
            if told or self._wants_telling:
                messages.append({"role": "user", "content": GO_ON})
        begun = False
        try:
            async with aclosing(self._stream(messages, tools)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except ProviderError as error:
            if begun or not partial or messages[-1]["role"] == "user" or error.status not in (400, 422):
                raise
        self._wants_telling = True
        log.info("%s takes no unfinished message as the last one: it is asked in words", self.options.model)
        async with aclosing(self._stream([*messages, {"role": "user", "content": GO_ON}], tools)) as events:
            async for event in events:
                yield event

    def _body(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
        options = self.options
        body: dict[str, Any] = {
            "model": options.model,
            "messages": list(messages),
            "stream": True,
            "temperature": options.temperature,
            options.limit_name: options.max_tokens,
        }
        if tools:
            body["tools"] = list(tools)
        if options.reasoning_effort and "gpt-oss" in options.model:
            body["reasoning_effort"] = options.reasoning_effort
            # Reasoning counts against the limit, and would otherwise eat the answer.
            body[options.limit_name] += 400
        return body

    async def _stream(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[LlmEvent | Alive]:
        model = self.options.model
        body = orjson.dumps(self._body(messages, tools))
        try:
            response = await self._post(body)
            lines = _ServerSentEvents(response.content)
            reply: _Reply | None = None
            try:
                if response.status != 200:
                    text = (await response.content.read(MAX_REFUSAL_BYTES)).decode("utf-8", "replace")
                    if (refused := _refused_call(_error_of(text))) is None:
                        raise _refusal(response, text, messages)
                    self.counters["refused_calls"] += 1
                    yield refused
                    yield Finished("tool_calls", 0, 0, model)
                    return
                reply = _Reply(model, METER.get().answer(self.options.billed_as, len(body)))
                yield ALIVE
                while (data := await lines.next()) not in (None, DONE):
                    for event in reply.take(data):
                        yield event
                finished = reply.finish()
                for call in reply.calls():
                    yield call
                yield finished
            finally:
                self._let_go(response, lines, reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderError(VENDOR, f"no answer from {self.options.url}: {why_not(error)}") from error

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        """Send the request. A connection that was closed meanwhile is no failure of the vendor's: the next is taken."""
        options = self.options
        timeout = aiohttp.ClientTimeout(
            total=30.0, connect=2 * options.connect_s, sock_connect=options.connect_s, sock_read=options.silent_s
        )
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key}"
        for left in range(FRESH_TRIES, -1, -1):
            self.counters["requests"] += 1
            METER.get().add("llm", options.billed_as, "requests", 1)
            try:
                return await self._session.post(
                    f"{options.url}/chat/completions", data=body, headers=headers, timeout=timeout
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not left or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                self.counters["sent_anew"] += 1
        raise AssertionError("the last try returns or raises")

    def _let_go(self, response: aiohttp.ClientResponse, lines: _ServerSentEvents, reply: _Reply | None) -> None:
        """Give the connection back, behind what is left of the reply: closing it would cost the next turn a new one.

        What is left may also tell how many tokens the reply took.
        """
        if response.content.at_eof() or len(self._running_out) >= RUNNING_OUT:
            response.release()
            if reply is not None:
                reply.settle()
            return
        if reply is not None and reply.told:
            reply.settle()
        task = asyncio.create_task(_run_out(response, lines, reply), name="llm runs out")
        self._running_out.add(task)
        task.add_done_callback(self._running_out.discard)


async def _run_out(response: aiohttp.ClientResponse, lines: _ServerSentEvents, reply: _Reply | None) -> None:
    try:
        # A RuntimeError is what aiohttp has for a session that is closed meanwhile.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, RuntimeError):
            async with asyncio.timeout(RUN_OUT_S):
                while (data := await lines.next()) is not None:
                    if reply is not None and data != DONE:
                        with contextlib.suppress(ProviderError):
                            reply.take(data)
    finally:
        if reply is not None:
            reply.settle()
        response.release()


def _error_of(text: str) -> Any:
    try:
        return orjson.loads(text)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _refused_call(error: Any) -> ToolCall | None:
    """The tool call that the vendor refused on our behalf, since its arguments break the schema; None for all else.

    Groq answers HTTP 400 `tool_use_failed` then, or has that error in the stream, with what the model wrote as
    `failed_generation`. Given on, it is judged like any other, and the model is told what is wrong with it.
    """
    try:
        if error["code"] != "tool_use_failed":
            return None
        written = orjson.loads(error["failed_generation"])
        arguments = written["arguments"]
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        return ToolCall(uuid.uuid4().hex, str(written["name"]), arguments)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _refusal(response: aiohttp.ClientResponse, text: str, messages: Sequence[Message]) -> ProviderError:
    try:
        error = orjson.loads(text)["error"]
        said = str(error.get("code") or error.get("type") or "")
        if response.status not in (401, 403):  # some vendors repeat a part of the key there
            said += f": {str(error.get('message') or '')[:200]}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        said = " ".join(text.split())[:100]
    try:
        retry_after = float(response.headers.get("retry-after", "0"))
    except ValueError:
        retry_after = 0.0
    if not 0.0 <= retry_after <= LONGEST_RETRY_AFTER_S:  # also what is no number, and what never ends
        retry_after = LONGEST_RETRY_AFTER_S if retry_after > 0 else 0.0
    return ProviderError(
        VENDOR,
        f"{response.url} answered HTTP {response.status} {without_quotes(said, messages)}".strip(),
        status=response.status,
        retry_after_s=retry_after,
    )


def _is_object(text: str) -> bool:
    """Whether a tool call's arguments are whole: nothing more can come of them then."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


class _ServerSentEvents:
    """The events of a stream, one by one. Who waits for one may be cancelled, and another one go on."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._buffer = b""
        self._ended = False

    async def next(self) -> bytes | None:
        """The `data` of the next event that has some; None at the end. Several may come in one read, one in several."""
        while True:
            if (end := self._buffer.find(b"\n\n")) >= 0:
                event, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            elif self._ended:  # the last one may lack its empty line
                event, self._buffer = self._buffer, b""
                if not event:
                    return None
            elif len(self._buffer) > MAX_EVENT_BYTES:
                self._buffer = b""
                raise ProviderError(VENDOR, f"an event of more than {MAX_EVENT_BYTES} bytes")
            else:
                chunk = await self._content.readany()
                self._ended = not chunk
                self._buffer = (self._buffer + chunk).replace(b"\r\n", b"\n")  # the two may come apart
                continue
            if data := _data(event):
                return data


def _data(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))


class _Reply:
    """What has come of one reply."""

    def __init__(self, model: str, answer: Answer) -> None:
        self._model = model
        self._answer = answer
        self._calls: dict[int, dict[str, str]] = {}
        self._reason = ""
        self._usage: dict[str, Any] = {}

    @property
    def told(self) -> bool:
        """Whether the vendor has said how many tokens it took."""
        return bool(self._usage)

    def settle(self) -> None:
        """Nothing more comes that counts."""
        self._answer.settle(self._usage)

    def take(self, data: bytes) -> Sequence[Text | Alive]:
        """Take one event's data; the words in it. Raises `ProviderError` for an error inside the stream."""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise ProviderError(VENDOR, "an event that is no JSON") from error
        try:
            return self._understand(document)
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise ProviderError(VENDOR, "an event that is not of the chat API's shape") from error

    def _understand(self, document: Any) -> Sequence[Text | Alive]:
        if document.get("error") or (document.get("x_groq") or {}).get("error"):
            error_body = document.get("error")
            if (refused := _refused_call(error_body)) is not None:
                self._calls = {0: {"id": refused.id, "name": refused.name, "arguments": refused.arguments}}
                self._reason = "tool_calls"
                return [Alive((refused,))]
            code = error_body.get("code", "") if isinstance(error_body, dict) else ""
            raise ProviderError(VENDOR, f"an error inside the stream: {code}")
        usage = document.get("usage") or (document.get("x_groq") or {}).get("usage")
        self._usage = usage if isinstance(usage, dict) and usage else self._usage
        words: list[Text | Alive] = []
        parts = False
        for choice in document.get("choices") or ():
            delta = choice.get("delta") or {}
            self._answer.characters += len(delta.get("reasoning") or "")
            if content := delta.get("content"):
                self._answer.characters += len(content)
                words.append(Text(str(content)))
            for part in delta.get("tool_calls") or ():
                self._gather(part)
                parts = True
            self._reason = choice.get("finish_reason") or self._reason
        if parts:
            words.append(Alive(tuple(call for call in self.calls() if _is_object(call.arguments))))
        return words or [ALIVE]

    def _gather(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(int(part.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        # Some compatible servers give no id; the answer must name one all the same.
        call["id"] = part.get("id") or call["id"] or uuid.uuid4().hex
        call["name"] = function.get("name") or call["name"]
        call["arguments"] += function.get("arguments") or ""
        self._answer.characters += len(function.get("arguments") or "")

    def finish(self) -> Finished:
        """The end of the reply. Raises `ProviderError` when the stream broke off before it."""
        if not self._reason:
            raise ProviderError(VENDOR, "the stream broke off")
        return Finished(
            self._reason,
            int(self._usage.get("prompt_tokens") or 0),
            int(self._usage.get("completion_tokens") or 0),
            self._model,
        )

    def calls(self) -> list[ToolCall]:
        """The tool calls, in their order."""
        return [ToolCall(call["id"], call["name"], call["arguments"]) for _, call in sorted(self._calls.items())]
