"""The callers of the soak, in a process of their own: so many lines that ring again and again.

Run as `python -m benchmarks.soak.callers ORDERS`, a JSON document. Each caller asks the agent's FastAGI as a dialplan
does, connects, talks (`line.py`), and asks what comes next when the agent has hung up. What a question gets: what has
happened since the last one.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
import uuid
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np

from agent.ops import collector
from agent.sandbox.caller.agi import AgiFailed, Dialplan
from agent.sandbox.caller.speak import NOISE_RMS
from agent.sandbox.caller.wire import HANGUP, RATES, UUID, frame_bytes
from agent.speech_engines.tones import ToneVoice
from benchmarks.agent.child import serve_questions
from benchmarks.agent.lag import quantile
from benchmarks.soak.line import TICK_S, Habits, Line, draw_plan

SLOTS = 10
"""Callers are spread over so many slots of a tick."""
RATE = 8000
BYTES = frame_bytes(RATE)
HEADER = bytes((0x10,)) + BYTES.to_bytes(2, "big")
SILENCE = bytes(BYTES)
SPEECH = "good morning there is a problem with a pipe in the kitchen and it will not stop dripping on the floor at all"
SO_TIMESTAMPNS = 35
GAP_S = 3.0
"""The longest that a caller waits before the next call."""
CONNECT_S = 5.0


def sounds() -> tuple[list[bytes], list[bytes]]:
    """Messages of speech and of line noise, ready to send."""
    noise = np.rint(np.random.default_rng(8000).normal(0.0, NOISE_RMS, 100 * BYTES // 2)).astype(np.int32)
    speech = ToneVoice().speak(SPEECH, RATE).samples.astype(np.int32)
    speech = speech[: len(speech) // (BYTES // 2) * (BYTES // 2)]
    spoken = np.clip(speech + np.resize(noise, len(speech)), -32768, 32767)

    def messages(samples: Any) -> list[bytes]:
        data = samples.astype("<i2").tobytes()
        return [HEADER + data[at : at + BYTES] for at in range(0, len(data), BYTES)]

    return messages(spoken), messages(noise)


class Connected:
    """A line's connection. `ended` resolves to who ended the call, or what went wrong."""

    def __init__(self, line: Line, connection: socket.socket, clock: float) -> None:
        self.line = line
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._socket = connection
        self._rest = b""
        self._clock = clock
        self._behind = time.time() - time.monotonic()

    def tick(self, now: float) -> None:
        """Take what has come, then send what is due."""
        try:
            self._take()
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(f"failure: {error.strerror}")
        if self.ended.done():
            return
        if self.line.over(now):
            self.end("caller")
            return
        message = self.line.next(now)
        try:
            if self._socket.send(message) != len(message):
                self.end("failure: the agent does not read")
        except BlockingIOError:
            self.end("failure: the agent does not read")
        except OSError as error:
            self.end(f"failure: {error.strerror}")

    def end(self, how: str) -> None:
        """Hang up, as a caller or after the agent did."""
        if not self.ended.done():
            self.ended.set_result(how)
        self._socket.close()

    def _take(self) -> None:
        data, ancillary, _, _ = self._socket.recvmsg(65536, 64)
        if not data:
            self.end("agent")
            return
        at = time.monotonic()
        for _, kind, value in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, ns = struct.unpack("qq", value)
                at = seconds + ns / 1e9 - self._behind
        if self._rest:
            data, self._rest = self._rest + data, b""
        place, frames, silent = 0, 0, True
        while len(data) - place >= 3:
            kind, length = data[place], int.from_bytes(data[place + 1 : place + 3], "big")
            if kind == HANGUP:
                self.end("agent")
                return
            if kind not in RATES or length != BYTES:
                self.end(f"failure: a message of kind 0x{kind:02x} and {length} bytes")
                return
            if len(data) - place < 3 + length:
                break
            silent = silent and data[place + 3 : place + 3 + length] == SILENCE
            frames += 1
            place += 3 + length
        self._rest = data[place:]
        if frames:
            began = self.line.began
            self.line.hear(began + (at - began) * self._clock, frames, silent)


