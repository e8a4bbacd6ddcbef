"""Counters, run-time settings and faults of an emulator, behind `GET /control` and `POST /control`.

`POST /control` takes a JSON object: `settings` (some of the emulator's settings), `faults` (some of `Faults`),
`reset` (true puts faults and counters back first and forgets the schedule), `close` (a code: closes every open
WebSocket now; 0 drops them) and `schedule` (a list of `Step`: orders of this kind for later). It answers what
`GET /control` answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig, describe
from agent.sandbox.latency import Dice

Config = TypeVar("Config", DeepgramConfig, GroqConfig, CartesiaConfig)
_ORDERS = {"settings", "faults", "reset", "close"}


class Faults(BaseModel):
    """What is to go wrong next. A number `times` counts down with each use; 0 means never."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(default="", description="only where this model is asked for (Deepgram); none: anywhere")
    refuse_times: int = Field(default=0, ge=0, description="upgrades or requests to refuse")
    refuse_status: int = Field(default=503, ge=400, le=599, description="HTTP status of a refusal")
    retry_after_s: float | None = Field(default=None, description="retry-after of a refusal, in seconds")
    delay_times: int = Field(default=0, ge=0, description="upgrades or requests to answer late")
    delay_ms: float = Field(default=0.0, ge=0, description="how late")
    close_times: int = Field(default=0, ge=0, description="connections to close in mid-stream")
    close_after: int = Field(default=0, ge=0, description="messages sent before the close")
    close_code: int = Field(default=1011, description="WebSocket close code; 0 drops the TCP connection")
    close_after_ms: float = Field(default=0.0, ge=0, description="and this much audio sent (Cartesia) or heard, ms")
    silent_times: int = Field(default=0, ge=0, description="connections that go silent while they stay open")
    silent_after: int = Field(default=0, ge=0, description="messages sent before the silence")
    garbage_times: int = Field(default=0, ge=0, description="messages to replace with text that is not JSON")
    garbage_after: int = Field(default=0, ge=0, description="Groq: messages of the stream sent before it")
    error_times: int = Field(default=0, ge=0, description="streams to break with the vendor's error message")
    error_after: int = Field(default=1, ge=0, description="messages sent before the error")
    omit_done_times: int = Field(default=0, ge=0, description="streams to end without their end marker")
    unknown_times: int = Field(default=0, ge=0, description="messages to send behind one of a type that nobody knows")
    binary_times: int = Field(default=0, ge=0, description="messages to send behind a binary one")
    mute_times: int = Field(default=0, ge=0, description="contexts (Cartesia) that go silent while others go on")
    mute_after_ms: float = Field(default=0.0, ge=0, description="audio of the context sent before that, ms")
    context_error_times: int = Field(default=0, ge=0, description="contexts (Cartesia) to end with an error of theirs")
    context_error_after_ms: float = Field(default=0.0, ge=0, description="audio of the context sent before that, ms")
    context_error_status: int = Field(default=500, ge=400, le=599, description="its status_code")
    context_error_code: str = Field(default="internal_error", description="its error_code")
    cut_times: int = Field(default=0, ge=0, description="Groq: streams to end in the middle, in good order")
    cut_after: int = Field(default=0, ge=0, description="messages sent before that end")
    drop_times: int = Field(default=0, ge=0, description="Groq: requests to drop, with their connection, unanswered")

    def take(self, name: str, model: str = "") -> bool:
        """Use up one of `<name>_times`; false when there is none, or they are for another model."""
        if self.model not in ("", model):
            return False
        left = getattr(self, f"{name}_times")
        if left:
            setattr(self, f"{name}_times", left - 1)
        return bool(left)


class Step(BaseModel):
    """An order for later: what `do` says (as `POST /control` takes it) at a moment that a counter marks."""

    model_config = ConfigDict(extra="forbid")

    when: str = Field(default="", description="the counter that marks the moment; none: the moment is now")
    count: int = Field(default=1, ge=1, description="how often it goes up from now on until then")
    after_ms: float = Field(default=0.0, ge=0, le=600_000, description="and this much later")
    do: dict[str, Any] = Field(description="settings, faults, reset, close")


