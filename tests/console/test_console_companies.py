"""Companies in the console: the form and its mistakes, who may change what, the greeting tried, and nothing lost."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from agent.call.rehearsal import RehearsalError
from agent.office.company_form import CompanyForm
from agent.office.database import reading
from agent.office.scope import Scope

if TYPE_CHECKING:
    from agent.office.companies import StoredCompany
    from agent.ops.settings import Settings
    from tests.console.conftest import Browser, Office, OfficeMaker

Fields = list[tuple[str, str]]
EVERYTHING = Scope.all()


async def stored(office: Office, company_id: int) -> StoredCompany:
    found = await office.store.companies.get(company_id, EVERYTHING)
    assert found is not None
    return found


def fields(page: str) -> Fields:
    """What a browser would send of the company's form: every input that is not disabled, as it stands."""
    form = re.search(r'<form method="post" id="company".*?</form>', page, re.DOTALL)
    assert form is not None
    text = re.sub(r"<template.*?</template>", "", form[0], flags=re.DOTALL)
    sent: Fields = []
    for tag, inside in re.findall(r"<(input|textarea|select)([^>]*)>", text):
        found = re.search(r'name="([^"]+)"', inside)
        if found is None or " disabled" in inside or found[1] == "_csrf":
            continue
        value = re.search(r'value="([^"]*)"', inside)
        if tag == "textarea":
            body = re.search(rf"<textarea{re.escape(inside)}>(.*?)</textarea>", text, re.DOTALL)
            sent.append((found[1], html.unescape(body[1] if body else "")))
        elif tag == "select":
            options = text[text.index(inside) :].split("</select>")[0]
            chosen = re.search(r'<option value="([^"]*)" selected', options)
            sent.append((found[1], chosen[1] if chosen else ""))
        elif 'type="checkbox"' not in inside or " checked" in inside:
            sent.append((found[1], html.unescape(value[1] if value else "")))
    return sent


def but(form: Fields, **changed: str | list[str]) -> Fields:
    """The same form with other values."""
    kept = [(name, value) for name, value in form if name not in changed]
    for name, value in changed.items():
        kept += [(name, each) for each in ([value] if isinstance(value, str) else value)]
    return kept


async def form_of(browser: Browser, company_id: int | str) -> Fields:
    return fields(await browser.page(f"/companies/{company_id}"))


async def test_what_is_saved_unchanged_stays_as_it_is(office: Office) -> None:
    everything = CompanyForm.read(
        {
            "name": "Acme <Plumbing>",
            "numbers": ["020 7946 0123", "+353 1 437 0123", "1001"],
            "trade_type": "plumbing",
            "trade_label": "plumber",
            "callout_fee": "£65",
            "area": "London & Kent",
            "areas": ["SW", "M14"],
            "crews": 2,
            "timezone": "Europe/Dublin",
            "opening_hours": {"mon": [["09:00", "12:00"], ["13:00", "00:00"]], "sun": [["10:00", "11:00"]]},
            "conversation": "dentist",
            "language": "en-IE",
            "voice_id": "fred",
            "greeting": 'Good "{time_of_day}".',
            "keyterms": ["boiler", "stop cock"],
            "instructions": "One.\n\nTwo.",
            "transfer_targets": {"office": "2001", "Dave": "2002"},
            "recording": True,
            "recording_notice": "Recorded.",
            "notify_email": "a@example.org",
            "webhook_url": "https://example.org/a?b=c&d",
        }
    )
    await office.store.companies.save(office.acme, everything, EVERYTHING)
    for role in ("admin", "operator"):
        browser = await office.browser(role)
        answer = await browser.post(f"/companies/{office.acme}", await form_of(browser, office.acme))
        assert answer.status == 303, await answer.text()
        after = (await stored(office, office.acme)).form
        assert (
            after.model_dump()
            == everything.model_copy(update={"numbers": tuple(sorted(everything.numbers))}).model_dump()
        )