class Callers:
    """All of them; `answer` is asked by the parent."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._ports = orders["audio_port"], orders["fastagi_port"]
        self._wanted = 0
        self._habits = Habits(**orders.get("habits", {}))
        self._clock = float(orders.get("clock", 1.0))
        """How much faster than the machine's this process's clock runs: a planted drift."""
        self._dice = random.Random(orders.get("seed", 0))
        self._speech, self._noise = sounds()
        self._slots: list[set[Connected]] = [set() for _ in range(SLOTS)]
        self._until = 0.0
        self._lines: list[asyncio.Task[None]] = []
        self._calls: list[dict[str, Any]] = []
        self._statuses: Counter[str] = Counter()
        self._late_ms: list[float] = []
        self.running = 0

    async def tick_for_ever(self) -> None:
        """Each slot's callers at their time, by the clock."""
        began, number = time.monotonic(), 0
        while True:
            due = began + number * TICK_S / SLOTS
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
                now = time.monotonic()
            self._late_ms.append(1000 * (now - due))
            slot = self._slots[number % SLOTS]
            for caller in list(slot):
                caller.tick(now)
                if caller.ended.done():
                    slot.discard(caller)
            number += 1

    async def answer(self, question: str) -> dict[str, Any]:
        """`call N SECONDS`: let so many ring for so long; `ringing`: how many still do; `tell`: what has happened."""
        words = question.split()
        if words[0] == "call":
            self._until = time.monotonic() + float(words[2])
            self._lines = [
                asyncio.create_task(self._ring(number, random.Random(self._dice.getrandbits(64))), name="line")
                for number in range(int(words[1]))
            ]
        ringing = sum(not task.done() for task in self._lines)
        for task in self._lines:
            if task.done() and (error := task.exception()) is not None:
                raise error
        if words[0] == "ringing":
            return {"ringing": ringing}
        told = {
            "running": self.running,
            "ringing": ringing,
            "calls": self._calls,
            "statuses": dict(self._statuses),
            "late_p50_ms": round(quantile(self._late_ms, 0.5), 2),
            "late_p99_ms": round(quantile(self._late_ms, 0.99), 2),
        }
        self._calls, self._late_ms = [], []
        return told

    async def _ring(self, number: int, dice: random.Random) -> None:
        await asyncio.sleep(number * 0.1)
        while (rest := self._until - time.monotonic()) > 1.0:
            await self._call(number, dice, rest)
            await asyncio.sleep(dice.uniform(0.0, GAP_S))

    async def _call(self, number: int, dice: random.Random, rest_s: float) -> None:
        plan = draw_plan(dice, self._habits, rest_s)
        call = uuid.UUID(int=dice.getrandbits(128), version=4)
        told: dict[str, Any] = {"uuid": str(call), "began": time.monotonic(), "key": plan.key}
        audio_port, fastagi_port = self._ports
        dialplan = Dialplan("127.0.0.1", fastagi_port, did="+442079460123", caller_id=f"+4420794{number:05}")
        try:
            answer = await dialplan.start(call)
            status = answer.get("VOICE_AGENT_STATUS", "") or "nothing"
        except AgiFailed as error:
            status = f"failure: {error}"
        self._statuses[status] += 1
        told["status"] = status
        if status == "OK":
            await self._talk(told, plan, call, audio_port)
            if told["ended"] == "agent":
                try:
                    told["verdict"] = (await dialplan.next(call)).get("VOICE_AGENT_NEXT", "")
                except AgiFailed as error:
                    told["verdict"] = f"failure: {error}"
        self._calls.append(told)

    async def _talk(self, told: dict[str, Any], plan: Any, call: uuid.UUID, port: int) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except (OSError, TimeoutError) as error:
            connection.close()
            told["ended"] = f"failure: cannot connect: {error}"
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with suppress(OSError):
            connection.send(bytes((UUID, 0, 16)) + call.bytes)
        line = Line(plan, self._speech, self._noise, self._habits.interrupts, time.monotonic())
        caller = Connected(line, connection, self._clock)
        min(self._slots, key=len).add(caller)
        self.running += 1
        try:
            told["ended"] = await caller.ended
        finally:
            self.running -= 1
        heard = line.heard
        told |= {
            "seconds": round(time.monotonic() - line.began, 2),
            "frames": heard.frames,
            "ppm": line.rate.ppm,
            "slips": line.rate.slips,
            "rated_s": round(line.rate.span_s, 2),
            "turns": heard.turns,
            "answers": [(round(at, 2), round(ms, 1)) for at, ms in heard.answers],
            "unanswered": heard.unanswered,
            "overlaps": heard.overlaps,
            "interruptions": heard.interruptions,
            "stopped_ms": [round(ms) for ms in heard.stopped_ms],
            "longest_gap_ms": round(heard.longest_gap_ms, 1),
        }


async def main() -> None:
    """Serve until standard input ends."""
    callers = Callers(json.loads(sys.argv[1]))
    collector.settle()
    ticking = asyncio.create_task(callers.tick_for_ever(), name="tick")
    ticking.add_done_callback(lambda task: None if task.cancelled() else task.result())
    await serve_questions({}, callers.answer)


if __name__ == "__main__":
    asyncio.run(main())
