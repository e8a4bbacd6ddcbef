"""A call to the agent itself, as Asterisk makes one: FastAGI `start`, AudioSocket, the greeting, hangup, `next`.

The agent that runs takes it, or one that is started for it on free ports, with the real vendors and in a directory of
its own. The call has no number and belongs to no company.
"""

from __future__ import annotations

import asyncio
import logging
import math
import tempfile
import time
import uuid
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from agent.check.finding import Findings, error, ok, skipped, warning
from agent.check.subject import Subject
from agent.ops.http import base_url
from agent.ops.peers import Peers
from agent.ops.settings import UNLIMITED, Settings
from agent.sandbox.caller.agi import AgiFailed, Dialplan
from agent.sandbox.caller.wire import AudioSocketCaller, ConnectError

DIALLED = "voice-agent-check"
"""No number: so it belongs to no company, and is known in the console for what it is."""
LOUD = 150
"""Of 32768: a greeting is a hundred times as loud, line noise of our own there is none."""
LOUD_FRAMES = 10
GREETED_S = 3.0
"""From the answer to the first word, greeting made anew: more is silence that callers hang up in."""
LONGEST_S = 6.0
FULL = ("FULL", "ERROR")


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    fastagi_port: int
    audio_port: int
    whose: str


async def self_call(subject: Subject) -> Findings:
    """The whole way of a call, up to its first words."""
    settings = subject.settings
    running = await subject.running()
    if running is not None:
        if getattr(settings, "proxy_protocol", False):
            yield skipped("call", "not tried: the running agent wants the PROXY header that a load balancer sends")
            return
        host = _reachable(settings.listen_host)
        if not Peers(settings.allowed_peers).allow("127.0.0.1" if host == "localhost" else host):
            yield skipped(
                "call",
                "not tried: ALLOWED_PEERS does not let this machine itself call the running agent",
                f"put {host} there as well, or call from a phone",
            )
            return
        place = _Place(host, settings.fastagi_port, settings.listen_port, "the running agent")
        async for finding in _call(place, settings):
            yield finding
        return
    if subject.offline:
        yield skipped("call", "not tried: --offline, and no agent runs", "start the agent, and check again")
        return
    missing = [key for key in ("deepgram", "groq", "cartesia") if not _key(settings, key)]
    if missing:
        yield skipped("call", "not tried: keys are missing", "give the keys, and check again")
        return
    try:
        async with _agent_of_its_own(settings) as place:
            async for finding in _call(place, settings):
                yield finding
    except Exception as problem:
        # Whatever keeps it from starting keeps `serve` from it, too.
        yield error("call", f"an agent cannot be started: {problem}", "voice-agent serve says more")


def _key(settings: Settings, vendor: str) -> str:
    key = getattr(settings, f"{vendor}_api_key")
    assert isinstance(key, SecretStr)
    return key.get_secret_value()


def _reachable(listen_host: str) -> str:
    return base_url(listen_host, 0).removeprefix("http://").rpartition(":")[0].strip("[]")


@asynccontextmanager
async def _agent_of_its_own(settings: Settings) -> AsyncIterator[_Place]:
    from agent.service import Agent

    with tempfile.TemporaryDirectory(prefix="voice-agent-check-") as directory:
        own = settings.model_copy(
            update={
                **UNLIMITED,
                **dict.fromkeys(("listen_port", "fastagi_port", "http_port"), 0),
                **dict.fromkeys(("recordings_dir", "records_dir", "metadata_dir"), None),
                **dict.fromkeys(
                    ("context_api_url", "booking_api_url", "availability_api_url", "smtp_host", "ami_host"), ""
                ),
                **dict.fromkeys(("alert_webhook_url", "call_webhook_url"), SecretStr("")),
                "data_dir": Path(directory),
                "database_url": "",
                "listen_host": "127.0.0.1",
                "allowed_peers": ("127.0.0.0/8",),
                "console": False,
                "record_calls": False,
                "max_calls": 2,
                "unknown_uuid": "accept",
                **{name: value for name, value in _ALONE.items() if name in Settings.model_fields},
            }
        )
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            async with Agent(own) as agent:
                yield _Place("127.0.0.1", agent.fastagi_port, agent.audio_port, "an agent started for it")
        finally:
            logging.getLogger().setLevel(level)


