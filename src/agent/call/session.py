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
from agent.call.chronicle import Chronicle
from agent.call.context import CompanyContext
from agent.call.history import History
from agent.call.record import CallRecord, TurnRecord
from agent.call.reply import Reply
from agent.call.services import Preparation, Services
from agent.call.speech import Speech
from agent.call.turn import State, Turn
from agent.call.uplink import Uplink
from agent.ops.recording import record as record_call
from agent.providers.base import ProviderError, SpeechToText, SttEvent, SttLost, Transcript, UtteranceEnd
from agent.telephony import CallInfo, Verdict
from agent.tools.registry import ToolContext, ToolResult
from fastaudio import EventKind

log = logging.getLogger(__name__)

INBOX = 1024
TRAIL_MS = 240  # the far end's jitter buffer plays the last word before the line goes


@dataclass(frozen=True, slots=True)
class SpeechDone:
    """All of a speech was heard, or thrown away."""

    speech: Speech
    played: fastaudio.Played


Item: TypeAlias = fastaudio.Event | SttEvent | SpeechDone


class Session:
    """Runs one call. `run` returns its record; nothing that a vendor or a caller does makes it raise."""

    def __init__(self, call: fastaudio.Call, info: CallInfo, preparation: Preparation, services: Services) -> None:
        self._call = call
        self._info = info
        self._preparation = preparation
        self._services = services
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._log = Chronicle(call, info, services.on_turn)
        self._turn = Turn(self._log.now_ms())
        self._speech: Speech | None = None
        self._reply: Reply | None = None
        self._reply_task: asyncio.Task[None] | None = None
        self._tool_tasks: set[asyncio.Task[ToolResult]] = set()
        self._uplink: Uplink | None = None
        self._stt: SpeechToText | None = None
        self._history = History("")
        self._company: CompanyContext = CompanyContext()
        self._conversation = services.conversations.default
        self._phrases = self._conversation.phrases
        self._voice_id = ""
        self._tool_context: ToolContext | None = None
        self._ending: Verdict | None = None
        self._failed = False
        self._unanswered = 0  # times in a row that the LLM gave no answer
        self._speech_end_ms: int | None = None
        self._heard_ms: int | None = None
        self._listening_since: int | None = None  # the caller is to be heard, and the STT is not there yet
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the call ----------------------------------------------------------------------------------------------------

    async def run(self) -> CallRecord:
        """Converse until either side ends it."""
        self._call.listen(self._put)
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._hear(), name="hear")
                if self._services.settings.record_calls and self._company.recording:
                    group.create_task(self._record_audio(), name="recording")
                await self._converse()
                hearing.cancel()
        except* fastaudio.EngineClosed:
            pass  # the caller hung up in the middle of something
        except* Exception:
            log.exception("call %s failed", self._call.uuid)
            self._failed = True
        finally:
            record = await self._close()
        return record

    async def _open(self) -> None:
        self._company = await self._preparation.context(self._call.started_ns)
        self._log.answered_for(self._company)
        self._conversation = self._services.conversations.of(self._company)
        self._phrases = self._conversation.phrases_for(self._company)
        self._voice_id = self._conversation.voice_for(self._company)
        self._history = History(self._conversation.prompt(self._company))
        self._tool_context = ToolContext(
            call_uuid=str(self._call.uuid),
            company=self._company,
            http=self._services.http,
            endpoints=self._services.endpoints,
            did_number=self._info.did,
            region=self._services.settings.default_region,
            data_dir=self._services.settings.data_dir / "conversations" / self._conversation.name,
        )
        self._log.begin_exchange("")
        self._speech = Speech(self._call, self._services.tts, self._voice_id)
        self._spawn(self._greet(self._speech), "greet")
        self._spawn(self._await_speech(self._speech), "await greeting")

    async def _greet(self, speech: Speech) -> None:
        self._history.agent_began()
        text = self._conversation.greeting(self._company)
        self._history.agent_said(text)
        with contextlib.suppress(fastaudio.StaleGeneration, fastaudio.EngineClosed):  # interrupted, or gone
            await self._services.greetings.say(speech, text, self._voice_id)

    async def _converse(self) -> None:
        limit = self._call.started_ns / 1e9 + self._services.settings.max_call_seconds
        while not self._call.ended:
            wait_s = limit - time.monotonic()
            if self._turn.deadline_ms is not None:
                wait_s = min(wait_s, (self._turn.deadline_ms - self._log.now_ms()) / 1000)
            try:
                async with asyncio.timeout(max(0.0, wait_s)):
                    item = await self._inbox.get()
            except TimeoutError:
                if time.monotonic() >= limit and self._turn.state is not State.ENDING:
                    await self._last_words(self._phrases.too_long, Verdict("hangup", reason="too_long"))
                    limit += 30  # for a goodbye that cannot be spoken
                elif time.monotonic() >= limit:
                    self._hang_up(Verdict("hangup", reason="too_long"))
                    limit += 30
                await self._do(self._turn.tick(self._log.now_ms()))
                continue
            await self._handle(item)

    async def _close(self) -> CallRecord:
        """The call is over: end what is under way and write down what came of it."""
        await self._stop_reply()
        if self._tool_tasks:  # a booking that was begun is made, also when the caller has gone; each has a time limit
            await asyncio.wait(self._tool_tasks)
        if self._speech is not None:
            await self._speech.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._preparation.close()  # its STT too, also when the call was over before that was asked for
        self._call.hangup(0)
        self._log.end_exchange(self._speech)
        record = await self._log.close()
        if self._ending is None and not self._failed and record.ended_by == "caller":
            self._services.registry.decide(self._call.uuid, Verdict("hangup", reason="caller"))
        if self._ending is not None:
            record.verdict = f"{self._ending.action} {self._ending.target}".strip()
        if self._failed:
            self._log.outcome("failed")
        record.vendors = {"stt": dict(getattr(self._stt, "counters", {}))}
        self._reply = None  # it holds this session, and a cycle would keep the call's audio until the next collection
        return record

    # -- what happens ------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if self._inbox.full():
            self._services.counters["inbox_dropped"] += 1
            return
        self._inbox.put_nowait(item)

    async def _hear(self) -> None:
        """Take the STT as soon as it is connected, and hear what it says."""
        try:
            self._stt = await self._preparation.stt()
        except ProviderError as error:
            log.error("call %s: %s", self._call.uuid, error)
            self._put(SttLost(str(error)))
            return
        self._uplink = Uplink(self._call, self._stt)
        if self._listening_since is not None:
            self._uplink.open(self._log.now_ms() - self._listening_since)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._uplink.run(), name="uplink")
            async for event in self._stt.events():
                self._put(event)

    async def _record_audio(self) -> None:
        path = self._services.settings.recordings / f"{self._call.uuid}.wav"
        self._log.record.recording = str(path)
        lost_ms = await record_call(self._call, path)
        if lost_ms:
            self._log.mark("recording_lost", f"{lost_ms} ms")

    async def _await_speech(self, speech: Speech) -> None:
        self._put(SpeechDone(speech, await speech.finished()))

    async def _handle(self, item: Item) -> None:
        now_ms = self._log.now_ms()
        if isinstance(item, Transcript):
            await self._handle_transcript(item, now_ms)
        elif isinstance(item, UtteranceEnd):
            await self._do(self._turn.utterance_end(now_ms))
        elif isinstance(item, SttLost):
            await self._trouble("no_stt")
        elif isinstance(item, SpeechDone):
            await self._speech_done(item, now_ms)
        elif isinstance(item, fastaudio.Event):
            await self._handle_media(item, now_ms)

    async def _handle_transcript(self, heard: Transcript, now_ms: int) -> None:
        log.debug("call %s heard %s", self._call.uuid, heard.text if self._services.settings.log_transcripts else "…")
        if heard.text:
            self._heard_ms = now_ms
        await self._do(self._turn.transcript(heard, now_ms))

    async def _handle_media(self, event: fastaudio.Event, now_ms: int) -> None:
        match event.kind:
            case EventKind.SPEECH:
                await self._do(self._turn.caller_speaks(now_ms))
            case EventKind.QUIET:
                self._speech_end_ms = event.position * 1000 // self._call.rate
                await self._do(self._turn.caller_quiet(now_ms))
            case EventKind.BEGAN:
                if self._speech is None or event.generation != self._speech.utterance.generation:
                    return  # of a reply that was withdrawn as it began: the caller's words are still to be answered
                self._log.first_frame(self._speech, event)
                self._speech_end_ms = None
                await self._do(self._turn.agent_speaks(now_ms))
            case EventKind.HOLD:
                self._log.mark("hold", at_ns=event.time_ns)
                await self._do(self._turn.hold(now_ms))
            case EventKind.BARGE_IN:
                self._log.mark("barge_in", at_ns=event.time_ns)
            case EventKind.RESUME:
                self._log.mark("resume", at_ns=event.time_ns)
                await self._do(self._turn.resumed(now_ms))
            case EventKind.FLUSHED:
                if self._speech is not None and event.generation == self._speech.utterance.generation:
                    if event.value:  # else the caller has heard nothing of it: a reply that was withdrawn
                        self._log.mark("flush", at_ns=event.time_ns)
                    await self._do(self._turn.flushed(now_ms))
            case EventKind.FORMAT:
                self._log.mark("other_format", f"{event.value} Hz", at_ns=event.time_ns)
                log.error(
                    "call %s: the caller's audio has %d samples a second and SAMPLE_RATE is %d, so it is not heard; "
                    'make the two agree (docs/install-asterisk.md, "Wideband")',
                    *(self._call.uuid, event.value, self._call.rate),
                )
            case EventKind.DTMF:
                await self._dtmf(chr(event.value), event.time_ns)

    async def _dtmf(self, digit: str, at_ns: int) -> None:
        self._log.mark("dtmf", digit, at_ns=at_ns)
        targets = list(self._company.transfer_targets.values())
        if digit == "0" and targets and self._turn.state is not State.ENDING:
            await self._last_words(self._phrases.transferring, Verdict("transfer", targets[0], "dtmf"))
        elif digit == "0" and self._turn.state is not State.ENDING:
            await self._interrupt()
            await self._say(self._phrases.nobody_free)

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
                    self._listen(preroll_ms)
                case turns.StopListening():
                    self._listening_since = None
                    if self._uplink is not None:
                        self._uplink.close()
                case turns.Finalize():
                    if self._stt is not None:
                        self._stt.finalize()
                case turns.AskIfThere():
                    await self._say(self._phrases.still_there)
                case turns.GiveUp():
                    self._log.outcome("silent")
                    await self._last_words(self._phrases.silent_goodbye, Verdict("hangup", reason="silence"))

    def _listen(self, preroll_ms: int) -> None:
        """Let the STT hear; one that is not connected yet hears all of it when it is."""
        if self._uplink is not None:
            self._uplink.open(preroll_ms)
        elif self._listening_since is None:
            self._listening_since = self._log.now_ms() - preroll_ms

    async def _respond(self, text: str) -> None:
        await self._drop_speech()
        self._log.end_exchange(self._speech)
        exchange = self._log.begin_exchange(text)
        exchange.times.final_transcript = self._heard_ms
        exchange.times.speech_end = self._speech_end_ms
        self._history.caller_said(text)
        self._answer(exchange)

    def _answer(self, exchange: TurnRecord) -> None:
        """Have the LLM answer what the history holds. It apologises once; a second failure in a row is the end."""
        speech = self._speech = Speech(self._call, self._services.tts, self._voice_id)
        assert self._tool_context is not None
        self._reply = Reply(
            self._services.llm,
            self._conversation.tools,
            self._history,
            speech,
            exchange,
            self._tool_context,
            clock_ms=self._log.now_ms,
            phrases=self._phrases,
            apology="" if self._unanswered else self._phrases.trouble,
            on_result=self._tool_has_run,
            tool_tasks=self._tool_tasks,
        )
        self._reply_task = asyncio.create_task(self._reply.run(), name="reply")
        self._spawn(self._await_speech(speech), "await speech")

    def _tool_has_run(self, result: ToolResult) -> None:
        """What a tool wants of the call."""
        if result.effect == "booked":
            self._log.booked(str(result.data.get("booking_id", "")))
        if result.ok:
            self._turn.acted()
        if result.effect == "end":
            self._ending = Verdict("hangup", reason="agent")
            self._begin_ending()
        elif result.effect == "transfer":
            self._ending = Verdict("transfer", str(result.data.get("extension", "")), "agent")
            self._log.outcome("transferred")
            self._begin_ending()

    async def _withdraw(self) -> None:
        """The caller went on before anything of the reply was heard."""
        await self._drop_speech()
        self._speech = None
        if self._history.withdraw() is not None:
            self._log.withdraw_exchange()

    async def _interrupt(self) -> None:
        """The caller interrupts: late audio is dropped, and the history holds what was heard."""
        await self._drop_speech()
        speech = self._speech
        if speech is None:
            return
        if not speech.utterance.done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await speech.finished()
        heard = speech.heard_text()
        if heard != speech.text.strip():
            self._history.cut(heard)
            self._log.interrupted()

    async def _drop_speech(self) -> None:
        """Think no further, and throw away what was not heard yet."""
        await self._stop_reply()
        speech = self._speech
        if speech is None or (speech.utterance.done and not (await speech.finished()).flushed):
            return  # it was heard to its end
        self._call.flush()
        await speech.cancel()

    async def _stop_reply(self) -> None:
        task, self._reply_task = self._reply_task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _begin_ending(self) -> None:
        """The last words are coming: nothing interrupts them any more."""
        self._call.set_barge_in(fastaudio.BargeInOptions(enabled=False))
        for action in self._turn.ending(self._log.now_ms()):
            if isinstance(action, turns.Resume):
                self._call.resume()

    async def _speech_done(self, done: SpeechDone, now_ms: int) -> None:
        if done.speech is not self._speech:
            return  # of a reply that was replaced
        task = self._reply_task
        if task is not None and not task.done():
            with contextlib.suppress(TimeoutError):  # the speech ends with the reply; its last steps take no time
                async with asyncio.timeout(1.0):
                    await asyncio.shield(task)
        reply, self._reply = self._reply, None
        self._unanswered = self._unanswered + 1 if reply is not None and reply.unanswered else 0
        if reply is not None and reply.failed:
            self._services.counters["replies_failed"] += 1
        if self._ending is not None:
            self._hang_up(self._ending)
        elif done.speech.failed:
            await self._trouble("no_tts")
        elif self._failed:
            self._call.hangup(TRAIL_MS)  # the apology has been heard; no verdict: the dialplan's fallback
        elif self._unanswered > 1:
            await self._trouble("no_llm")
        elif not done.played.flushed:
            self._log.end_exchange(done.speech)
            await self._do(self._turn.agent_finished(now_ms))
            if self._unanswered:  # the caller was asked to bear with us, and has nothing to say again
                self._answer(self._log.begin_exchange(""))

    # -- words of our own --------------------------------------------------------------------------------------------

    async def _say(self, text: str) -> None:
        self._log.end_exchange(self._speech)
        self._log.begin_exchange("")
        self._history.agent_began()
        self._history.agent_said(text)
        speech = self._speech = Speech(self._call, self._services.tts, self._voice_id)
        self._spawn(self._await_speech(speech), "await speech")
        await speech.say(text)
        await speech.end()

    async def _last_words(self, text: str, verdict: Verdict) -> None:
        await self._interrupt()
        self._reply = None
        self._begin_ending()
        self._ending = verdict
        if verdict.action == "transfer":
            self._log.outcome("transferred")
        await self._say(text)

    async def _trouble(self, what: str) -> None:
        """A vendor is gone for good: the dialplan's fallback takes the caller, since no verdict is left for it."""
        self._log.mark(what)
        self._failed = True
        if self._turn.state is State.ENDING:
            self._call.hangup(TRAIL_MS)
            return
        if what != "no_stt":  # it cannot be said, or has been
            await self._stop_reply()
            self._begin_ending()
            self._call.hangup(TRAIL_MS)
            return
        await self._interrupt()
        self._begin_ending()
        await self._say(self._phrases.trouble)

    def _hang_up(self, verdict: Verdict) -> None:
        """The verdict first: the dialplan asks within milliseconds of the hangup."""
        self._ending = verdict
        self._services.registry.decide(self._call.uuid, verdict)
        self._call.hangup(TRAIL_MS)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