async def test_an_admin_adds_a_company_that_is_answered_at_once(office: Office) -> None:
    admin = await office.browser("admin")
    form = but(
        await form_of(admin, "new"),
        name="New Ltd",
        numbers=["", "0121 496 0000"],
        trade_type="gas",
        trade_label="fitter",
    )
    answer = await admin.post("/companies/new", form)
    assert answer.status == 303
    context = await office.store.did_context("+441214960000", "")
    assert (context["company_name"], context["trade_label"]) == ("New Ltd", "fitter")
    assert "New Ltd" in await admin.page("/companies")
    assert "0121 496 0000" in await admin.page(answer.headers["Location"])


async def test_mistakes_are_told_where_they_are_and_nothing_is_lost(office: Office) -> None:
    admin = await office.browser("admin")
    form = but(
        await form_of(admin, office.acme),
        name="",
        numbers=["020 7946 0123", "12"],
        timezone="Nowhere",
        instructions="Kept & safe",
        tue_from="18:00",
        tue_until="09:00",
        target_name=["a", "a"],
        target_extension=["1", "2"],
    )
    form[[name for name, _ in form].index("numbers") + 1] = ("numbers", "0161 496 0456 77")
    answer = await admin.post(f"/companies/{office.acme}", form)
    page = html.unescape(await answer.text())
    assert answer.status == 400
    for told in (
        "Name: must be filled in",
        "Numbers, row 2: “0161 496 0456 77” is too long",
        "Time zone: is no time zone",
        "Opening hours on Tuesday: 09:00 is not after 18:00",
        "Transfer targets: “a” is there twice",
    ):
        assert told in page, told
    assert dict(fields(page))["instructions"] == "Kept & safe"
    assert ("numbers", "0161 496 0456 77") in fields(page)
    assert 'id="h-numbers-1"' in page
    assert (await stored(office, office.acme)).form.name == "Acme Plumbing"


async def test_anothers_number_is_told_of_its_row(office: Office) -> None:
    admin = await office.browser("admin")
    form = but(await form_of(admin, office.acme), numbers=["020 7946 0123", "0161 496 0456"])
    answer = await admin.post(f"/companies/{office.acme}", form)
    assert answer.status == 400
    page = await answer.text()
    assert "Numbers, row 2: +441614960456 belongs to another company" in page
    assert "Bright" not in page, "whose it is, is none of their business"


async def test_who_saves_second_is_told_and_may_save_again(office: Office) -> None:
    admin, operator = await office.browser("admin"), await office.browser("operator")
    mine, theirs = await form_of(operator, office.acme), await form_of(admin, office.acme)
    assert (await admin.post(f"/companies/{office.acme}", but(theirs, greeting="Theirs"))).status == 303
    answer = await operator.post(f"/companies/{office.acme}", but(mine, greeting="Mine"))
    assert answer.status == 409
    page = await answer.text()
    assert "Somebody else has changed this company" in page
    assert (await stored(office, office.acme)).form.greeting == "Theirs"
    again = fields(page)
    assert dict(again)["greeting"] == "Mine"
    assert (await operator.post(f"/companies/{office.acme}", again)).status == 303
    assert (await stored(office, office.acme)).form.greeting == "Mine"
    assert (await operator.post(f"/companies/{office.acme}", but(again, seen=""))).status == 409


async def test_an_operator_changes_texts_and_nothing_that_is_an_admins(office: Office) -> None:
    operator = await office.browser("operator")
    form = await form_of(operator, office.acme)
    assert not {"name", "numbers", "voice_id", "webhook_url", "notify_email", "target_name"} & {
        name for name, _ in form
    }
    forged = but(
        form,
        greeting="Hello!",
        wed_from="09:00",
        wed_until="17:00",
        name="Stolen",
        numbers=["0121 496 0001"],
        voice_id="eve",
        webhook_url="https://evil.example",
        notify_email="eve@evil.example",
        target_name="x",
        target_extension="0900",
        conversation="dentist",
        recording="",
    )
    before = (await stored(office, office.acme)).form
    assert (await operator.post(f"/companies/{office.acme}", forged)).status == 303
    after = (await stored(office, office.acme)).form
    assert after == before.model_copy(update={"greeting": "Hello!", "opening_hours": {"wed": (("09:00", "17:00"),)}})