class StreamFaults:
    """The faults of one connection or answer. One that is asked for later counts messages from then on."""

    def __init__(self, model: str = "") -> None:
        self._model = model
        self.close_at: int | None = None
        self.close_code = 1011
        self.close_at_ms = 0.0
        self.close_by_audio = False
        self.silent_at: int | None = None
        self.error_at: int | None = None
        self.cut_at: int | None = None
        self.garbage_at: int | None = None
        self.omit_done = False

    def draw(self, faults: Faults, sent: int, sent_ms: float = 0.0) -> None:
        """Take what is asked for and not yet taken, `sent` messages and `sent_ms` of audio having been sent."""
        if self.close_at is None and faults.take("close", self._model):
            self.close_at, self.close_code = sent + faults.close_after, faults.close_code
            self.close_at_ms = sent_ms + faults.close_after_ms
            self.close_by_audio = faults.close_after_ms > 0
        if self.silent_at is None and faults.take("silent", self._model):
            self.silent_at = sent + faults.silent_after
        if self.error_at is None and faults.take("error", self._model):
            self.error_at = sent + faults.error_after
        if not self.omit_done:
            self.omit_done = faults.take("omit_done", self._model)

    def draw_stream(self, faults: Faults) -> None:
        """Take what is asked for at the beginning of a stream of server-sent events."""
        self.draw(faults, 0)
        if faults.take("cut"):
            self.cut_at = faults.cut_after
        if faults.take("garbage"):
            self.garbage_at = faults.garbage_after


class Control(Generic[Config]):
    """One emulator's settings, faults and counters."""

    def __init__(self, config: Config, dice: Dice) -> None:
        self.config: Config = config
        self.dice = dice
        self.faults = Faults()
        self.counters: Counter[str] = Counter()
        self.gauges: Counter[str] = Counter()
        self.sockets: set[FaultySocket] = set()
        self._steps: list[Step] = []
        self._later: set[asyncio.TimerHandle | asyncio.Task[None]] = set()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter; what is scheduled for it begins."""
        self.counters[name] += by
        for step in [step for step in self._steps if step.when == name]:
            step.count -= by
            if step.count <= 0:
                self._steps.remove(step)
                self._begin(step)

    def schedule(self, steps: Iterable[Step]) -> None:
        """Do these at their moments, beside what is scheduled already. Raises `ValueError` for a wrong order."""
        steps = [step.model_copy() for step in steps]
        for step in steps:
            self._check(step.do)
        for step in steps:
            if step.when:
                self._steps.append(step)
            else:
                self._begin(step)

    def forget(self) -> None:
        """Do nothing more of what is scheduled."""
        self._steps.clear()
        for waiting in self._later:
            waiting.cancel()
        self._later.clear()

    async def order(self, order: Mapping[str, Any]) -> None:
        """Do what `POST /control` takes, at once. Raises `ValueError` (pydantic's too) and then does nothing."""
        faults, config, close = self._check(order)
        if order.get("reset"):
            self.counters.clear()
            self.forget()
        self.faults, self.config = faults, config
        if close is not None:
            await asyncio.gather(*(socket.close(close) for socket in list(self.sockets)))

    def _check(self, order: Mapping[str, Any]) -> tuple[Faults, Config, int | None]:
        """The faults, the settings and the close that an order comes to."""
        if not order.keys() <= _ORDERS:
            raise ValueError("send a JSON object with settings, faults, reset or close")
        faults = Faults() if order.get("reset") else self.faults
        faults = Faults.model_validate(faults.model_dump() | order.get("faults", {}))
        config = type(self.config).model_validate(self.config.model_dump() | order.get("settings", {}))
        close = order.get("close")
        if close is not None and close != 0 and not (isinstance(close, int) and 1000 <= close <= 4999):
            raise ValueError("close must be 0 or a WebSocket close code")
        return faults, config, close

    def _begin(self, step: Step) -> None:
        loop = asyncio.get_running_loop()

        def now() -> None:
            self._later.discard(timer)
            task = loop.create_task(self.order(step.do), name="sandbox step")
            self._later.add(task)
            task.add_done_callback(self._later.discard)

        timer: asyncio.TimerHandle = loop.call_later(step.after_ms / 1000, now)
        self._later.add(timer)

    def known(self, key: str) -> bool:
        """Whether an API key is accepted."""
        return key in self.config.keys if self.config.keys else bool(key)

    async def refusal(self, model: str = "") -> web.Response | None:
        """The refusal that the faults ask for, after the delay that they ask for."""
        if self.faults.take("delay", model):
            await asyncio.sleep(self.faults.delay_ms / 1000.0)
        if not self.faults.take("refuse", model):
            return None
        self.count("refused_by_fault")
        headers = {}
        if self.faults.retry_after_s is not None:
            headers["retry-after"] = f"{self.faults.retry_after_s:g}"
        body = {"error": {"message": "refused by the sandbox's faults", "type": "sandbox", "code": "sandbox_fault"}}
        return web.json_response(body, status=self.faults.refuse_status, headers=headers)

    def routes(self) -> list[web.RouteDef]:
        """Routes of `/control`."""
        return [web.get("/control", self._get), web.post("/control", self._post)]

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._state())

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            if not isinstance(body, dict):
                raise ValueError("send a JSON object with settings, faults, reset, close or schedule")
            steps = [Step.model_validate(step) for step in body.pop("schedule", ())]
            for step in steps:
                self._check(step.do)
            await self.order(body)
            self.schedule(steps)
        except ValidationError as error:
            return web.json_response({"error": describe(error)}, status=400)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "counters": dict(self.counters),
            "now": {name: value for name, value in self.gauges.items() if value},
            "settings": self.config.model_dump(mode="json", exclude={"keys"}),
            "faults": self.faults.model_dump(mode="json"),
            "schedule": [step.model_dump(mode="json") for step in self._steps],
        }


