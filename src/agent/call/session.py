"""One call from its UUID to its record: what happens goes through one inbox, in order, to the turn machine."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TypeAlias

import fastaudio
from agent.call import actions
from agent.call.agent_turn import AgentTurn, SpeechDone
from agent.call.answer import Crew
from agent.call.answering_machine import Machine, MachineWatch
from agent.call.chronicle import Chronicle
from agent.call.company import CompanyContext
from agent.call.ear import Ear
from agent.call.ending import Ending
from agent.call.history import History
from agent.call.keypad import Keypad, Pressed
from agent.call.live import LiveCall, Order
from agent.call.parting import Parting
from agent.call.presence import Presence
from agent.call.prompts import Prompt
from agent.call.record import CallRecord
from agent.call.services import Preparation, Services
from agent.call.turn import State, Turn
from agent.conversations.steps import Progress
from agent.ops.recording import record as record_call
from agent.ops.recording_file import name_of
from agent.providers.base import (
    EagerEndOfTurn,
    EndOfTurn,
    SttAway,
    SttBack,
    SttEvent,
    SttLost,
    Transcript,
    TurnResumed,
    UtteranceEnd,
    bytes_a_ms,
)
from agent.providers.metering import METER
from agent.telephony import CallInfo, Verdict
from agent.tools.registry import ToolContext, ToolResult
from fastaudio import EventKind

log = logging.getLogger(__name__)

INBOX = 1024
STOPPING = "stopping"
HOLD_MS = 1000
"""A hold later than this is not for the voice that the caller began with."""
LAST_WORDS_S = 30.0
"""What last words are given beyond the longest call: they are said or heard out, and the call ends all the same."""


Item: TypeAlias = fastaudio.Event | SttEvent | SpeechDone | Verdict | Order


class Session:
    """Runs one call. `run` returns its record; nothing that a vendor or a caller does makes it raise."""

    def __init__(self, call: fastaudio.Call, info: CallInfo, preparation: Preparation, services: Services) -> None:
        self._call = call
        self._info = info
        self._preparation = preparation
        self._services = services
        self._inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX)
        self._log = Chronicle(call, info, services.on_turn)
        self._live = LiveCall(call, info, self._log, self._put)
        self._turn = Turn(self._log.now_ms())
        self._keypad = Keypad()
        self._parting = Parting(call, info, services)
        self._machine = MachineWatch(call.rate)
        self._ear = Ear(
            call,
            preparation,
            now_ms=self._log.now_ms,
            on_connected=lambda ends_turns: self._turn.vendor_ends_turns(ends_turns),
            on_event=self._put,
            on_audio=lambda pcm: self._beware(self._machine.audio(pcm)),
        )
        self._company: CompanyContext = CompanyContext()
        self._progress = Progress()
        self._conversation = services.conversations.default
        self._phrases = self._conversation.phrases
        self._agent = self._agent_turn()
        self._ending, self._presence = self._how_it_ends(), self._who_is_there()
        self._speech_end_ms: int | None = None
        self._spoke_ms = -HOLD_MS  # when the caller's voice last began
        self._heard_ms: int | None = None

    # -- the call ----------------------------------------------------------------------------------------------------

    async def run(self) -> CallRecord:
        """Converse until either side ends it."""
        METER.set(self._preparation.meter)
        self._call.listen(self._put)
        self._services.live.add(self._live)
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._ear.hear(), name="hear")
                if self._services.records(self._company):
                    group.create_task(self._record_audio(), name="recording")
                await self._converse()
                hearing.cancel()
        except* fastaudio.EngineClosed:
            pass  # the caller hung up in the middle of something
        except* Exception:
            log.exception("call %s failed", self._call.uuid)
            self._ending.failed = True
        finally:
            record = await self._close()
        return record

    @property
    def record(self) -> CallRecord:
        """What is known of the call so far."""
        return self._log.record

    def stop_soon(self) -> None:
        """The agent is to end: a goodbye now, unless the call is ending already."""
        self._put(Verdict("hangup", reason=STOPPING))

    async def _open(self) -> None:
        self._company = await self._preparation.context(self._call.started_ns)
        self._log.answered_for(self._company)
        self._conversation = self._services.conversations.of(self._company)
        self._phrases = self._conversation.phrases_for(self._company)
        # The caller has been waiting for a word since the line was there, and the context took its time.
        self._turn = Turn(0, self._services.turn_taking, self._conversation.words)
        self._keypad = Keypad(self._conversation.words)
        self._progress = Progress(self._conversation.steps)
        self._agent = self._agent_turn()
        self._ending, self._presence = self._how_it_ends(), self._who_is_there()
        self._live.opened(self._company, self._turn, self._agent, self._progress)
        self._agent.greet(self._services.greetings, self._services.greeting_of(self._company))

    def _agent_turn(self) -> AgentTurn:
        """What says something in this call, by the conversation that the company has."""
        conversation, services = self._conversation, self._services
        crew = Crew(
            self._call,
            services.llm,
            services.tts,
            services.conversations.voice_of(self._company),
            conversation.tools,
            ToolContext(
                call_uuid=str(self._call.uuid),
                company=self._company,
                http=services.http,
                endpoints=services.endpoints,
                did_number=self._info.did,
                region=services.settings.default_region,
                data_dir=services.settings.data_dir / "conversations" / conversation.name,
                outbox=services.outbox,
            ),
            self._phrases,
            conversation.spoken,
            clock_ms=self._log.now_ms,
            on_act=self._tool_begins,
            on_result=self._tool_has_run,
        )
        history = History(conversation.prompt(self._company))
        return AgentTurn(crew, history, self._log, services.counters, self._put)

    def _how_it_ends(self) -> Ending:
        return Ending(self._call, self._turn, self._agent, self._parting, self._log, self._company, self._recorded)

    def _who_is_there(self) -> Presence:
        return Presence(
            self._turn, self._agent, self._log, self._services.counters, self._recorded, bytes_a_ms(self._call.rate)
        )

    async def _converse(self) -> None:
        limit = self._call.started_ns / 1e9 + self._services.settings.max_call_seconds
        overdue = False
        while not self._call.ended:
            next_ms = min(
                self._turn.deadline_ms, self._keypad.deadline_ms or self._turn.deadline_ms, self._presence.due_ms()
            )
            wait_s = min(limit - time.monotonic(), (next_ms - self._log.now_ms()) / 1000)
            try:
                async with asyncio.timeout(max(0.0, wait_s)):
                    item = await self._inbox.get()
            except TimeoutError:
                if time.monotonic() >= limit:
                    limit += LAST_WORDS_S
                    await self._too_long(overdue)
                    overdue = True
                if self._keypad.deadline_ms is not None and self._log.now_ms() >= self._keypad.deadline_ms:
                    await self._typed()
                if self._log.now_ms() >= self._presence.due_ms():
                    self._presence.tell()
                await self._do(self._turn.tick(self._log.now_ms()))
                continue
            await self._handle(item)

    async def _too_long(self, overdue: bool) -> None:
        """The call is at its limit, or so long beyond it that no last words will come any more."""
        if not self._ending.begun:
            await self._ending.say(self._phrases.too_long, Verdict("hangup", reason="too_long"))
        elif overdue:
            await self._ending.words_are_over()

    def _recorded(self, prompt: Prompt) -> tuple[bytes, str]:
        voice = self._services.conversations.voice_of(self._company)
        return self._services.prompts.audio(prompt, voice, self._call.rate)

    async def _close(self) -> CallRecord:
        """The call is over: end what is under way and write down what came of it."""
        self._live.close()
        await self._agent.close()
        await self._preparation.close()  # its STT too, also when the call was over before that was asked for
        await self._parting.over()
        self._call.hangup(0)
        record = await self._log.close()
        if self._ending.verdict is None and not self._ending.failed and record.ended_by == "caller":
            await self._services.door.decide(self._call.uuid, Verdict("hangup", reason="caller"))
        self._ending.note(record)
        record.vendors = {"stt": self._ear.counters}
        self._log.charge(self._preparation.meter, self._services.prices)
        # They hold this session: a cycle keeps memory until the next collection.
        del self._agent, self._ear, self._ending, self._presence
        return record

    # -- what happens ------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if self._inbox.full():
            self._services.counters["inbox_dropped"] += 1
            return
        self._inbox.put_nowait(item)

    async def _record_audio(self) -> None:
        settings = self._services.settings
        path = settings.recordings / name_of(str(self._call.uuid), settings.recording_format)
        self._log.record.recording = str(path)
        recorded = await record_call(self._call, path)
        if recorded.lost_ms:
            self._log.mark("recording_lost", f"{recorded.lost_ms} ms")
            self._services.counters["recordings_cut"] += 1
        if recorded.failed:
            self._log.mark("recording_failed", recorded.failed)
            self._services.counters["recordings_failed"] += 1
            if not path.exists():
                self._log.record.recording = ""

    async def _handle(self, item: Item) -> None:
        now_ms = self._log.now_ms()
        if isinstance(item, Transcript):
            await self._handle_transcript(item, now_ms)
        elif isinstance(item, UtteranceEnd):
            await self._do(self._turn.utterance_end(now_ms))
        elif isinstance(item, EagerEndOfTurn):
            await self._do(self._turn.eager_end(item.text, now_ms))
        elif isinstance(item, TurnResumed):
            await self._do(self._turn.turn_resumed(now_ms))
        elif isinstance(item, EndOfTurn):
            self._heard_ms = now_ms
            self._log.heard(item)
            self._beware(self._machine.words(item.text, now_ms))
            await self._do(self._turn.end_of_turn(item, now_ms))
        elif isinstance(item, SttAway):
            self._log.mark("stt_away")
            await self._do(self._turn.stt_away(now_ms))
        elif isinstance(item, SttBack):
            self._log.mark("stt_back")
            await self._do(self._turn.stt_back(now_ms, ends_turns=item.ends_turns))
        elif isinstance(item, SttLost):
            await self._ending.trouble("no_stt")
        elif isinstance(item, SpeechDone):
            await self._speech_done(item, now_ms)
        elif isinstance(item, Verdict):
            await self._decided(item)
        elif isinstance(item, Order):
            await self._ordered(item)
        elif isinstance(item, fastaudio.Event):
            await self._handle_media(item, now_ms)

    async def _decided(self, verdict: Verdict) -> None:
        """The call is to end, and nothing is being said about it yet."""
        if verdict.reason == STOPPING:
            if not self._ending.begun:
                self._log.mark(STOPPING)
                await self._ending.recite(verdict, Prompt.CLOSING)
            return
        await self._ending.say(
            self._phrases.transferring if verdict.action == "transfer" else self._phrases.goodbye, verdict
        )

    async def _ordered(self, order: Order) -> None:
        """Somebody who looks on wants the call to end, or the caller put through."""
        if self._ending.begun:
            return
        transfers = order.verdict.action == "transfer"
        self._log.mark("operator", f"{'transfer' if transfers else 'end'} by {order.by}")
        await self._ending.say(self._phrases.transferring if transfers else self._phrases.too_long, order.verdict)

    async def _handle_transcript(self, heard: Transcript, now_ms: int) -> None:
        log.debug("call %s heard %s", self._call.uuid, heard.text if self._services.settings.log_transcripts else "…")
        if heard.final and heard.text:
            self._heard_ms = now_ms
            self._beware(self._machine.words(heard.text, now_ms))
        self._log.heard(heard)
        await self._do(self._turn.transcript(heard, now_ms))

    def _beware(self, found: Machine | None) -> None:
        """It is a machine that rings: a goodbye, and the line is free again."""
        if found is not None and self._turn.state is not State.ENDING:
            self._log.mark("machine", found.value)
            self._log.outcome("machine")
            self._put(Verdict("hangup", reason=found.value))

    async def _handle_media(self, event: fastaudio.Event, now_ms: int) -> None:
        match event.kind:
            case EventKind.SPEECH:
                self._spoke_ms = event.position * 1000 // self._call.rate
                self._ear.hurry(False)
                await self._do(self._turn.caller_speaks(now_ms))
            case EventKind.QUIET:
                self._ear.hurry(True)
                self._speech_end_ms = event.position * 1000 // self._call.rate
                await self._do(self._turn.caller_quiet(now_ms, self._speech_end_ms))
            case EventKind.BEGAN:
                if not self._agent.says(event.generation):
                    return  # of an answer that was withdrawn as it began: the caller's words are still to be answered
                self._agent.began(event)
                self._presence.heard(now_ms)
                self._speech_end_ms = self._heard_ms = None
                await self._do(self._turn.agent_speaks(now_ms))
            case EventKind.HOLD:
                self._log.mark("hold", at_ns=event.time_ns)
                self._held(self._log.at_ms(event.time_ns) - self._spoke_ms)
                await self._do(self._turn.hold(now_ms))
            case EventKind.BARGE_IN:
                self._log.mark("barge_in", at_ns=event.time_ns)
            case EventKind.RESUME:
                self._log.mark("resume", at_ns=event.time_ns)
                await self._do(self._turn.resumed(now_ms))
            case EventKind.FLUSHED:
                if self._agent.says(event.generation):
                    self._presence.heard(now_ms)
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

    def _held(self, after_ms: int) -> None:
        """The agent has fallen silent; what began before it spoke, or never, is no voice that it was silent for."""
        if 0 <= after_ms <= HOLD_MS and self._services.on_hold is not None:
            self._services.on_hold(after_ms / 1000)

    async def _dtmf(self, digit: str, at_ns: int) -> None:
        self._log.mark("dtmf", digit, at_ns=at_ns)
        if self._turn.state is State.ENDING:
            return
        match self._keypad.press(digit, self._agent.question, self._log.now_ms()):
            case Pressed.ALL:
                await self._typed()
            case Pressed.PERSON if targets := list(self._company.transfer_targets.values()):
                await self._ending.say(self._phrases.transferring, Verdict("transfer", targets[0], "dtmf"))
            case Pressed.PERSON:
                await self._agent.interrupt()
                await self._agent.say(self._phrases.nobody_free)

    async def _typed(self) -> None:
        """No more keys come: what was typed is the caller's turn."""
        self._heard_ms = self._speech_end_ms = None
        await self._do(self._turn.typed(self._keypad.take(), self._log.now_ms()))

    # -- what the turn machine wants ---------------------------------------------------------------------------------

    async def _do(self, wanted: list[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.Think(text):
                    await self._agent.think(text)
                case actions.Respond(text):
                    self._respond(text)
                case actions.Retract():
                    self._agent.keep_back()
                case actions.Withdraw():
                    await self._agent.withdraw()
                case actions.Interrupt():
                    await self._agent.interrupt()
                case actions.Resume():
                    self._call.resume()
                case actions.SayTheRest():
                    await self._agent.say_the_rest()
                case actions.Listen(preroll_ms):
                    self._ear.listen(preroll_ms)
                case actions.StopListening():
                    self._ear.stop()
                case actions.Finalize():
                    self._ear.finalize()
                case actions.AskIfThere():
                    await self._agent.say(self._phrases.still_there)
                case actions.GiveUp():
                    self._log.outcome("silent")
                    await self._ending.say(self._phrases.silent_goodbye, Verdict("hangup", reason="silence"))
                case actions.Stalled():
                    await self._stalled()
                case actions.HangUp():
                    await self._ending.hang_up(self._ending.verdict or Verdict("hangup", reason="stalled"))

    def _respond(self, text: str) -> None:
        self._step(text and self._progress.answered())
        self._agent.respond(text, speech_end_ms=self._speech_end_ms, final_ms=self._heard_ms)

    # -- what the agent's words and tools come to --------------------------------------------------------------------

    def _tool_begins(self) -> None:
        self._agent.take_hold()
        self._turn.tool_began(self._log.now_ms())

    def _tool_has_run(self, name: str, result: ToolResult) -> None:
        """What a tool wants of the call."""
        if result.effect == "booked":
            self._log.booked(str(result.data.get("booking_id", "")))
        elif result.effect == "kept":
            self._log.kept(str(result.data.get("idempotency_key", "")))
        self._step(self._progress.used(name))
        self._turn.tool_ended(self._log.now_ms(), acted=result.ok and self._conversation.tools.acts(name))
        if result.effect == "end":
            verdict = Verdict("hangup", reason="agent")
        elif result.effect == "transfer":
            verdict = Verdict("transfer", str(result.data.get("extension", "")), "agent")
        else:
            return
        if not self._agent.answering:
            self._put(verdict)  # the answer that ran it was interrupted, and nothing is being said
            return
        self._ending.behind_the_answer(verdict)

    def _step(self, moved: object) -> None:
        if moved:
            self._log.mark("step", self._progress.name)

    async def _stalled(self) -> None:
        """No vendor answers, and none says so: what the caller said is answered after an apology, once."""
        self._log.mark("stalled")
        self._services.counters["stalled"] += 1
        await self._agent.give_up()
        if self._agent.unanswered > 1:
            await self._ending.trouble("no_llm")
        else:
            await self._agent.say(self._phrases.trouble)

    async def _speech_done(self, done: SpeechDone, now_ms: int) -> None:
        if not await self._agent.done(done):
            return
        self._presence.heard(now_ms)
        self._step(self._progress.said(done.speech.heard_text()))
        if await self._ending.words_are_done(failed=done.speech.failed):
            return
        if done.speech.failed:
            await self._ending.trouble("no_tts")
        elif self._agent.unanswered > 1:
            await self._ending.trouble("no_llm")
        elif not done.played.flushed:
            self._agent.end_exchange()
            self._machine.agent_finished()
            await self._do(self._turn.agent_finished(now_ms, self._agent.question))
            if self._agent.unanswered:  # the caller was asked to bear with us, and has nothing to say again
                self._turn.thinks_again(now_ms)
                self._respond("")