async def test_a_viewer_looks_and_others_companies_are_not_there(office: Office) -> None:
    viewer, operator = await office.browser("viewer"), await office.browser("operator")
    page = await viewer.page(f"/companies/{office.acme}")
    assert [name for name, _ in fields(page)] == ["seen"]
    assert 'class="form-foot"' not in page
    listed = await viewer.page("/companies")
    assert "Acme Plumbing" in listed
    assert "Bright Sparks" not in listed
    assert "/companies/new" not in listed
    for path in (f"/companies/{office.acme}", f"/companies/{office.acme}/greeting", "/companies/new/greeting"):
        assert (await viewer.post(path, {})).status == 403
    for path in ("", "/greeting", "/greeting?as=text"):
        assert (await operator.post(f"/companies/{office.bright}{path}", {})).status == 404
    assert (await operator.get(f"/companies/{office.bright}")).status == 404
    assert (await operator.get("/companies/99")).status == 404
    assert (await operator.get("/companies/new")).status == 403
    for path in (
        "/companies/new",
        "/companies/new/greeting",
        f"/companies/{office.acme}/secret",
        f"/companies/{office.acme}/delete",
    ):
        assert (await operator.post(path, {"name": "Acme Plumbing"})).status == 403
    assert len(await office.store.companies.names(EVERYTHING)) == 2


async def test_rows_are_added_without_a_script(office: Office) -> None:
    admin = await office.browser("admin")
    form = but(await form_of(admin, office.acme), greeting="Typed already")
    for what, name, rows in (
        ("add:numbers", "numbers", 2),
        ("add:targets", "target_name", 2),
        ("add:fri", "fri_from", 2),
    ):
        answer = await admin.post(f"/companies/{office.acme}", [*form, ("do", what)])
        assert answer.status == 200
        page = await answer.text()
        sent = fields(page)
        assert [each for each, _ in sent].count(name) == rows
        assert dict(sent)["greeting"] == "Typed already"
        assert "autofocus" in page
    monday = but(form, mon_from=["08:00", "13:00"], mon_until=["12:00", "17:00"])
    sent = fields(await (await admin.post(f"/companies/{office.acme}", [*monday, ("do", "weekdays:mon")])).text())
    assert [value for name, value in sent if name == "fri_from"] == ["08:00", "13:00"]
    assert [value for name, value in sent if name == "sat_from"] == [""]
    assert (await stored(office, office.acme)).form.greeting == "", "nothing of it is saved yet"


async def test_a_company_goes_when_its_name_is_typed(office: Office) -> None:
    admin = await office.browser("admin")
    await admin.post(f"/companies/{office.acme}/delete", {"name": "acme"})
    assert "It is not deleted" in await admin.page(f"/companies/{office.acme}")
    answer = await admin.post(f"/companies/{office.acme}/delete", {"name": "Acme  Plumbing"})
    assert (answer.status, answer.headers["Location"]) == (303, "/companies")
    assert (await admin.get(f"/companies/{office.acme}")).status == 404


async def test_the_webhooks_secret_is_shown_once(office: Office) -> None:
    admin = await office.browser("admin")
    path = f"/companies/{office.acme}"
    answer = await admin.post(path, but(await form_of(admin, office.acme), webhook_url="https://example.org/calls"))
    first = (await stored(office, office.acme)).webhook_secret
    assert answer.status == 200
    assert first in await answer.text()
    assert first not in await admin.page(path)
    answer = await admin.post(path, await form_of(admin, office.acme))
    assert answer.status == 303, "a second saving shows nothing"
    answer = await admin.post(f"{path}/secret", {})
    second = (await stored(office, office.acme)).webhook_secret
    assert second in await answer.text()
    assert first != second
    assert second not in await admin.page(path)
    operator = await office.browser("operator")
    assert "example.org/calls" not in await operator.page(path), "a webhook's address may be a secret itself"


async def test_the_list_asks_the_database_as_often_however_long_it_is(office: Office) -> None:
    browser = await office.browser("admin")
    queries: list[str] = []
    event.listen(
        reading(office.store._engine).sync_engine, "before_cursor_execute", lambda *args: queries.append(args[2])
    )

    async def asked() -> int:
        queries.clear()
        await browser.page("/companies")
        return sum(query.lstrip().startswith("SELECT") for query in queries)

    few = await asked()
    for n in range(20):
        await office.store.companies.add(CompanyForm(name=f"Company {n}", numbers=(str(1000 + n),)))
    assert await asked() == few <= 5


