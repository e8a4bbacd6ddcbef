"""The second example: a dentist's reception with a diary of its own, and nothing of plumbers in it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from agent.call.company import CompanyContext
from agent.conversations import Conversation, load_conversation
from agent.conversations.files import PACKAGED
from agent.office.store import NewCompany
from agent.providers.base import Finished, LlmEvent, Message, Text, ToolCall
from agent.tools.registry import Endpoints, ToolContext, ToolResult

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker

COMPANY = CompanyContext(company_name="Mill Lane Dental", caller_id="+447700900123", timezone="UTC")
PATIENT = {
    "patient_name": "Anna O'Neill; DROP TABLE appointments", "date_of_birth": "1990-02-28", "reason": "toothache",
    "urgent": False,
}  # fmt: skip


@pytest.fixture
def dentist() -> Conversation:
    return load_conversation(PACKAGED / "dentist")


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    http = cast(aiohttp.ClientSession, None)
    return ToolContext("call-1", COMPANY, http, Endpoints("", ""), data_dir=tmp_path / "deep" / "dentist")


async def run(dentist: Conversation, name: str, context: ToolContext, **arguments: Any) -> ToolResult:
    return await dentist.tools.run(name, json.dumps(arguments), context)


async def a_free_time(dentist: Conversation, context: ToolContext, *, urgent: bool = False) -> dict[str, str]:
    """A weekday that is not today, which may be over."""
    day = f"{datetime.now(UTC) + timedelta(days=2):%A}".lower()
    day = "monday" if day in ("saturday", "sunday") else day
    answer = json.loads((await run(dentist, "free_times", context, day=day, urgent=urgent)).content)
    return {"on": answer["date"], "at": answer["free"][0]}


def test_nothing_of_plumbers_is_in_it(dentist: Conversation) -> None:
    company = replace(COMPANY, trade_label="plumber", trade_type="plumbing", callout_fee="£65", area="London")
    told = (
        dentist.prompt(company)
        + json.dumps(dentist.tools.schemas())
        + repr(dentist.phrases)
        + dentist.greeting(company)
    )
    for word in ("plumb", "£65", "callout", "call-out", "trade", "quote", "postcode", "create_booking", "on site"):
        assert word not in told.casefold(), word
    assert "Mill Lane Dental" in told


async def test_an_appointment_is_made_once_and_its_time_is_taken(dentist: Conversation, context: ToolContext) -> None:
    when = await a_free_time(dentist, context)
    assert when["at"] == "09:30", "the first of the day is kept for those in pain"
    result = await run(dentist, "book_appointment", context, **PATIENT, **when)
    assert (result.effect, result.data["booking_id"]) == ("booked", "A1")
    again = await run(dentist, "book_appointment", context, **PATIENT, **when)
    assert again.data["booking_id"] == "A1"
    other = await run(dentist, "book_appointment", replace(context, call_uuid="call-2"), **PATIENT, **when)
    assert "not free" in other.content
    assert (await a_free_time(dentist, context))["at"] == "10:00"
    with sqlite3.connect(context.data_dir / "diary.sqlite3") as diary:
        rows = diary.execute("SELECT practice, patient, phone FROM appointments").fetchall()
    diary.close()
    assert rows == [("Mill Lane Dental", PATIENT["patient_name"], "+447700900123")]


async def test_somebody_in_pain_gets_the_times_that_are_kept(dentist: Conversation, context: ToolContext) -> None:
    when = await a_free_time(dentist, context, urgent=True)
    assert when["at"] == "09:00"
    assert "not free" in (await run(dentist, "book_appointment", context, **PATIENT, **when)).content
    assert (await run(dentist, "book_appointment", context, **{**PATIENT, "urgent": True}, **when)).ok


async def test_two_calls_never_get_the_same_time(dentist: Conversation, context: ToolContext) -> None:
    when = await a_free_time(dentist, context)
    results = await asyncio.gather(
        *(
            run(dentist, "book_appointment", replace(context, call_uuid=f"call-{n}"), **PATIENT, **when)
            for n in range(8)
        )
    )
    assert [result.ok for result in results].count(True) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"patient_name": "Anna"}, "first and last name"),
        ({"date_of_birth": "1990-02-30"}, "date_of_birth"),
        ({"date_of_birth": "1890-01-01"}, "date_of_birth cannot be right"),
        ({"date_of_birth": "2999-01-01"}, "date_of_birth cannot be right"),
        ({"at": "13:00"}, "not free"),
        ({"at": "09:37"}, "not free"),
        ({"at": "' OR 1=1 --"}, "not free"),
        ({"on": "2020-01-06"}, "not free"),
        ({"on": "2999-01-07"}, "not free"),
        ({"urgent": "very"}, "not of type 'boolean'"),
        ({"postcode": "M14 6BT"}, "unexpected"),
    ],
)
async def test_what_cannot_be_right_books_nothing(
    dentist: Conversation, context: ToolContext, changes: dict[str, Any], why: str
) -> None:
    when = await a_free_time(dentist, context)
    result = await run(dentist, "book_appointment", context, **{**PATIENT, **when, **changes})
    assert not result.ok
    assert why in result.content
    assert await a_free_time(dentist, context) == when


async def test_a_withheld_number_is_asked_for(dentist: Conversation, context: ToolContext) -> None:
    withheld = replace(context, company=replace(COMPANY, caller_id=""))
    when = await a_free_time(dentist, context)
    assert "withheld" in (await run(dentist, "book_appointment", withheld, **PATIENT, **when)).content
    assert "withheld" in (await run(dentist, "book_appointment", withheld, **PATIENT, **when, phone="12")).content
    assert (await run(dentist, "book_appointment", withheld, **PATIENT, **when, phone="07700 900123")).ok


async def test_a_day_that_is_full_names_the_next_one(dentist: Conversation, context: ToolContext) -> None:
    day = "monday"
    while (answer := json.loads((await run(dentist, "free_times", context, day=day, urgent=True)).content))["free"]:
        for at in answer["free"]:
            one = replace(context, call_uuid=f"call-{at}")
            given = {**PATIENT, "urgent": True, "on": answer["date"], "at": at}
            assert (await run(dentist, "book_appointment", one, **given)).ok
    assert answer["next"] == "Tuesday 09:00"


# ---- a whole call ---------------------------------------------------------------------------------------------------


class Receptionist:
    """Takes the place of the LLM: answers in order, and looks up what the tools answered."""

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []
        self.tools: list[str] = []

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        self.asked.append([dict(message) for message in messages])
        self.tools = [tool["function"]["name"] for tool in tools]
        results = [json.loads(str(message["content"])) for message in messages if message["role"] == "tool"]
        heard = [str(message["content"]) for message in messages if message["role"] == "user"]
        if results and "booking_id" in results[-1]:
            if len(heard) < 3:
                yield Text("You're booked in, anything else?")
            else:
                yield ToolCall("3", "end_call", "{}")
        elif results and len(heard) > 1:
            given = {**PATIENT, "on": results[0]["date"], "at": results[0]["free"][0]}
            yield ToolCall("2", "book_appointment", json.dumps(given))
        elif results:
            yield Text("Half past nine is free, what's the name?")
        else:
            yield ToolCall("1", "free_times", '{"day": "monday", "urgent": false}')
        yield Finished("stop", 1, 1, "scripted")


async def test_a_company_that_is_a_dentist_is_answered_as_one(a_rig: RigMaker, tmp_path: Path) -> None:
    async with a_rig() as rig:
        number = "+441614960789"
        dental = NewCompany("Mill Lane Dental", "dentistry", "dentist", "", (number,), conversation="dentist")
        await rig.store.add_company(dental)
        llm = Receptionist()
        rig.agent.services.llm = llm
        script = "say: I need an appointment\nsay: Anna O'Neill\nsay: No thanks\nwait: 5s"
        result, record = await rig.call(script, rig.plan(did=number, quiet_s=0.7, patience_s=10.0))
    assert result.failure == ""
    assert record.turns[0].agent.endswith(", Mill Lane Dental.")
    assert record.turns[0].agent.startswith("Good ")
    assert llm.tools == ["free_times", "book_appointment", "transfer_to_human", "end_call"]
    assert "dental practice" in str(llm.asked[0][0]["content"])
    assert record.booking_id == "A1"
    assert record.turns[-1].agent.strip() == "Thank you, we'll see you then. Goodbye."
    assert (tmp_path / "conversations" / "dentist" / "diary.sqlite3").is_file()
