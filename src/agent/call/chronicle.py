"""Keeps a call's record while the call runs: exchanges as they begin and end, and when things happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import fastaudio
from agent.call.company import CompanyContext
from agent.call.record import CallRecord, TurnRecord
from agent.call.speech import Speech
from agent.call.spoken_words import CallerWords
from agent.ops.prices import PriceTable
from agent.providers.base import EndOfTurn, Transcript
from agent.providers.metering import METER, Meter
from agent.telephony import CallInfo


class Chronicle:
    """The record of one call, and the clock that it is written by: ms since the UUID."""

    def __init__(
        self,
        call: fastaudio.Call,
        info: CallInfo,
        on_turn: Callable[[CallRecord, TurnRecord], None] | None = None,
    ) -> None:
        self._call = call
        self._on_turn = on_turn
        self._exchange: TurnRecord | None = None
        self._caller_words = CallerWords()
        self._drafts = 0  # answers thought of early since one was heard
        self.record = CallRecord(
            uuid=str(call.uuid),
            did=info.did,
            caller_id=info.caller_id,
            caller_name=info.caller_name,
            unique_id=info.unique_id,
            linked_id=info.linked_id,
            source=info.source,
        )
        # Metadata files may have been waited for since the line was there.
        began = datetime.now(UTC) - timedelta(milliseconds=self.now_ms())
        self.record.started = began.isoformat(timespec="milliseconds")

    def now_ms(self) -> int:
        """The time of the call."""
        return self.at_ms(time.monotonic_ns())

    def at_ms(self, at_ns: int) -> int:
        """The time of the call at a time of CLOCK_MONOTONIC."""
        return (at_ns - self._call.started_ns) // 1_000_000

    def answered_for(self, company: CompanyContext) -> None:
        """In whose name the call is answered."""
        self.record.company = company.company_name
        if company.default_reason:
            self.mark("default_context", company.default_reason)
            METER.get().failed("context")

    def mark(self, what: str, detail: str = "", *, at_ns: int | None = None) -> None:
        """Note that something happened, now or at a time of CLOCK_MONOTONIC."""
        self.record.mark(self.now_ms() if at_ns is None else self.at_ms(at_ns), what, detail)

    def begin_exchange(self) -> None:
        """The agent speaks by itself."""
        self.adopt(TurnRecord(caller="", start_ms=self.now_ms()))

    def heard(self, heard: Transcript | EndOfTurn) -> None:
        """The caller says, or seems to say, something."""
        self._caller_words.heard(heard)

    def adopt(self, exchange: TurnRecord) -> None:
        """The caller has said something that is answered now; it may be adopted again when words were added."""
        exchange.words = self._caller_words.of_turn(exchange.caller) or exchange.words
        if self._exchange is not exchange:
            self._exchange = exchange
            self.record.turns.append(exchange)

    def withdraw_exchange(self, exchange: TurnRecord) -> None:
        """The caller went on: this was no exchange."""
        if exchange in self.record.turns:
            self.record.turns.remove(exchange)
        if self._exchange is exchange:
            self._exchange = None

    def thought(self, *, early: bool) -> None:
        """An answer is thought of."""
        self.record.early_answers["begun"] += early
        self._drafts += early

    def used(self, exchange: TurnRecord, *, early: bool) -> None:
        """It is heard."""
        self.record.early_answers["used"] += early
        exchange.drafts, exchange.wasted = self._drafts, self._drafts - early
        self._drafts = 0
        self._caller_words.forget()

    def thrown_away(self, *, early: bool) -> None:
        """Nothing of it was heard."""
        self.record.early_answers["thrown_away"] += early

    def interrupted(self) -> None:
        """The caller interrupts the agent in this exchange."""
        if self._exchange is not None:
            self._exchange.interrupted = True

    def first_frame(self, speech: Speech | None, event: fastaudio.Event) -> None:
        """Audio of a generation has begun to go out."""
        exchange = self._exchange
        if exchange is not None and speech is not None and event.generation == speech.generation:
            exchange.times.first_frame = self.at_ms(event.time_ns)

    def end_exchange(self, speech: Speech | None) -> None:
        """The agent has said what it had to say, or was cut off. Doing it again changes nothing."""
        exchange = self._exchange
        if exchange is None or exchange.end_ms is not None or speech is None:
            return
        exchange.agent = speech.whole_text
        exchange.heard = speech.heard_text()
        exchange.interrupted = exchange.interrupted or (speech.done and exchange.heard != exchange.agent)
        exchange.words += speech.heard_words()
        exchange.end_ms = self.now_ms()
        times = exchange.times
        times.first_tts_text = self.at_ms(speech.first_text_ns) if speech.first_text_ns else None
        times.first_audio = self.at_ms(speech.first_audio_ns) if speech.first_audio_ns else None
        if self._on_turn is not None:
            self._on_turn(self.record, exchange)

    def outcome(self, outcome: str) -> None:
        """What came of the call; a booking is never overwritten."""
        if self.record.outcome not in ("booked", "booking_kept"):
            self.record.outcome = outcome

    def booked(self, booking_id: str) -> None:
        """A booking was made."""
        self.record.booking_id = booking_id
        self.record.outcome = "booked"

    def kept(self, key: str) -> None:
        """A booking is kept, to be sent when the API can be had; `voice-agent outbox` knows it by its key."""
        self.mark("booking_kept", key[:12])
        self.outcome("booking_kept")

    def charge(self, meter: Meter, prices: PriceTable) -> None:
        """The call uses no more of its vendors: what it used, and what that costs."""
        meter.close()
        record = self.record
        record.vendor_errors = {source: count for source, count in meter.errors.items()}
        record.usage = meter.usage
        record.costs = prices.costs(record.usage)
        record.unpriced = prices.unpriced(record.usage)
        record.currency = prices.currency

    async def close(self) -> CallRecord:
        """The call is over: what can be counted now."""
        record = self.record
        record.seconds = round((time.monotonic_ns() - self._call.started_ns) / 1e9, 3)
        record.ended_by = await self._call.wait_ended()
        record.media = self._call.counters()
        return record