async def test_the_first_company_is_asked_for(an_office: OfficeMaker) -> None:
    office = await an_office()
    for company_id in (office.acme, office.bright):
        await office.store.companies.delete(company_id, EVERYTHING)
    page = await (await office.browser("admin")).page("/companies")
    assert "Add your company" in page
    assert 'href="/companies/new"' in page
    assert "No company is yours yet" in await (await office.browser("viewer")).page("/companies")


# ---- the greeting ----------------------------------------------------------------------------------------------------


class Voice:
    """In the place of `Rehearsal.say`, which tests of its own speak with: notes what it is to say."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.said: list[tuple[str, str, str]] = []

    async def say(self, text: str, voice_id: str, language: str) -> bytes:
        self.said.append((text, voice_id, language))
        if self.failure:
            raise RehearsalError(self.failure)
        return b"RIFF...."


async def text_of(browser: Browser, path: str, form: Fields) -> str:
    answer: Any = await (await browser.post(f"{path}/greeting?as=text", form)).json()
    return str(answer["text"])


async def test_the_greeting_is_told_and_spoken_as_edited(office: Office) -> None:
    voice = Voice()
    await office.start(say=voice.say)
    admin, operator = await office.browser("admin"), await office.browser("operator")
    path = f"/companies/{office.acme}"
    assert re.search(r"Hello, Acme Plumbing, good (morning|afternoon|evening)\.", await admin.page(path))
    form = but(
        await form_of(admin, office.acme), greeting="Good {time_of_day}, Acme.", voice_id="fred", language="en-IE"
    )
    part = (await text_of(admin, path, form)).removeprefix("Good ").removesuffix(", Acme.")
    assert part in ("morning", "afternoon", "evening")
    async with await admin.post(f"{path}/greeting", form) as answer:
        assert (answer.status, answer.content_type) == (200, "audio/wav")
        assert await answer.read() == b"RIFF...."
    assert voice.said == [(f"Good {part}, Acme.", "fred", "en")]
    await operator.post(f"{path}/greeting", but(await form_of(operator, office.acme), greeting="Hi.", voice_id="eve"))
    assert voice.said[-1] == ("Hi.", "", "en"), "the voice is an admin's to choose"
    assert (await stored(office, office.acme)).form.greeting == "", "to try is not to save"


async def test_the_dentists_greeting_and_fields_that_cannot_be(office: Office) -> None:
    admin = await office.browser("admin")
    form = but(await form_of(admin, "new"), name="Mill Lane", conversation="dentist", timezone="Nowhere", crews="x")
    assert re.fullmatch(r"Good \w+, Mill Lane\.", await text_of(admin, "/companies/new", form))


async def test_what_keeps_it_from_being_heard_is_told(office: Office) -> None:
    admin = await office.browser("admin")
    path = f"/companies/{office.acme}"
    page = await admin.page(path)
    assert "No agent runs beside this console" in page
    assert "data-hear>" not in page
    answer = await admin.post(
        f"{path}/greeting", await form_of(admin, office.acme), headers={"Accept": "application/json"}
    )
    assert answer.status == 503
    assert "No agent runs" in (await answer.json())["error"]


async def test_a_voice_that_fails_is_told(office: Office) -> None:
    await office.start(say=Voice("the voice does not answer").say)
    admin = await office.browser("admin")
    form = await form_of(admin, office.acme)
    answer = await admin.post(f"/companies/{office.acme}/greeting", form, headers={"Accept": "application/json"})
    assert answer.status == 503
    assert (await answer.json())["error"] == "It cannot be heard: the voice does not answer."


async def test_conversations_with_mistakes_do_not_hide_the_company(
    an_office: OfficeMaker, console_settings: Callable[..., Settings], tmp_path: Any
) -> None:
    (tmp_path / "own" / "broken").mkdir(parents=True)
    (tmp_path / "own" / "broken" / "conversation.toml").write_text("title = ")
    office = await an_office(conversations_dir=tmp_path / "own")
    page = await (await office.browser("admin")).page(f"/companies/{office.acme}")
    assert '<input id="f-conversation"' in page
