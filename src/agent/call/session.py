"""One call from its UUID to its record: what happens goes through one inbox, in order, to the turn machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

import fastaudio
from agent.call import turn as turns
from agent.call.context import CompanyContext
from agent.call.history import History
from agent.call.record import CallRecord, TurnRecord
from agent.call.reply import TROUBLE, Outcome, Reply
from agent.call.services import Preparation, Services
from agent.call.speech import Speech
from agent.call.turn import State, Turn
from agent.call.uplink import Uplink
from agent.ops.recording import record as record_call
from agent.prompts import fill
from agent.providers.base import ProviderError, SpeechToText, SttLost, Transcript, UtteranceEnd
from agent.telephony import CallInfo, Verdict
from agent.tools.registry import ToolContext
from fastaudio import EventKind

log = logging.getLogger(__name__)

INBOX = 1024
TRAIL_MS = 240  # the far end's jitter buffer plays the last word before the line goes
STILL_THERE = "Are you still there?"
SILENT_GOODBYE = "I can't hear you, so I'll let you go. Please call again. Goodbye."
TOO_LONG = "I'm sorry, I have to end the call here. Goodbye."
TO_A_PERSON = "I'll put you through now."


@dataclass(frozen=True, slots=True)
class SpeechDone:
    """All of a speech was heard, or thrown away."""

    speech: Speech
    played: fastaudio.Played


Item: TypeAlias = fastaudio.Event | Transcript | UtteranceEnd | SttLost | SpeechDone


class Session:
    """Runs one call. `run` returns its record; nothing that a vendor or a caller does makes it raise."""

    def __init__(self, call: fastaudio.Call, info: CallInfo, preparation: Preparation, services: Services) -> None:
        self._call = call
        self._info = info
        self._preparation = preparation
        self._services = services
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._turn = Turn(self._clock_ms())
        self._speech: Speech | None = None
        self._reply: Reply | None = None
        self._reply_task: asyncio.Task[Outcome] | None = None
        self._uplink: Uplink | None = None
        self._stt: SpeechToText | None = None
        self._history = History("")
        self._company: CompanyContext = CompanyContext()
        self._tool_context: ToolContext | None = None
        self._exchange: TurnRecord | None = None
        self._ending: Verdict | None = None
        self._failed = False
        self._speech_end_ms: int | None = None
        self._heard_ms: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.record = CallRecord(
            uuid=str(call.uuid),
            did=info.did,
            caller_id=info.caller_id,
            caller_name=info.caller_name,
            unique_id=info.unique_id,
            linked_id=info.linked_id,
            source=info.source,
        )

    # -- the call ----------------------------------------------------------------------------------------------------

    async def run(self) -> CallRecord:
        """Converse until either side ends it."""
        self._call.listen(self._put)
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._hear_stt(), name="stt events"),
                    group.create_task(self._carry_uplink(), name="uplink"),
                ]
                if self._services.settings.record_calls and self._company.recording:
                    group.create_task(self._record_audio(), name="recording")
                await self._converse()
                for task in tasks:
                    task.cancel()
        except* fastaudio.EngineClosed:
            pass  # the caller hung up in the middle of something
        except* Exception:
            log.exception("call %s failed", self._call.uuid)
            self._failed = True
        finally:
            await self._close()
        return self.record

    async def _open(self) -> None:
        self._company = await self._preparation.context(self._call.started_ns)
        self.record.company = self._company.company_name
        if self._company.default_reason:
            self.record.mark(self._clock_ms(), "default_context", self._company.default_reason)
        self._history = History(fill(self._services.prompt, self._company))
        self._tool_context = ToolContext(
            call_uuid=str(self._call.uuid),
            company=self._company,
            http=self._services.http,
            endpoints=self._services.endpoints,
            did_number=self._info.did,
            region=self._services.settings.default_region,
        )
        self._exchange = self._new_exchange("")
        self._speech = Speech(self._call, self._services.tts, self._company.voice_id)
        self._spawn(self._greet(self._speech), "greet")
        self._spawn(self._await_speech(self._speech), "await greeting")
        try:
            self._stt = await self._preparation.stt()
            self._uplink = Uplink(self._call, self._stt)
        except ProviderError as error:
            log.error("call %s: %s", self._call.uuid, error)
            self._put(SttLost(str(error)))

    async def _greet(self, speech: Speech) -> None:
        self._history.agent_began()
        try:
            text = await self._services.greetings.say(speech, self._company)
        except (fastaudio.StaleGeneration, fastaudio.EngineClosed):
            text = speech.text  # interrupted, or the caller is gone
        self._history.agent_said(text)

    async def _converse(self) -> None:
        limit = self._call.started_ns / 1e9 + self._services.settings.max_call_seconds
        while not self._call.ended:
            wait_s = limit - time.monotonic()
            if self._turn.deadline_ms is not None:
                wait_s = min(wait_s, (self._turn.deadline_ms - self._clock_ms()) / 1000)
            try:
                async with asyncio.timeout(max(0.0, wait_s)):
                    item = await self._inbox.get()
            except TimeoutError:
                if time.monotonic() >= limit and self._turn.state is not State.ENDING:
                    await self._last_words(TOO_LONG, Verdict("hangup", reason="too_long"))
                    limit += 30  # for a goodbye that cannot be spoken
                elif time.monotonic() >= limit:
                    self._hang_up(Verdict("hangup", reason="too_long"))
                    limit += 30
                await self._do(self._turn.tick(self._clock_ms()))
                continue
            await self._handle(item)

    async def _close(self) -> None:
        """The call is over: end what is under way and write down what came of it."""
        await self._stop_reply()
        if self._speech is not None:
            await self._speech.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._stt is not None:
            await self._stt.close()
        if not self._call.ended:
            self._call.hangup(0)
        self._finish_exchange()
        self.record.seconds = round((time.monotonic_ns() - self._call.started_ns) / 1e9, 3)
        self.record.ended_by = await self._call.wait_ended()
        if self._ending is None and self.record.ended_by == "caller":
            self._services.registry.decide(self._call.uuid, Verdict("hangup", reason="caller"))
        verdict = self._ending
        self.record.verdict = f"{verdict.action} {verdict.target}".strip() if verdict else ""
        if self._failed and not self.record.booking_id:
            self.record.outcome = "failed"
        self.record.media = self._call.counters()
        self.record.vendors = {"stt": dict(getattr(self._stt, "counters", {}))}

    # -- what happens ------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if self._inbox.full():
            self._services.counters["inbox_dropped"] += 1
            return
        self._inbox.put_nowait(item)

    async def _hear_stt(self) -> None:
        if self._stt is not None:
            async for event in self._stt.events():
                self._put(event)

    async def _carry_uplink(self) -> None:
        if self._uplink is not None:
            await self._uplink.run()

    async def _record_audio(self) -> None:
        path = self._services.settings.recordings / f"{self._call.uuid}.wav"
        self.record.recording = str(path)
        lost_ms = await record_call(self._call, path)
        if lost_ms:
            self.record.mark(self._clock_ms(), "recording_lost", f"{lost_ms} ms")

    async def _await_speech(self, speech: Speech) -> None:
        self._put(SpeechDone(speech, await speech.finished()))

    async def _handle(self, item: Item) -> None:
        now_ms = self._clock_ms()
        if isinstance(item, Transcript):
            await self._handle_transcript(item, now_ms)
        elif isinstance(item, UtteranceEnd):
            await self._do(self._turn.utterance_end(now_ms))
        elif isinstance(item, SttLost):
            await self._trouble("no_stt")
        elif isinstance(item, SpeechDone):
            await self._speech_done(item, now_ms)
        else:
            await self._handle_media(item, now_ms)

    async def _handle_transcript(self, heard: Transcript, now_ms: int) -> None:
        log.debug("call %s heard %s", self._call.uuid, heard.text if self._services.settings.log_transcripts else "…")
        if heard.text:
            self._heard_ms = now_ms
        await self._do(self._turn.transcript(heard, now_ms))

    async def _handle_media(self, event: fastaudio.Event, now_ms: int) -> None:
        at_ms = self._at_ms(event.time_ns)
        match event.kind:
            case EventKind.SPEECH:
                await self._do(self._turn.caller_speaks(now_ms))
            case EventKind.QUIET:
                self._speech_end_ms = event.position * 1000 // self._call.rate
                await self._do(self._turn.caller_quiet(now_ms))
            case EventKind.BEGAN:
                self._note_first_frame(event)
                self._speech_end_ms = None
                await self._do(self._turn.agent_speaks(now_ms))
            case EventKind.HOLD:
                self.record.mark(at_ms, "hold")
                await self._do(self._turn.hold(now_ms))
            case EventKind.BARGE_IN:
                self.record.mark(at_ms, "barge_in")
            case EventKind.RESUME:
                self.record.mark(at_ms, "resume")
                await self._do(self._turn.resumed(now_ms))
            case EventKind.FLUSHED:
                if self._speech is not None and event.generation == self._speech.utterance.generation:
                    self.record.mark(at_ms, "flush")
                    await self._do(self._turn.flushed(now_ms))
            case EventKind.DTMF:
                await self._dtmf(chr(event.value), at_ms)

    async def _dtmf(self, digit: str, at_ms: int) -> None:
        self.record.mark(at_ms, "dtmf", digit)
        targets = list(self._company.transfer_targets.values())
        if digit == "0" and targets and self._turn.state is not State.ENDING:
            await self._interrupt()
            await self._last_words(TO_A_PERSON, Verdict("transfer", targets[0], "dtmf"))

    # -- what the turn machine wants ---------------------------------------------------------------------------------

    async def _do(self, actions: list[turns.Action]) -> None:
        for action in actions:
            match action:
                case turns.Respond(text):
                    await self._respond(text)
                case turns.Withdraw():
                    await self._withdraw()
                case turns.Interrupt():
                    await self._interrupt()
                case turns.Resume():
                    self._call.resume()
                case turns.Listen(preroll_ms):
                    if self._uplink is not None:
                        self._uplink.open(preroll_ms)
                case turns.StopListening():
                    if self._uplink is not None:
                        self._uplink.close()
                case turns.Finalize():
                    if self._stt is not None:
                        self._stt.finalize()
                case turns.AskIfThere():
                    await self._say(STILL_THERE)
                case turns.GiveUp():
                    self.record.outcome = "silent" if self.record.outcome == "no_booking" else self.record.outcome
                    await self._last_words(SILENT_GOODBYE, Verdict("hangup", reason="silence"))

    async def _respond(self, text: str) -> None:
        await self._stop_reply()
        self._finish_exchange()
        exchange = self._exchange = self._new_exchange(text)
        exchange.times.final_transcript = self._heard_ms
        exchange.times.speech_end = self._speech_end_ms
        self._history.caller_said(text)
        speech = self._speech = Speech(self._call, self._services.tts, self._company.voice_id)
        assert self._tool_context is not None
        self._reply = Reply(
            self._services.llm,
            self._services.tools,
            self._history,
            speech,
            exchange,
            self._tool_context,
            clock_ms=self._clock_ms,
            on_last_words=self._begin_ending,
        )
        self._reply_task = asyncio.create_task(self._reply.run(), name="reply")
        self._spawn(self._await_speech(speech), "await speech")

    async def _withdraw(self) -> None:
        """The caller went on before anything of the reply was heard."""
        await self._stop_reply()
        if self._speech is not None:
            await self._speech.cancel()
            self._call.flush()
        if self._history.withdraw() is not None and self._exchange is not None:
            with contextlib.suppress(ValueError):
                self.record.turns.remove(self._exchange)
            self._exchange = None

    async def _interrupt(self) -> None:
        """The caller interrupts: late audio is dropped, and the history holds what was heard."""
        await self._stop_reply()
        speech = self._speech
        if speech is None:
            return
        self._call.flush()
        await speech.cancel()
        if not speech.utterance.done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await speech.finished()
        heard = speech.heard_text()
        if heard != speech.text.strip():
            self._history.cut(heard)
            if self._exchange is not None:
                self._exchange.interrupted = True

    async def _stop_reply(self) -> None:
        task, self._reply_task = self._reply_task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _begin_ending(self) -> None:
        """The LLM's last words are coming: nothing interrupts them any more."""
        self._call.set_barge_in(fastaudio.BargeInOptions(enabled=False))
        for action in self._turn.ending(self._clock_ms()):
            if isinstance(action, turns.Resume):
                self._call.resume()

    async def _speech_done(self, done: SpeechDone, now_ms: int) -> None:
        if done.speech is not self._speech:
            return  # of a reply that was replaced
        task = self._reply_task
        outcome = self._reply.outcome if self._reply is not None and (task is None or task.done()) else None
        if task is not None and not task.done():
            with contextlib.suppress(TimeoutError):  # the speech ends with the reply; its last steps take no time
                async with asyncio.timeout(1.0):
                    outcome = await asyncio.shield(task)
        if outcome is not None:
            await self._settle(outcome, done)
        if self._ending is not None:
            self._hang_up(self._ending)
            return
        if done.speech.failed:
            await self._trouble("no_tts")
            return
        if not done.played.flushed or self._turn.state is State.ENDING:
            self._finish_exchange()
            await self._do(self._turn.agent_finished(now_ms))

    async def _settle(self, outcome: Outcome, done: SpeechDone) -> None:
        """What the reply wants of the session, once."""
        self._reply = None
        if outcome.booking_id:
            self.record.booking_id = outcome.booking_id
            self.record.outcome = "booked"
        if outcome.effect == "end":
            self._ending = Verdict("hangup", reason="agent")
        elif outcome.effect == "transfer":
            self._ending = Verdict("transfer", outcome.extension, "agent")
            self.record.outcome = "transferred" if not self.record.booking_id else self.record.outcome
        if outcome.failed:
            self._services.counters["replies_failed"] += 1

    # -- words of our own --------------------------------------------------------------------------------------------

    async def _say(self, text: str) -> None:
        self._finish_exchange()
        self._exchange = self._new_exchange("")
        self._history.agent_began()
        self._history.agent_said(text)
        speech = self._speech = Speech(self._call, self._services.tts, self._company.voice_id)
        self._spawn(self._await_speech(speech), "await speech")
        await speech.say(text)
        await speech.end()

    async def _last_words(self, text: str, verdict: Verdict) -> None:
        await self._stop_reply()
        self._reply = None
        self._begin_ending()
        self._ending = verdict
        if verdict.action == "transfer" and self.record.outcome == "no_booking":
            self.record.outcome = "transferred"
        await self._say(text)

    async def _trouble(self, what: str) -> None:
        """A vendor is gone for good: the dialplan's fallback takes the caller, since no verdict is left for it."""
        self.record.mark(self._clock_ms(), what)
        self._failed = True
        if self._turn.state is State.ENDING:
            self._call.hangup(TRAIL_MS)
            return
        await self._stop_reply()
        self._begin_ending()
        if what == "no_tts":
            self._call.hangup(TRAIL_MS)
            return
        await self._interrupt()
        await self._say(TROUBLE)
        self._spawn(self._hang_up_after_speech(), "hang up")

    async def _hang_up_after_speech(self) -> None:
        if self._speech is not None:
            await self._speech.finished()
        self._call.hangup(TRAIL_MS)

    def _hang_up(self, verdict: Verdict) -> None:
        """The verdict first: the dialplan asks within milliseconds of the hangup."""
        self._ending = verdict
        self._services.registry.decide(self._call.uuid, verdict)
        self._call.hangup(TRAIL_MS)

    # -- the record --------------------------------------------------------------------------------------------------

    def _new_exchange(self, caller: str) -> TurnRecord:
        exchange = TurnRecord(caller=caller, start_ms=self._clock_ms())
        self.record.turns.append(exchange)
        return exchange

    def _finish_exchange(self) -> None:
        exchange, speech = self._exchange, self._speech
        if exchange is None or exchange.end_ms is not None or speech is None:
            return
        exchange.agent = speech.text.strip()
        exchange.heard = speech.heard_text()
        exchange.interrupted = exchange.interrupted or (speech.utterance.done and exchange.heard != exchange.agent)
        exchange.end_ms = self._clock_ms()
        times = exchange.times
        times.first_tts_text = self._at_ms(speech.first_text_ns) if speech.first_text_ns else None
        times.first_audio = self._at_ms(speech.first_audio_ns) if speech.first_audio_ns else None
        if self._services.on_turn is not None:
            self._services.on_turn(self.record, exchange)

    def _note_first_frame(self, event: fastaudio.Event) -> None:
        speech, exchange = self._speech, self._exchange
        if speech is not None and exchange is not None and event.generation == speech.utterance.generation:
            exchange.times.first_frame = self._at_ms(event.time_ns)

    def _clock_ms(self) -> int:
        return self._at_ms(time.monotonic_ns())

    def _at_ms(self, at_ns: int) -> int:
        return (at_ns - self._call.started_ns) // 1_000_000

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
