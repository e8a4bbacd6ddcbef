"""A call that is answered with a goodbye and nothing else: its caller, or the day, has had enough."""

from __future__ import annotations

import contextlib

import fastaudio
from agent.call.chronicle import Chronicle
from agent.call.company import CompanyContext
from agent.call.parting import TRAIL_MS
from agent.call.prompts import Prompt
from agent.call.record import CallRecord
from agent.call.services import Services
from agent.telephony import CallInfo, Verdict


async def say_farewell(call: fastaudio.Call, info: CallInfo, services: Services, reason: str) -> CallRecord:
    """Say a recorded goodbye, which costs no vendor anything, and hang up; `reason` goes into the record."""
    chronicle = Chronicle(call, info)
    record = chronicle.record
    record.outcome = "refused"
    chronicle.mark("refused", reason)
    call.set_barge_in(fastaudio.BargeInOptions(enabled=False))
    voice = services.conversations.voice_of(CompanyContext())
    pcm, _ = services.prompts.audio(Prompt.LIMIT, voice, call.rate)
    with contextlib.suppress(fastaudio.EngineClosed, fastaudio.StaleGeneration):
        utterance = call.begin()
        await utterance.play(pcm)
        await utterance.end()
        await utterance.finished()
    verdict = Verdict("hangup", reason=reason)
    await services.door.decide(call.uuid, verdict)
    call.hangup(TRAIL_MS)
    record = await chronicle.close()
    record.verdict = verdict.action
    return record
