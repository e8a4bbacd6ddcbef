"""The practice's diary: half-hour appointments on weekdays, kept in a file of its own.

A real practice would ask its own system here; the agent needs no more of it than these two functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from agent.telephony.numbers import is_phone_number
from agent.tools import ToolContext, ToolError, ToolResult, tool

OPENS, CLOSES, LENGTH = time(9), time(17), timedelta(minutes=30)
LUNCH = time(13), time(14)
KEPT_FREE_FOR_URGENT = (time(9), time(16, 30))
FARTHEST = timedelta(days=90)

Day = Literal["today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday"]


@tool
def free_times(
    day: Annotated[Day, "The day that suits the caller; a weekday's name is the next one"],
    urgent: Annotated[bool, "Whether the patient is in pain, swollen or bleeding"],
    context: ToolContext,
) -> dict[str, Any]:
    """Look up which times are free on a day."""
    now = datetime.now(context.company.zone)
    wanted = _date_of(day, now.date())
    with _diary(context) as diary:
        free = list(_free(diary, context, wanted, urgent, now))
        if free:
            return {"date": wanted.isoformat(), "weekday": f"{wanted:%A}", "free": [f"{t:%H:%M}" for t in free[:6]]}
        for later in range(1, 15):
            free = list(_free(diary, context, wanted + timedelta(later), urgent, now))
            if free:
                other = wanted + timedelta(later)
                return {"free": [], "next": f"{other:%A} {free[0]:%H:%M}", "date": other.isoformat()}
    return {"free": [], "next": "not within two weeks"}


@tool(acts=True)
def book_appointment(
    patient_name: Annotated[str, "First and last name"],
    date_of_birth: Annotated[date, "As YYYY-MM-DD"],
    reason: Annotated[str, "What it is for, in a few words"],
    urgent: bool,
    on: Annotated[date, "The date that free_times gave, as YYYY-MM-DD"],
    at: Annotated[str, "The time that free_times gave, as HH:MM"],
    context: ToolContext,
    phone: Annotated[str, "Only if the caller's number is withheld: the number they gave"] = "",
) -> ToolResult:
    """Book an appointment at a time that free_times gave."""
    now = datetime.now(context.company.zone)
    if len(patient_name.split()) < 2 or len(patient_name) > 200:
        raise ToolError("patient_name must be first and last name; ask for what is missing")
    if not date(1900, 1, 1) <= date_of_birth <= now.date():
        raise ToolError("date_of_birth cannot be right; ask for it again")
    if context.company.withheld and not is_phone_number(phone, context.region):
        raise ToolError("the caller's number is withheld; ask for a full number and give it as phone")
    with _diary(context) as diary:
        earlier = diary.execute(
            "SELECT rowid, day, begins FROM appointments WHERE call = ? AND patient = ? AND day = ? AND begins = ?",
            (context.call_uuid, patient_name, on.isoformat(), at),
        ).fetchone()
        if earlier is None and at not in [f"{free:%H:%M}" for free in _free(diary, context, on, urgent, now)]:
            raise ToolError("that time is not free; ask free_times again and offer another")
        if earlier is None:
            earlier = diary.execute(
                "INSERT INTO appointments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING rowid",
                (
                    context.company.company_name,
                    on.isoformat(),
                    at,
                    patient_name,
                    date_of_birth.isoformat(),
                    reason[:500],
                    int(urgent),
                    context.company.caller_id or phone,
                    context.call_uuid,
                ),
            ).fetchone()
    booking = {"booking_id": f"A{earlier[0]}", "weekday": f"{on:%A}", "at": at}
    return ToolResult.success({"status": "booked", **booking}, effect="booked", data=booking)


def _date_of(day: str, today: date) -> date:
    if day in ("today", "tomorrow"):
        return today + timedelta(day == "tomorrow")
    ahead = ("monday", "tuesday", "wednesday", "thursday", "friday").index(day) - today.weekday()
    return today + timedelta(ahead if ahead > 0 else ahead + 7)


def _free(diary: sqlite3.Connection, context: ToolContext, day: date, urgent: bool, now: datetime) -> Iterator[time]:
    """The free times of a day, in order; some are kept for those in pain."""
    if day.weekday() > 4 or day > now.date() + FARTHEST:
        return
    taken = {
        begins
        for (begins,) in diary.execute(
            "SELECT begins FROM appointments WHERE practice = ? AND day = ?",
            (context.company.company_name, day.isoformat()),
        )
    }
    moment = datetime.combine(day, OPENS, now.tzinfo)
    while moment.time() < CLOSES:
        begins = moment.time()
        if (
            moment > now
            and not LUNCH[0] <= begins < LUNCH[1]
            and f"{begins:%H:%M}" not in taken
            and (urgent or begins not in KEPT_FREE_FOR_URGENT)
        ):
            yield begins
        moment += LENGTH


@contextmanager
def _diary(context: ToolContext) -> Iterator[sqlite3.Connection]:
    """The diary, in one transaction: two calls never get the same time."""
    context.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(context.data_dir / "diary.sqlite3", timeout=5.0, isolation_level=None)) as diary:
        diary.execute("BEGIN IMMEDIATE")
        diary.execute(
            "CREATE TABLE IF NOT EXISTS appointments (practice TEXT, day TEXT, begins TEXT, patient TEXT, born TEXT, "
            "reason TEXT, urgent INTEGER, phone TEXT, call TEXT, UNIQUE (practice, day, begins))"
        )
        yield diary
        diary.execute("COMMIT")