class FaultySocket:
    """Sends JSON messages on a WebSocket, one after the other, with the faults that are due.

    `error` is the vendor's own error message for the fault `error_times`. Use it as a context manager: while it is
    entered, `POST /control` can close it.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        request: web.Request,
        control: Control[Any],
        error: dict[str, Any],
        model: str = "",
    ) -> None:
        self._socket = socket
        self._transport = request.transport
        self._control = control
        self._error = error
        self._model = model
        self._faults = StreamFaults(model)
        self._lock = asyncio.Lock()
        self.sent = 0
        self.sent_ms = 0.0

    async def send(self, message: dict[str, Any], *, end_marker: bool = False, audio_ms: float = 0.0) -> None:
        """Send one message, or do what the faults ask for. A closed socket takes it in silence.

        `end_marker` tells that this message ends a stream (for the fault `omit_done_times`), `audio_ms` how much
        audio is in it.
        """
        async with self._lock:
            faults = self._faults
            if self._socket.closed:
                return
            faults.draw(self._control.faults, self.sent, self.sent_ms)
            if faults.silent_at is not None and self.sent >= faults.silent_at:
                self._control.count("messages_withheld")
                return
            if end_marker and faults.omit_done:
                faults.omit_done = False
                self._control.count("end_markers_omitted")
                return
            if faults.close_at is not None and self.sent >= faults.close_at and self.sent_ms >= faults.close_at_ms:
                await self.close(faults.close_code)
                return
            if faults.error_at is not None and self.sent >= faults.error_at:
                faults.error_at = None
                message = self._error
            if self._control.faults.take("binary", self._model):
                await self._socket.send_bytes(bytes(range(256)))
            if self._control.faults.take("unknown", self._model):
                await self._put('{"type":"from_tomorrow","context_id":"nobody","status_code":206}')
            self.sent += 1
            self.sent_ms += audio_ms
            self._control.count(f"sent_{message.get('type', 'message')}")
            text = "{garbage" if self._control.faults.take("garbage", self._model) else orjson.dumps(message).decode()
            await self._put(text)

    async def heard(self, audio_ms: float) -> None:
        """So much audio came in: a close may be due by it."""
        async with self._lock:
            faults = self._faults
            faults.draw(self._control.faults, self.sent, self.sent_ms)
            self.sent_ms += audio_ms
            if faults.close_by_audio and self.sent >= (faults.close_at or 0) and self.sent_ms >= faults.close_at_ms:
                await self.close(faults.close_code)

    async def _put(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except ConnectionError:
            self._control.count("sends_to_closed_sockets")

    def __enter__(self) -> FaultySocket:
        self._control.sockets.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._control.sockets.discard(self)

    async def close(self, code: int) -> None:
        """Close as the faults ask for; 0 drops the connection."""
        self._control.count("closed_by_fault")
        if code:
            await self._socket.close(code=code, message=b"closed by the sandbox's faults", drain=False)
        elif self._transport is not None:
            self._transport.abort()
