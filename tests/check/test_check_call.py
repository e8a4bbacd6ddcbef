"""The call to itself: to an agent that is started for it, to the one that runs, and to what is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.call.record import CallRecord
from agent.check import ports, self_call
from agent.check.subject import Subject
from agent.sandbox import Sandbox
from agent.service import Agent
from agent.telephony import CallRegistry, FastAgiServer
from tests.check.conftest import SubjectMaker, look


def levels(found: dict[str, Any]) -> dict[str, str]:
    return {name: finding.level for name, finding in found.items()}


GOOD = {"call-start": "ok", "call-greeting": "ok", "call-next": "ok"}


async def test_an_agent_is_started_for_it_and_leaves_nothing(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors)
    data = subject.settings.data_dir
    found = await look(self_call.self_call, subject)
    assert levels(found) == GOOD, found
    assert "an agent started for it" in found["call-start"].text
    assert list(data.iterdir()) == []
    assert vendors.deepgram.gauges["streams"] == 0


@asynccontextmanager
async def running(subject: Subject, **changes: Any) -> AsyncIterator[list[CallRecord]]:
    records: list[CallRecord] = []
    async with Agent(subject.settings.model_copy(update=changes), on_record=records.append):
        yield records


async def test_the_agent_that_runs_takes_it(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors)
    async with running(subject) as records:
        assert levels(await look(self_call.self_call, subject)) == GOOD
        found = await look(ports.ports, subject)
        assert {finding.level for finding in found.values()} == {"ok"}
        assert "is the running agent's" in found["port-audiosocket"].text
        assert found["agent"].text.endswith("with these settings")
        async with asyncio.timeout(3):
            while not records:  # noqa: ASYNC110 - the record comes behind the call
                await asyncio.sleep(0.01)
    assert (records[0].did, records[0].caller_id) == (self_call.DIALLED, "")


async def test_a_running_agent_that_is_another(
    vendors: Sandbox, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = a_subject(vendors)
    async with running(subject, silence_seconds=9):
        found = await look(ports.ports, subject)
        assert (found["agent"].level, "other settings" in found["agent"].text) == ("warning", True)
    older = a_subject(vendors)
    async with running(older):
        monkeypatch.setattr("agent.check.ports.__version__", "9.9.9")
        found = await look(ports.ports, older)
        assert (found["agent"].level, "installed is 9.9.9" in found["agent"].text) == ("warning", True)


async def test_a_key_is_no_part_of_what_health_tells_of_settings(a_subject: SubjectMaker) -> None:
    one, other = a_subject().settings, a_subject().settings
    same = {name: getattr(one, name) for name in ("listen_port", "fastagi_port", "http_port")}
    assert other.model_copy(update=same | {"groq_api_key": other.cartesia_api_key}).fingerprint == one.fingerprint
    assert other.model_copy(update=same | {"max_calls": 99}).fingerprint != one.fingerprint


async def test_a_full_agent_is_a_warning(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors, max_calls=1)
    async with running(subject):
        subject_two = Subject(None, settings_=subject.settings)
        await asyncio.gather(look(self_call.self_call, subject), asyncio.sleep(0))
        async with asyncio.timeout(3):
            await _occupy(subject)
        found = await look(self_call.self_call, subject_two)
        await subject_two.close()
    assert levels(found) == {"call-start": "warning"}
    assert "FULL" in found["call-start"].text


async def _occupy(subject: Subject) -> None:
    from uuid import uuid4

    from agent.sandbox.caller.agi import Dialplan

    while True:
        call = Dialplan("127.0.0.1", subject.settings.fastagi_port, did="1", caller_id="")
        if (await call.start(uuid4()))["VOICE_AGENT_STATUS"] == "OK":
            return
        await asyncio.sleep(0.05)  # the call before is on its way out


async def test_a_running_agent_that_lets_only_asterisk_in(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    """As on two machines: that it turns us away says nothing of Asterisk's calls."""
    subject = a_subject(vendors, allowed_peers=("10.0.0.10",))
    async with running(subject):
        found = await look(self_call.self_call, subject)
    assert levels(found) == {"call": "skipped"}
    assert "ALLOWED_PEERS" in found["call"].text


async def test_an_agent_without_a_voice(
    vendors: Sandbox, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing, and is not believed because it takes the call and sends frames."""
    monkeypatch.setattr(self_call, "LOUD", 40_000)
    monkeypatch.setattr(self_call, "LONGEST_S", 0.6)
    found = await look(self_call.self_call, a_subject(vendors))
    assert found["call-greeting"].level == "error"
    assert "silence for 0.6 s" in found["call-greeting"].text


async def test_an_agent_that_hangs_up_and_one_that_is_gone(a_subject: SubjectMaker) -> None:
    """FastAGI says OK, and behind it nobody takes the audio, or ends it; then nobody knows what comes next."""

    async def on_start(info: object) -> bool:
        return True

    subject = a_subject()
    place = self_call._Place("127.0.0.1", 0, subject.settings.listen_port, "an agent")
    async with FastAgiServer(CallRegistry(), on_start, port=0) as agi:
        place = self_call._Place("127.0.0.1", agi.port, place.audio_port, "an agent")

        async def call(_subject: Subject) -> Any:
            async for finding in self_call._call(place, subject.settings):
                yield finding

        assert levels(await look(call, subject)) == {"call-start": "ok", "call-audio": "error"}

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(19)
            writer.write(bytes(3))
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", place.audio_port):
            found = await look(call, subject)
        assert levels(found) == {"call-start": "ok", "call-greeting": "error", "call-next": "error"}
        assert "before a word" in found["call-greeting"].text
        assert "UNKNOWN" in found["call-next"].text
    assert levels(await look(call, subject)) == {"call-start": "error"}


async def test_what_keeps_an_agent_from_starting_is_said(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    found = await look(self_call.self_call, a_subject(vendors, conversation="no such one"))
    assert (found["call"].level, "no such one" in found["call"].text) == ("error", True)


async def test_not_tried(a_subject: SubjectMaker, tmp_path: Path) -> None:
    subject = a_subject()
    subject.offline = True
    assert levels(await look(self_call.self_call, subject)) == {"call": "skipped"}
    assert levels(await look(self_call.self_call, a_subject(groq_api_key=""))) == {"call": "skipped"}
