"""Companies as people edit them: every mistake in words, nobody's change lost, and nothing seen out of scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.call.company import MAX_INSTRUCTIONS
from agent.office.companies import NoSuchCompanyError, StaleCompanyError
from agent.office.company_form import BadCompanyError, CompanyForm
from agent.office.models import Call, utc_now
from agent.office.scope import Scope
from agent.office.seed import LONDON_PLUMBER
from agent.office.store import NewBooking, OfficeStore

EVERYTHING = Scope.all()
FULL: dict[str, Any] = {
    "name": "Acme Plumbing",
    "numbers": ["020 7946 0123", "0161 496 0456", "1001"],
    "trade_type": "plumbing",
    "trade_label": "plumber",
    "callout_fee": "£65 plus VAT",
    "area": "London",
    "areas": ["sw", " M14 "],
    "crews": "3",
    "timezone": "Europe/Dublin",
    "opening_hours": {"mon": [["13:30", "18:00"], ["9:00", "12:30"]], "sun": [], "fri": [["20:00", "00:00"]]},
    "conversation": "dentist",
    "language": "en-IE",
    "voice_id": "fred",
    "greeting": "Good {time_of_day}.",
    "keyterms": ["boiler", "", "boiler"],
    "instructions": "Be kind.\r\n  Twice.  \n",
    "transfer_targets": {"the  office": "2001", "": ""},
    "recording": "false",
    "recording_notice": "This call is recorded.",
    "notify_email": "office@example.org",
    "webhook_url": "https://example.org/calls?a=b",
}


@pytest.fixture
async def store(database: str) -> AsyncIterator[OfficeStore]:
    async with await OfficeStore.open(database) as store:
        yield store


async def test_everything_that_is_entered_is_kept(store: OfficeStore) -> None:
    company_id = await store.companies.add(CompanyForm.read(FULL))
    stored = await store.companies.get(company_id, EVERYTHING)
    assert stored is not None
    assert stored.form.model_dump() == {
        **FULL,
        "numbers": ("+441614960456", "+442079460123", "1001"),
        "areas": ("SW", "M14"),
        "crews": 3,
        "opening_hours": {"mon": (("09:00", "12:30"), ("13:30", "18:00")), "fri": (("20:00", "24:00"),)},
        "keyterms": ("boiler",),
        "instructions": "Be kind.\n  Twice.",
        "transfer_targets": {"the office": "2001"},
        "recording": False,
    }
    assert stored.webhook_secret.startswith("whsec_")
    assert stored.webhook_secret not in repr(stored)
    context = await store.did_context("+442079460123", "")
    assert context["opening_hours"] == {"mon": [["09:00", "12:30"], ["13:30", "18:00"]], "fri": [["20:00", "24:00"]]}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("name", " ", "Name: must be filled in"),
        ("name", "a" * 201, "Name: has 201 characters, and may have 200"),
        ("name", "a\nb", "Name: must be one line"),
        ("numbers", ["020 7946 0123", "7946 0123"], "Numbers, row 2: “7946 0123” lacks its area code"),
        ("numbers", ["+44 20 7946 0123 999 9"], "Numbers, row 1: “+44 20 7946 0123 999 9” is too long"),
        ("numbers", ["+44 20"], "“+44 20” is too short"),
        ("numbers", ["+999 123 4567"], "country code that does not exist"),
        ("numbers", ["reception"], "Numbers, row 1: “reception” is no telephone number"),
        ("numbers", ["anonymous"], "withheld"),
        ("crews", "-1", "Crews: must be 0 or more"),
        ("crews", "two", "Crews: must be a whole number"),
        ("timezone", "Europe/Paradise", "Time zone: is no time zone"),
        ("opening_hours", {"mon": [["09:00", "08:00"]]}, "Opening hours on Monday: 08:00 is not after 09:00"),
        ("opening_hours", {"tue": [["09:00", ""]]}, "Opening hours on Tuesday: the time from which or until which"),
        ("opening_hours", {"wed": [["9", "10"]]}, "Opening hours on Wednesday: a time must be written as 09:00"),
        ("opening_hours", {"thu": [["24:30", "25:00"]]}, "Opening hours on Thursday: a time must be written"),
        ("opening_hours", {"fri": [["09:00", "12:00"], ["11:00", "13:00"]]}, "begins at 11:00 begins before"),
        ("opening_hours", {"sat": [["09:00", "10:00"]] * 7}, "at most 6 spans"),
        ("opening_hours", {"someday": [["09:00", "10:00"]]}, "'someday' is no day"),
        ("conversation", "../../etc/passwd", "Conversation: is no name of a conversation"),
        ("language", "English", "Language: is no language"),
        ("areas", ["SW", "London"], "Postcodes served, row 2: “LONDON” is no postcode area"),
        ("transfer_targets", {"office": ""}, "Transfer targets: “office” needs both"),
        ("transfer_targets", {"office": "2001,Dial(SIP/x)"}, "is no extension of a dialplan"),
        (
            "keyterms",
            ["a"] * 100 + [str(n) for n in range(100)],
            "Words to listen for: has 101 entries, and may have 100",
        ),
        ("instructions", "a" * (MAX_INSTRUCTIONS + 1), "Instructions: has 4001 characters"),
        ("instructions", "a\x00b", "Instructions: holds control characters"),
        ("notify_email", "office at example", "E-mail: is no e-mail address"),
        ("notify_email", "a@example.org\nBcc: b@example.org", "E-mail: must be one line"),
        ("webhook_url", "ftp://example.org", "Webhook: is no web address"),
        ("webhook_url", "https:///calls", "Webhook: is no web address"),
        ("webhook_url", "https://exa mple.org", "Webhook: is no web address"),
        ("recording", "perhaps", "Record calls: must be yes or no"),
        ("colour", "red", "colour: is no field of a company"),
    ],
)
def test_a_mistake_is_told_in_words(field: str, value: Any, told: str) -> None:
    with pytest.raises(BadCompanyError) as caught:
        CompanyForm.read({**FULL, field: value})
    (problem,) = caught.value.problems
    assert problem.field == field
    assert told in str(problem)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(BadCompanyError) as caught:
        CompanyForm.read({**FULL, "name": "", "timezone": "x", "numbers": ["x", "0161 496 0456", "y"]})
    assert [(problem.field, problem.row) for problem in caught.value.problems] == [
        ("name", None),
        ("numbers", 0),
        ("numbers", 2),
        ("timezone", None),
    ]


async def test_a_number_belongs_to_one_company(store: OfficeStore) -> None:
    first = await store.companies.add(CompanyForm.read(FULL))
    rival = CompanyForm.read({"name": "Rival", "numbers": ["0121 496 0000", "020 7946 0123"]})
    with pytest.raises(BadCompanyError) as caught:
        await store.companies.add(rival)
    (problem,) = caught.value.problems
    assert (problem.field, problem.row) == ("numbers", 1)
    assert str(problem) == "Numbers, row 2: +442079460123 belongs to another company: remove it there first"
    assert list(await store.companies.names(EVERYTHING)) == [first], "nothing is left of it"
    await store.companies.save(first, CompanyForm.read({**FULL, "numbers": []}), EVERYTHING)
    await store.companies.add(rival)


async def test_a_number_that_is_taken_in_the_same_moment(store: OfficeStore) -> None:
    """Each is told in words, whoever was first."""
    forms = [CompanyForm.read({"name": f"Company {n}", "numbers": ["020 7946 0123"]}) for n in range(4)]
    results = await asyncio.gather(*map(store.companies.add, forms), return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, BadCompanyError) for result in results) == 3


async def test_a_name_belongs_to_one_company(store: OfficeStore) -> None:
    await store.companies.add(CompanyForm(name="Acme"))
    other = await store.companies.add(CompanyForm(name="Other"))
    for attempt in (
        store.companies.add(CompanyForm(name="Acme")),
        store.companies.save(other, CompanyForm(name="Acme"), EVERYTHING),
    ):
        with pytest.raises(BadCompanyError, match="Name: another company has this name"):
            await attempt
    assert set((await store.companies.names(EVERYTHING)).values()) == {"Acme", "Other"}
    await store.companies.save(other, CompanyForm(name="Other", area="Leeds"), EVERYTHING)


async def test_who_saves_second_is_told(store: OfficeStore) -> None:
    company_id = await store.companies.add(CompanyForm.read(FULL))
    seen = await store.companies.get(company_id, EVERYTHING)
    assert seen is not None
    for changed in ({"greeting": "Hello."}, {"numbers": ["1001"]}):
        seen = await store.companies.get(company_id, EVERYTHING)
        assert seen is not None
        await store.companies.save(company_id, CompanyForm.read({**FULL, **changed}), EVERYTHING, seen=seen.seen)
        with pytest.raises(StaleCompanyError, match="somebody else"):
            await store.companies.save(company_id, CompanyForm.read(FULL), EVERYTHING, seen=seen.seen)
    await store.companies.save(company_id, CompanyForm.read(FULL), EVERYTHING)


async def test_what_is_out_of_scope_is_not_there(store: OfficeStore) -> None:
    mine = await store.companies.add(CompanyForm(name="Mine", numbers=("1001",)))
    theirs = await store.companies.add(CompanyForm(name="Theirs", numbers=("1002",)))
    scope = Scope.of([mine])
    assert [(row.id, row.numbers) for row in await store.companies.list(scope)] == [(mine, ("1001",))]
    assert await store.companies.names(scope) == {mine: "Mine"}
    assert await store.companies.get(theirs, scope) is None
    assert not await store.companies.delete(theirs, scope)
    for attempt in (
        store.companies.save(theirs, CompanyForm(name="Stolen"), scope),
        store.companies.new_secret(theirs, scope),
    ):
        with pytest.raises(NoSuchCompanyError):
            await attempt
    assert await store.companies.names(EVERYTHING) == {mine: "Mine", theirs: "Theirs"}
    assert await store.companies.list(Scope.of([])) == []


async def test_a_company_that_goes_leaves_its_bookings(store: OfficeStore) -> None:
    company_id = await store.companies.add(CompanyForm.read(FULL))
    booking, _ = await store.create_booking(
        NewBooking("Jo", "M14 6BT", "12 Acacia Avenue", "a leak", did_number="1001")
    )
    await store.did_context("1001", "07700 900123")
    assert await store.companies.delete(company_id, EVERYTHING)
    kept = await store.find_booking(booking.id)
    assert kept is not None
    assert (kept.company_id, kept.company_name) == (None, "Acme Plumbing")
    await store.companies.add(CompanyForm(name="Next", numbers=("1001",)))


async def test_the_webhooks_secret_is_made_once_and_can_be_changed(store: OfficeStore) -> None:
    company_id = await store.companies.add(CompanyForm(name="Acme"))
    stored = await store.companies.get(company_id, EVERYTHING)
    assert stored is not None
    assert stored.webhook_secret == ""
    with_url = CompanyForm(name="Acme", webhook_url="https://example.org")
    first = await store.companies.save(company_id, with_url, EVERYTHING)
    assert len(first) > 40
    assert await store.companies.save(company_id, with_url, EVERYTHING) == "", "it is told once"
    second = await store.companies.new_secret(company_id, EVERYTHING)
    stored = await store.companies.get(company_id, EVERYTHING)
    assert stored is not None
    assert stored.webhook_secret == second != first


async def test_a_seed_keeps_what_it_does_not_know(store: OfficeStore) -> None:
    company_id = await store.add_company(LONDON_PLUMBER)
    stored = await store.companies.get(company_id, EVERYTHING)
    assert stored is not None
    form = stored.form.model_copy(update={"notify_email": "a@example.org", "area": "Kent"})
    await store.companies.save(company_id, form, EVERYTHING)
    assert await store.add_company(LONDON_PLUMBER) == company_id
    stored = await store.companies.get(company_id, EVERYTHING)
    assert stored is not None
    assert stored.form.notify_email == "a@example.org", "a seed has none to put in its place"
    assert stored.form.area == "London"
    with pytest.raises(ValueError, match="Time zone"):
        await store.add_company(replace(LONDON_PLUMBER, timezone="nowhere"))


async def test_the_list_counts_calls_since_a_moment(store: OfficeStore) -> None:
    company_id = await store.companies.add(CompanyForm(name="Acme"))
    await store.companies.add(CompanyForm(name="zebra"))
    now = utc_now()
    async with store.companies._sessions.begin() as session:
        session.add_all(Call(uuid=str(n), company_id=company_id, started=now - timedelta(days=n)) for n in range(5))
    rows = await store.companies.list(EVERYTHING, calls_since=now - timedelta(days=2, hours=1))
    assert [(row.name, row.calls) for row in rows] == [("Acme", 3), ("zebra", 0)]
    assert rows[0].last_call == now
