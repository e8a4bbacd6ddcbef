"""Groq's chat completions on their own wire, with a scripted brain behind.

Source: Groq's API reference, recorded streams of gpt-oss-120b, and its SDK 1.7.0 (2026).
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from agent.sandbox import brain, going_on, rehearsed
from agent.sandbox.config import GroqConfig
from agent.sandbox.control import Control, StreamFaults
from agent.sandbox.going_on import Brain
from agent.sandbox.groq_request import ChatRequest, RequestRefused, check_call, parse

_TOKEN = re.compile(r"\s?[^\W_]{1,7}|\s?[^\w\s]|\s+|_")
_THOUGHT = "We need to follow the steps: see which one comes next, then answer with one short sentence. "
_REQUESTS_A_DAY = 500_000
_REMEMBERED_PREFIXES = 64


def tokens_of(text: str) -> list[str]:
    """Text in pieces of about a token; they join to the text."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class _Generation:
    """What the model makes of a request, cut at its token limit."""

    reasoning: list[str]
    content: list[str]
    calls: list[dict[str, Any]]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int

    @property
    def completion_tokens(self) -> int:
        calls = sum(len(tokens_of(call["function"]["arguments"])) for call in self.calls)
        return len(self.reasoning) + len(self.content) + calls


class GroqEmulator:
    """The server application; `app` goes on a port of its own."""

    def __init__(self, control: Control[GroqConfig], think: Brain = brain.answer) -> None:
        """`think(messages, tools)` makes the answers."""
        self.control = control
        self._think = think
        self._minute: deque[tuple[float, int]] = deque()
        self._prefixes: OrderedDict[int, None] = OrderedDict()
        self._created = int(time.time())
        self.app = web.Application(client_max_size=4 * 2**20)
        self.app.add_routes(
            [
                web.post("/openai/v1/chat/completions", self._complete),
                web.get("/openai/v1/models", self._models),
                *control.routes(),
            ]
        )

    async def _models(self, request: web.Request) -> web.StreamResponse:
        try:
            self._authorise(request)
        except RequestRefused as refused:
            return self._refuse(refused)
        data = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": name.split("/")[0],
                "active": True,
                "context_window": 131072,
                "max_completion_tokens": 65536,
                "public_apps": None,
            }
            for name in self.control.config.models
        ]
        return web.json_response({"object": "list", "data": data})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        control = self.control
        came = asyncio.get_running_loop().time()
        control.count("requests")
        if (refusal := await control.refusal()) is not None:
            return refusal
        if control.faults.take("drop") and request.transport is not None:
            control.count("dropped_by_fault")
            request.transport.abort()
            return web.Response()
        control.gauges["requests"] += 1
        try:
            self._authorise(request)
            chat = parse(await request.read(), control.config.models)
            generation = self._generate(chat)
            headers = self._admit(generation)
            return await _Reply(control, request, chat, generation, headers, came).send()
        except RequestRefused as refused:
            return self._refuse(refused)
        finally:
            control.gauges["requests"] -= 1

    def _authorise(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.control.known(key.strip()):
            raise RequestRefused(401, "Invalid API Key", "invalid_api_key")

    def _refuse(self, refused: RequestRefused) -> web.Response:
        self.control.count(f"refused_{refused.status}")
        headers = {}
        if "retry_after" in refused.error:
            headers["retry-after"] = str(refused.error.pop("retry_after"))
        return web.json_response({"error": refused.error}, status=refused.status, headers=headers)

    def _generate(self, chat: ChatRequest) -> _Generation:
        answer = going_on.answer(self._think, chat, self.control.config.unfinished)
        if answer is rehearsed.LOST:
            self.control.count("off_script")
        calls: list[dict[str, Any]] = []
        for call in answer.calls:
            check_call(chat, call.name, call.arguments)
            function = {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()}
            calls.append({"id": f"fc_{uuid.uuid4()}", "type": "function", "function": function})
            self.control.count(f"tool_{call.name}")
        thoughts = self.control.config.reasoning_tokens.get(chat.effort or "", 0)
        thought = tokens_of(_THOUGHT)
        reasoning = [thought[index % len(thought)] for index in range(thoughts)][: chat.max_tokens]
        content = tokens_of(answer.text)[: chat.max_tokens - len(reasoning)]
        cut = len(reasoning) + len(tokens_of(answer.text)) > chat.max_tokens or (
            bool(calls) and len(reasoning) + len(content) >= chat.max_tokens
        )
        prefix = orjson.dumps([chat.model, chat.tools, chat.messages[0]])
        known = hash(prefix) in self._prefixes
        self._prefixes[hash(prefix)] = None
        self._prefixes.move_to_end(hash(prefix))
        if len(self._prefixes) > _REMEMBERED_PREFIXES:
            self._prefixes.popitem(last=False)
        return _Generation(
            reasoning=reasoning,
            content=content,
            calls=[] if cut else calls,
            finish_reason="length" if cut else "tool_calls" if calls else "stop",
            prompt_tokens=len(orjson.dumps([chat.messages, chat.tools])) // 4,
            cached_tokens=len(prefix) // 4 if known else 0,
        )

    def _admit(self, generation: _Generation) -> dict[str, str]:
        """The rate-limit headers. Raises `RequestRefused` (429, with retry-after) above a limit."""
        config, now = self.control.config, time.monotonic()
        while self._minute and now - self._minute[0][0] >= 60.0:
            self._minute.popleft()
        asked = generation.prompt_tokens + generation.completion_tokens - generation.cached_tokens
        used = sum(tokens for _, tokens in self._minute)
        if len(self._minute) >= config.requests_per_minute or used + asked > config.tokens_per_minute:
            wait = max(1, round(self._minute[0][0] + 60.0 - now)) if self._minute else 60
            raise RequestRefused(
                429,
                f"Rate limit reached. Please try again in {wait}s.",
                "rate_limit_exceeded",
                type="tokens" if used + asked > config.tokens_per_minute else "requests",
                retry_after=wait,
            )
        self._minute.append((now, asked))
        return {
            "x-ratelimit-limit-requests": str(_REQUESTS_A_DAY),
            "x-ratelimit-remaining-requests": str(max(0, _REQUESTS_A_DAY - self.control.counters["requests"])),
            "x-ratelimit-reset-requests": "172.8ms",
            "x-ratelimit-limit-tokens": str(config.tokens_per_minute),
            "x-ratelimit-remaining-tokens": str(config.tokens_per_minute - used - asked),
            "x-ratelimit-reset-tokens": f"{60 * (used + asked) / config.tokens_per_minute:.3g}s",
            "x-groq-region": "sandbox",
        }


class _Reply:
    """One answer, streamed or whole, at the pace of the settings."""

    def __init__(
        self,
        control: Control[GroqConfig],
        request: web.Request,
        chat: ChatRequest,
        generation: _Generation,
        headers: dict[str, str],
        came: float,
    ) -> None:
        self._control = control
        self._request = request
        self._chat = chat
        self._generation = generation
        self._headers = headers
        self._id = f"chatcmpl-{uuid.uuid4()}"
        self._request_id = f"req_{uuid.uuid4().hex[:26]}"
        self._created = int(time.time())
        self._came = came
        config, dice = control.config, control.dice
        self._token_s = self._thought_s = 1.0 / config.tokens_per_second
        self._queue_s, self._prompt_s = dice.seconds(config.queue), dice.seconds(config.prompt)
        if config.first_token is not None:
            # The whole wait is given: the reasoning ends in time for it, quicker than usual if need be.
            first_s, thoughts = dice.seconds(config.first_token), len(generation.reasoning) + 1
            self._thought_s = min(self._token_s, first_s / thoughts)
            self._queue_s, self._prompt_s = first_s - thoughts * self._thought_s, 0.0

    async def send(self) -> web.StreamResponse:
        """Send the answer."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._came + self._queue_s - loop.time())
        if not self._chat.stream:
            await asyncio.sleep(self._prompt_s + self._made_s(self._generation.completion_tokens))
            return web.json_response(self._whole(), headers=self._headers)
        response = web.StreamResponse(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                **self._headers,
            }
        )
        await response.prepare(self._request)
        try:
            await self._stream(response)
        except asyncio.CancelledError:
            self._control.count("streams_cancelled")
            raise
        except ConnectionError:
            self._control.count("streams_cancelled")
        return response

    async def _stream(self, response: web.StreamResponse) -> None:
        faults = StreamFaults()
        faults.draw_stream(self._control.faults)
        loop = asyncio.get_running_loop()
        begun = self._came + self._queue_s + self._prompt_s
        self._control.count("tokens_in", self._generation.prompt_tokens)
        self._control.count("tokens_cached", self._generation.cached_tokens)
        made = 0
        for sent, (chunk, tokens) in enumerate(self._chunks()):
            self._control.count("tokens_out", tokens - made)
            made = tokens
            pause = begun + self._made_s(tokens) - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            if faults.silent_at is not None and sent >= faults.silent_at:
                self._control.count("streams_gone_silent")
                await asyncio.Event().wait()
            if faults.close_at is not None and sent >= faults.close_at:
                self._control.count("closed_by_fault")
                if self._request.transport is not None:
                    self._request.transport.abort()
                return
            if faults.error_at is not None and sent >= faults.error_at:
                error = {
                    "message": "Internal server error",
                    "type": "internal_server_error",
                    "code": "internal_error",
                }
                await response.write(b"data: " + orjson.dumps({"error": error}) + b"\n\n")
                return
            if faults.cut_at is not None and sent >= faults.cut_at:
                self._control.count("cut_by_fault")
                return
            data = b"{garbage" if sent == faults.garbage_at else orjson.dumps(chunk)
            await response.write(b"data: " + data + b"\n\n")
        if faults.omit_done:
            self._control.count("end_markers_omitted")
            return
        await response.write(b"data: [DONE]\n\n")
        self._control.count("streams_completed")

    def _made_s(self, tokens: int) -> float:
        """How long it takes to make so many tokens, the reasoning and the first word at their own speed."""
        thoughts = min(tokens, len(self._generation.reasoning) + 1)
        return thoughts * self._thought_s + (tokens - thoughts) * self._token_s

    def _chunks(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Each chunk, with the number of tokens that have to be made before it."""
        generation = self._generation
        yield self._chunk({"role": "assistant", "content": ""}, x_groq={"id": self._request_id}), 0
        made = 0
        for token in generation.reasoning:
            made += 1
            if self._chat.shows_reasoning:
                delta = {"reasoning": token}
                if "gpt-oss" in self._chat.model:
                    delta["channel"] = "analysis"
                yield self._chunk(delta), made
        for token in generation.content:
            made += 1
            yield self._chunk({"content": token}), made
        for index, call in enumerate(generation.calls):
            yield self._chunk({"tool_calls": [{"index": index, **call}]}), generation.completion_tokens
        usage = self._usage()
        last = self._chunk({}, generation.finish_reason, x_groq={"id": self._request_id, "usage": usage})
        last["usage"] = usage
        yield last, generation.completion_tokens

    def _chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, x_groq: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        chunk: dict[str, Any] = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._chat.model,
            "system_fingerprint": "fp_sandbox",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }
        if x_groq is not None:
            chunk["x_groq"] = x_groq
        return chunk

    def _usage(self) -> dict[str, Any]:
        generation = self._generation
        completion_s = self._made_s(generation.completion_tokens)
        usage: dict[str, Any] = {
            "queue_time": round(self._queue_s, 6),
            "prompt_tokens": generation.prompt_tokens,
            "prompt_time": round(self._prompt_s, 6),
            "completion_tokens": generation.completion_tokens,
            "completion_time": round(completion_s, 6),
            "total_tokens": generation.prompt_tokens + generation.completion_tokens,
            "total_time": round(self._prompt_s + completion_s, 6),
            "completion_tokens_details": {"reasoning_tokens": len(generation.reasoning)},
        }
        if generation.cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": generation.cached_tokens}
        return usage

    def _whole(self) -> dict[str, Any]:
        generation = self._generation
        message: dict[str, Any] = {"role": "assistant", "content": "".join(generation.content) or None}
        if generation.reasoning and self._chat.shows_reasoning:
            message["reasoning"] = "".join(generation.reasoning)
        if generation.calls:
            message["tool_calls"] = generation.calls
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._chat.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": generation.finish_reason}],
            "usage": self._usage(),
            "system_fingerprint": "fp_sandbox",
            "x_groq": {"id": self._request_id},
        }
