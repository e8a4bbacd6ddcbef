"""A made-up past: calls as they might have been, for looking at the console and for measuring it.

The same seed gives the same calls. Callers have numbers of the ranges that Ofcom keeps for drama, so they are nobody.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy import select

from agent.call.record import CallRecord, TurnRecord, TurnTimes, Word
from agent.office.models import Booking, Caller
from agent.office.store import NewCompany, OfficeStore, add_companies

BATCH = 500
MS_A_WORD = 290
LLM = "llama-3.3-70b-versatile"
BY_HOUR = (1, 1, 1, 1, 1, 2, 4, 9, 14, 15, 14, 13, 12, 12, 12, 12, 13, 14, 12, 9, 6, 4, 2, 1)
"""How often somebody rings at each hour of the day, UTC."""
DAY = timedelta(days=1)
CALLERS = ("+447700900", "+441154960", "+441314960", "+441414960", "+441214960")
FIRST_NAMES = "Anna Ben Chloe Daniel Emma Farah George Hannah Imran Jack Kate Liam Maya Noor Oliver Priya".split()
LAST_NAMES = "Ahmed Brown Clarke Davies Evans Green Hughes Jones Khan Lewis Patel Roberts Smith Taylor Walker".split()
STREETS = "Baker Street, Acacia Avenue, High Street, Mill Lane, Station Road, Victoria Road, Church Lane".split(", ")
AREAS = "SW4 SE15 N1 E8 W12 M14 M20 LS6 BS3 CF10 EH6 NW3 B13 OL1".split()
PROBLEMS = (
    ("My kitchen tap is leaking and it won't stop.", "a leaking kitchen tap"),
    ("The boiler isn't firing and we've no hot water.", "a boiler that does not fire"),
    ("There's water coming through the bathroom ceiling.", "water through the bathroom ceiling"),
    ("The toilet is blocked, it's about to overflow.", "a blocked toilet"),
    ("A radiator has come off the wall in the hall.", "a radiator off the wall"),
    ("The fuse box keeps tripping whenever I put the oven on.", "a fuse box that trips"),
    ("Half the sockets upstairs are dead.", "dead sockets upstairs"),
    ("The outside light has been sparking in the rain.", "a sparking outside light"),
    ("I can smell burning from the consumer unit.", "a smell of burning at the consumer unit"),
    ("The stopcock is stuck, I can't turn the water off.", "a stuck stopcock"),
)
QUESTIONS = (
    ("Sorry, how soon could someone be here?", "Usually within thirty minutes to an hour, is that all right?"),
    ("Do you charge more at the weekend?", "It is the same fee at the weekend, shall we go on?"),
    ("Is that with VAT?", "Yes, VAT is included, is that all right?"),
)
OUTCOMES = {
    "booked": 55,
    "no_booking": 18,
    "transferred": 11,
    "silent": 5,
    "booking_kept": 3,
    "machine": 3,
    "failed": 3,
    "refused": 2,
}
COMPANIES = tuple(
    NewCompany(
        name=f"{place} {trade}",
        trade_type=trade.lower(),
        trade_label=label,
        callout_fee=f"£{fee}",
        numbers=(f"+4411{area}4960{place_at:02}{trade_at}",),
        area=place,
    )
    for place_at, (place, area) in enumerate((("Leeds", 3), ("Sheffield", 4), ("Leicester", 6), ("Bristol", 7)))
    for trade_at, (trade, label, fee) in enumerate((("Plumbing", "plumber", 70), ("Electrical", "electrician", 60)))
)


@dataclass(frozen=True, slots=True)
class Answering:
    """A company that calls come in for, as its records name it."""

    name: str
    did: str
    fee: str


async def fill(
    store: OfficeStore,
    *,
    calls: int,
    days: int = 90,
    seed: int = 1,
    now: datetime | None = None,
    with_words: bool | None = None,
    recordings: bool = False,
) -> None:
    """Add made-up calls of the last `days` days to a database, their bookings and callers, and the companies they rang.

    `with_words` gives every turn the times of its words (a third more to write): by default where there are at most
    2000 calls. `recordings` names files that are not there. Raises `sqlalchemy.exc.IntegrityError` when it was done
    before with this seed and moment.
    """
    await add_companies(store, COMPANIES)
    companies = [Answering(c.name, numbers[0], c.callout_fee) for c, numbers in await store.list_companies() if numbers]
    by_name = {company.name: company.id for company, _ in await store.list_companies()}
    moment = now or datetime.now(UTC)
    words = calls <= 2000 if with_words is None else with_words
    seen: dict[tuple[int, str], tuple[datetime, datetime]] = {}
    records = made_calls(companies, calls, days, seed, moment, with_words=words, recordings=recordings)
    while batch := list(islice(records, BATCH)):
        bookings = [_booking(record, by_name[record.company], moment) for record in batch]
        async with store.transaction() as session:
            session.add_all(booking for booking in bookings if booking is not None)
        await store.archive.keep_new(batch)
        for record in batch:
            if record.caller_id:
                who, started = (by_name[record.company], record.caller_id), datetime.fromisoformat(record.started)
                seen[who] = (seen.get(who, (started,))[0], started)
    async with store.transaction() as session:
        known = {(caller.company_id, caller.number) for caller in await session.scalars(select(Caller))}
        session.add_all(
            Caller(company_id=company_id, number=number, first_seen=first, last_seen=last)
            for (company_id, number), (first, last) in seen.items()
            if (company_id, number) not in known
        )


def made_calls(
    companies: Sequence[Answering],
    calls: int,
    days: int,
    seed: int,
    now: datetime,
    *,
    with_words: bool = True,
    recordings: bool = False,
) -> Iterator[CallRecord]:
    """Calls of the last `days` days, the oldest first, no two at one moment: more by day than by night."""
    chance = random.Random(seed)
    moments: set[datetime] = set()
    while len(moments) < calls:
        hour = chance.choices(range(24), weights=BY_HOUR)[0]
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) - chance.randrange(days + 1) * DAY
        begun = midnight + timedelta(hours=hour, milliseconds=chance.randrange(3_600_000))
        if now - days * DAY <= begun < now:
            moments.add(begun)
    for begun in sorted(moments):
        company = chance.choices(companies, weights=range(len(companies), 0, -1))[0]
        record = _Talk(chance, company, begun, with_words).record
        record.recording = f"{record.uuid}.wav" if recordings and record.outcome != "refused" else ""
        yield record


def _booking(record: CallRecord, company_id: int, now: datetime) -> Booking | None:
    """The booking of a call in which one was made; an old one is done with."""
    made = [tool["arguments"] for turn in record.turns for tool in turn.tools if tool["name"] == "create_booking"]
    if record.outcome != "booked" or not made:
        return None
    started = datetime.fromisoformat(record.started)
    age = now - started
    state = "new" if age < timedelta(hours=12) else "confirmed" if age < timedelta(days=2) else "done"
    return Booking(
        id=record.booking_id,
        company_id=company_id,
        company_name=record.company,
        caller_id=record.caller_id,
        customer_name=made[-1]["customer_name"],
        postcode=made[-1]["postcode"],
        address=made[-1]["address"],
        problem_description=made[-1]["problem_description"],
        call_uuid=record.uuid,
        idempotency_key=f"{record.uuid}:made-up",
        fingerprint="",
        created_at=started + timedelta(seconds=record.seconds),
        state="cancelled" if record.uuid[0] == "0" else state,
        noticed_at=started + timedelta(seconds=record.seconds),
    )


class _Talk:
    """One call, said line by line."""

    def __init__(self, chance: random.Random, company: Answering, begun: datetime, with_words: bool) -> None:
        self._chance = chance
        self._with_words = with_words
        self._now_ms = 20
        outcome = chance.choices(list(OUTCOMES), weights=list(OUTCOMES.values()))[0]
        name = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
        self.record = CallRecord(
            uuid=str(UUID(int=chance.getrandbits(128), version=4)),
            did=company.did,
            caller_id=self._number() if chance.random() < 0.93 else "",
            caller_name=name if chance.random() < 0.2 else "",
            unique_id=f"{begun.timestamp():.0f}.{chance.randrange(10_000)}",
            source="fastagi",
            company=company.name,
            started=begun.isoformat(timespec="milliseconds"),
            outcome=outcome,
            repeat_caller=chance.random() < 0.25,
            ended_by="agent" if outcome in ("booked", "booking_kept", "refused") else "caller",
        )
        self.record.linked_id = self.record.unique_id
        self._answer(f"Hello, {company.name}, how can I help?")
        if outcome in ("booked", "booking_kept", "no_booking", "transferred", "failed"):
            self._book(company, outcome, name)
        elif outcome == "silent":
            self._answer("Are you still there?")
        elif outcome == "machine":
            self._exchange("You have reached the voicemail of this number, please leave a message.", "")
        self._close()

    def _book(self, company: Answering, outcome: str, name: str) -> None:
        chance = self._chance
        problem, short = chance.choice(PROBLEMS)
        self._exchange("Hello, I need somebody to come round, please.", "Of course, what seems to be the problem?")
        self._exchange(problem, f"We can have somebody with you within an hour, the callout fee is {company.fee}.")
        if chance.random() < 0.4:
            self._exchange(*chance.choice(QUESTIONS), interrupts=True)
        if outcome == "transferred":
            self._exchange("Could I speak to a person?", "I'll put you through to someone now.")
            self.record.verdict = "transfer:2001"
            return
        if outcome in ("no_booking", "failed"):
            self._exchange("That's too much, thank you, I'll ring around.", "I see, thanks for calling, bye for now.")
            return
        postcode = (
            f"{chance.choice(AREAS)} {chance.randrange(1, 10)}{chance.choice('ABDEFGHJ')}{chance.choice('LNPQRSTU')}"
        )
        address = f"{chance.randrange(1, 180)} {chance.choice(STREETS)}"
        self._exchange("Yes, that's fine.", "Lovely, what's the postcode there?")
        self._exchange(f"It's {postcode}.", f"Thanks, {postcode}, is that right?")
        self._exchange("Yes, that's right.", "Great, what's the house number and street?")
        self._exchange(f"{address}.", "Thanks, what name shall I put it under?")
        turn = self._exchange(f"My name is {name}.", "That's all booked, is there anything else I can help with?")
        arguments = {"customer_name": name, "postcode": postcode, "address": address, "problem_description": short}
        kept = outcome == "booking_kept"
        turn.tools.append(
            {"name": "create_booking", "arguments": arguments, "ok": True, "ms": chance.randrange(6, 240)}
        )
        self.record.booking_id = "" if kept else "BK-" + "".join(chance.choices("23456789ABCDEFGHJKMNPQRSTVWXYZ", k=8))
        self.record.mark(self._now_ms, "booking_kept" if kept else "step", "" if kept else "booked")
        self._exchange("No, that's everything.", "Thanks for calling, bye for now.")

    def _number(self) -> str:
        return f"{self._chance.choice(CALLERS)}{self._chance.randrange(1000):03}"

    def _answer(self, said: str) -> TurnRecord:
        return self._exchange("", said)

    def _exchange(self, caller: str, agent: str, *, interrupts: bool = False) -> TurnRecord:
        turn = TurnRecord(caller=caller, start_ms=self._now_ms, agent=agent, heard=agent)
        if interrupts and self.record.turns:
            before = self.record.turns[-1]
            before.interrupted = True
            before.heard = " ".join(before.agent.split()[: max(1, len(before.agent.split()) // 2)])
            self.record.mark(self._now_ms - 220, "hold")
            self.record.mark(self._now_ms, "barge_in")
            self.record.mark(self._now_ms + 600, "flush")
        spoken = self._speak(turn, "caller", caller, self._now_ms)
        if caller and agent:
            turn.times = self._times(spoken)
            spoken = turn.times.first_frame or spoken
        turn.drafts = self._chance.choice((1, 1, 1, 2)) if caller else 0
        turn.wasted = max(0, turn.drafts - 1)
        turn.end_ms = self._now_ms = self._speak(turn, "agent", turn.heard, spoken)
        self._now_ms += self._chance.randrange(250, 900)
        self.record.turns.append(turn)
        return turn

    def _speak(self, turn: TurnRecord, who: str, text: str, at_ms: int) -> int:
        for word in text.split():
            end = at_ms + MS_A_WORD + 18 * (len(word) - 4)
            if self._with_words:
                turn.words.append(Word(who, word, at_ms, end - 30))
            at_ms = end
        return at_ms

    def _times(self, speech_end: int) -> TurnTimes:
        wait = min(6000, max(280, round(self._chance.lognormvariate(6.42, 0.33))))
        turn_end = speech_end + round(wait * 0.45)
        token = speech_end + round(wait * 0.62)
        return TurnTimes(
            speech_end=speech_end,
            final_transcript=speech_end + round(wait * 0.3),
            turn_end=turn_end,
            llm_request=speech_end + round(wait * 0.33),
            first_token=token,
            first_tts_text=token + 15,
            first_audio=speech_end + round(wait * 0.9),
            first_frame=speech_end + wait,
        )

    def _close(self) -> None:
        record, chance = self.record, self._chance
        record.seconds = round(self._now_ms / 1000, 3)
        spoken = sum(len(turn.agent) for turn in record.turns)
        asked = len(record.turns)
        record.usage = {
            "stt": {"nova-3": {"seconds": record.seconds}},
            "llm": {
                "llama-3.3-70b-versatile": {"requests": asked, "tokens_in": 1900 * asked, "tokens_out": 30 * asked}
            },
            "tts": {"sonic-3": {"characters": spoken}},
        }
        record.costs = {
            "stt": round(record.seconds / 60 * 0.0077, 6),
            "llm": round(asked * 1930 * 0.59e-6, 6),
            "tts": round(spoken * 35e-6, 6),
        }
        record.currency = "USD"
        if record.outcome == "failed" or chance.random() < 0.01:
            record.vendor_errors = {chance.choice(("stt", "llm", "llm", "tts", "booking")): chance.randrange(1, 4)}
