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
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall

log = logging.getLogger(__name__)

VENDOR = "LLM"
MAX_EVENT_BYTES = 256 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
RUN_OUT_S = 0.4  # a reply that nobody wants any more is closed then; a short one has ended by itself
RUNNING_OUT = 64
LONGEST_WAIT_S = 1.0  # a caller waits no longer for a limit to pass; then the reply fails
USER_AGENT = "fastaudio-agent"  # some user agents of HTTP libraries are turned away by the vendor's front


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How replies are asked for. Times in s: to connect, and without a byte (before the first one, or between two)."""

    url: str
    api_key: str = field(repr=False)
    model: str
    fallback_model: str = ""
    temperature: float = 0.3
    max_tokens: int = 250
    reasoning_effort: str = "low"
    connect_s: float = 1.0
    silent_s: float = 2.0


class ChatModel:
    """Streams replies; when the model fails before its first word, the fallback model is asked."""

    def __init__(self, options: ChatOptions, session: aiohttp.ClientSession) -> None:
        self._options = options
        self._session = session
        self._running_out: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()
        """`requests`, `fallbacks`, `errors`, `rested` (a model left alone until its limit has passed),
        `prompt_tokens`, `completion_tokens`."""
        self._rests_until: dict[str, float] = {}

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        """The reply as it comes. Raises `ProviderError` when every model failed, or one failed in mid-reply.

        A model that answered 429 is not asked again before its `retry-after`; where no other is left, that is waited
        for if it takes no longer than `LONGEST_WAIT_S`.
        """
        models = await self._awake()
        for index, model in enumerate(models):
            spoken = False
            try:
                async with aclosing(self._stream(model, messages, tools)) as events:
                    async for event in events:
                        spoken = True
                        yield event
                return
            except ProviderError as error:
                self.counters["errors"] += 1
                log.warning("%s (model %s)", error, model)
                if error.retry_after_s > 0:
                    self._rests_until[model] = time.monotonic() + error.retry_after_s
                if spoken or index + 1 == len(models):
                    raise
                self.counters["fallbacks"] += 1

    async def _awake(self) -> list[str]:
        """The models that may be asked now, in their order; at least one, or `ProviderError`."""
        models = [model for model in (self._options.model, self._options.fallback_model) if model]
        rests = {model: self._rests_until.get(model, 0.0) - time.monotonic() for model in models}
        awake = [model for model in models if rests[model] <= 0]
        self.counters["rested"] += len(models) - len(awake)
        if awake:
            return awake
        first = min(models, key=lambda model: rests[model])
        if rests[first] > LONGEST_WAIT_S:
            raise ProviderError(
                VENDOR, f"every model is over its limit, for {rests[first]:.0f} s yet", status=429,
                retry_after_s=rests[first],
            )  # fmt: skip
        await asyncio.sleep(rests[first])
        return [first]

    def _body(self, model: str, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "temperature": self._options.temperature,
            "max_completion_tokens": self._options.max_tokens,
        }
        if tools:
            body["tools"] = list(tools)
        if self._options.reasoning_effort and "gpt-oss" in model:
            body["reasoning_effort"] = self._options.reasoning_effort
            # Reasoning counts against the limit, and would otherwise eat the answer.
            body["max_completion_tokens"] += 400
        return body

    async def _stream(
        self, model: str, messages: Sequence[Message], tools: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[LlmEvent]:
        self.counters["requests"] += 1
        timeout = aiohttp.ClientTimeout(
            total=30.0, sock_connect=self._options.connect_s, sock_read=self._options.silent_s
        )
        headers = {
            "Authorization": f"Bearer {self._options.api_key}",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        body = orjson.dumps(self._body(model, messages, tools))
        try:
            response = await self._session.post(
                f"{self._options.url}/chat/completions", data=body, headers=headers, timeout=timeout
            )
            try:
                if response.status != 200:
                    text = (await response.content.read(MAX_REFUSAL_BYTES)).decode("utf-8", "replace")
                    if (refused := _refused_call(text)) is None:
                        raise _refusal(response, text)
                    self.counters["refused_calls"] += 1
                    yield refused
                    yield Finished("tool_calls", 0, 0, model)
                    return
                reply = _Reply(model)
                async with aclosing(_server_sent_events(response.content)) as lines:
                    async for data in lines:
                        if data == b"[DONE]":
                            break
                        for event in reply.take(data):
                            yield event
                finished = reply.finish()
                self.counters["prompt_tokens"] += finished.prompt_tokens
                self.counters["completion_tokens"] += finished.completion_tokens
                for call in reply.calls():
                    yield call
                yield finished
            finally:
                self._let_go(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderError(VENDOR, f"no answer from {self._options.url}: {type(error).__name__}") from error

    def _let_go(self, response: aiohttp.ClientResponse) -> None:
        """Give the connection back, behind what is left of the reply: closing it would cost the next turn a new one."""
        if response.content.at_eof() or len(self._running_out) >= RUNNING_OUT:
            response.release()
            return
        task = asyncio.create_task(_run_out(response), name="llm runs out")
        self._running_out.add(task)
        task.add_done_callback(self._running_out.discard)


async def _run_out(response: aiohttp.ClientResponse) -> None:
    try:
        # A RuntimeError is what aiohttp has for a session that is closed meanwhile.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, RuntimeError):
            async with asyncio.timeout(RUN_OUT_S):
                while await response.content.readany():
                    pass
    finally:
        response.release()


def _refused_call(text: str) -> ToolCall | None:
    """The tool call that the vendor refused on our behalf, since its arguments break the schema; None for all else.

    Groq answers HTTP 400 `tool_use_failed` then, with what the model wrote as `failed_generation`. Given on, it is
    judged like any other, and the model is told what is wrong with it.
    """
    try:
        error = orjson.loads(text)["error"]
        if error["code"] != "tool_use_failed":
            return None
        written = orjson.loads(error["failed_generation"])
        arguments = written["arguments"]
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        return ToolCall(uuid.uuid4().hex, str(written["name"]), arguments)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _refusal(response: aiohttp.ClientResponse, text: str) -> ProviderError:
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
    return ProviderError(
        VENDOR,
        f"{response.url} answered HTTP {response.status} {said}".strip(),
        status=response.status,
        retry_after_s=retry_after,
    )


async def _server_sent_events(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """The `data` of each event. Several may come in one read, and one in several."""
    buffer = b""
    async for chunk in content.iter_any():
        buffer = (buffer + chunk).replace(b"\r\n", b"\n")  # the two may come apart
        while (end := buffer.find(b"\n\n")) >= 0:
            event, buffer = buffer[:end], buffer[end + 2 :]
            if data := _data(event):
                yield data
        if len(buffer) > MAX_EVENT_BYTES:
            raise ProviderError(VENDOR, f"an event of more than {MAX_EVENT_BYTES} bytes")
    if data := _data(buffer):  # the last one may lack its empty line
        yield data


def _data(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))


class _Reply:
    """What has come of one reply."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._calls: dict[int, dict[str, str]] = {}
        self._reason = ""
        self._usage: dict[str, Any] = {}

    def take(self, data: bytes) -> list[Text]:
        """Take one event's data; the words in it. Raises `ProviderError` for an error inside the stream."""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise ProviderError(VENDOR, "an event that is no JSON") from error
        try:
            return self._understand(document)
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise ProviderError(VENDOR, "an event that is not of the chat API's shape") from error

    def _understand(self, document: Any) -> list[Text]:
        if document.get("error") or (document.get("x_groq") or {}).get("error"):
            error_body = document.get("error")
            code = error_body.get("code", "") if isinstance(error_body, dict) else ""
            raise ProviderError(VENDOR, f"an error inside the stream: {code}")
        self._usage = document.get("usage") or (document.get("x_groq") or {}).get("usage") or self._usage
        words = []
        for choice in document.get("choices") or ():
            delta = choice.get("delta") or {}
            if content := delta.get("content"):
                words.append(Text(str(content)))
            for part in delta.get("tool_calls") or ():
                self._gather(part)
            self._reason = choice.get("finish_reason") or self._reason
        return words

    def _gather(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(int(part.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] = function.get("name") or call["name"]
        call["arguments"] += function.get("arguments") or ""

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
        # Some compatible servers give no id; the answer must name one all the same.
        return [
            ToolCall(call["id"] or uuid.uuid4().hex, call["name"], call["arguments"])
            for _, call in sorted(self._calls.items())
        ]