_ALONE = {"workers": 1, "proxy_protocol": False, "redis_url": SecretStr("")}
"""Settings of agents that are more than one process."""


async def _call(place: _Place, settings: Settings) -> Findings:
    call = uuid.uuid4()
    dialplan = Dialplan(place.host, place.fastagi_port, did=DIALLED, caller_id="")
    begun = time.monotonic()
    try:
        answer = await dialplan.start(call)
    except AgiFailed as problem:
        yield error(
            "call-start", f"{place.whose}: {problem}", "see FASTAGI_PORT and ALLOWED_PEERS, and the agent's log"
        )
        return
    status = answer.get("VOICE_AGENT_STATUS", "")
    if status in FULL:
        yield warning(
            "call-start",
            f"{place.whose} has no room for a call: start is answered {status}",
            "curl /ready tells why; docs/operations.md, Which calls are taken",
        )
        return
    if status != "OK":
        yield error("call-start", f"{place.whose} does not answer start: {status or 'nothing'}", "see the agent's log")
        return
    yield ok("call-start", f"{place.whose} takes a call: start answered in {1000 * (time.monotonic() - begun):.0f} ms")

    ear = _Ear()
    silence = bytes(settings.sample_rate // 50 * 2)
    caller = AudioSocketCaller(call, lambda tick: silence, ear.hear, settings.sample_rate)
    try:
        try:
            await caller.connect(place.host, place.audio_port)
        except ConnectError as problem:
            yield error("call-audio", str(problem), "see LISTEN_PORT and ALLOWED_PEERS, and the agent's log")
            return
        caller.start()
        heard = asyncio.ensure_future(ear.spoke.wait())
        await asyncio.wait((heard, caller.ended), timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        heard.cancel()
        if ear.spoke.is_set():
            told = f"greeted {ear.at_s:.1f} s after the answer"
            yield (
                ok("call-greeting", told, seconds=ear.at_s)
                if ear.at_s <= GREETED_S
                else warning(
                    "call-greeting",
                    f"{told}: callers hang up in silence",
                    "the first call makes the greeting, later ones have it: check again, and see the vendors above",
                    seconds=ear.at_s,
                )
            )
        elif caller.ended.done():
            yield error(
                "call-greeting",
                f"the agent ended the call before a word ({caller.ended.result()})",
                "see the agent's log for this moment, and the vendors above",
            )
        else:
            yield error(
                "call-greeting",
                f"silence for {LONGEST_S:g} s, {caller.counters.frames_received} frames of it",
                "see the agent's log for Cartesia, and the vendors above",
            )
        caller.hang_up()
    finally:
        await caller.close()
    try:
        verdict = (await dialplan.next(call)).get("VOICE_AGENT_NEXT", "")
    except AgiFailed as problem:
        yield error("call-next", str(problem), "the dialplan goes to its fallback: see the agent's log")
        return
    if verdict in ("hangup", "transfer", "menu"):
        yield ok("call-next", f"after the call the dialplan is told: {verdict}")
    else:
        yield error(
            "call-next",
            f"the agent could not go on: after the call the dialplan is told {verdict or 'nothing'}, its fallback",
            "mend what is said of the vendors above, or see the agent's log",
        )


class _Ear:
    """Notes when somebody has been loud for a fifth of a second."""

    def __init__(self) -> None:
        self.spoke = asyncio.Event()
        self.at_s = math.inf
        self._loud = 0

    def hear(self, at_s: float, pcm: bytes, _rate: int) -> None:
        samples = array("h", pcm)
        loud = samples and math.sqrt(sum(each * each for each in samples) / len(samples)) > LOUD
        if not loud:
            return
        self._loud += 1
        if self._loud == 1:
            self.at_s = at_s
        if self._loud >= LOUD_FRAMES:
            self.spoke.set()
