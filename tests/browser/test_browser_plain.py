"""The console in a browser that runs no script: what must be done still can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NORTHERN, Console, Watched, log_in, until


@pytest.fixture
def page(staffed_console: Console, window: Callable[..., Watched]) -> Page:
    page = window(staffed_console.url, java_script_enabled=False).page()
    log_in(page, staffed_console.url)
    return page


def test_lists_are_filtered_and_a_call_is_read_and_heard(
    page: Page, staffed_console: Console, demo_call: dict[str, Any]
) -> None:
    expect(page.locator("main")).to_contain_text("No agent runs in this process")
    page.get_by_role("link", name="Calls", exact=True).click()
    page.get_by_label("Search").fill("Twelve Baker Street")
    page.get_by_label("Outcome").select_option("booked")
    page.get_by_role("button", name="Search").click()
    page.locator(f"a[href='/calls/{demo_call['uuid']}']").click()
    page.wait_for_url(f"**/calls/{demo_call['uuid']}")
    said = page.locator(".transcript").inner_text()
    for turn in demo_call["turns"]:
        assert turn["caller"] in said
    audio = page.locator("audio")
    expect(audio).to_be_visible()
    assert audio.get_attribute("controls") is not None
    until(page, lambda: (audio.evaluate("player => player.duration") or 0) > 30)
    expect(page.locator("[data-controls]")).to_be_hidden()
    for path in ("/bookings", "/companies", "/figures", "/users", "/account"):
        answer = page.goto(staffed_console.url + path)
        assert answer is not None
        assert answer.status == 200
        expect(page.locator("h1")).to_be_visible()


def test_a_company_is_saved(page: Page, staffed_console: Console) -> None:
    page.goto(f"{staffed_console.url}/companies")
    page.get_by_role("link", name=NORTHERN).first.click()
    page.get_by_role("textbox", name="Greeting").fill("Hello, Northern Spark.")
    page.get_by_role("button", name="Another span on Monday").click()
    expect(page.locator("[name=mon_from]")).to_have_count(2)
    for place, (opens, closes) in enumerate((("08:00", "12:00"), ("13:00", "17:00"))):
        page.locator("[name=mon_from]").nth(place).fill(opens)
        page.locator("[name=mon_until]").nth(place).fill(closes)
    page.get_by_role("button", name="To Friday").click()
    expect(page.locator("[name=fri_until]").nth(1)).to_have_value("17:00")
    page.get_by_role("button", name="Save").last.click()
    expect(page.locator(".note.good")).to_be_visible()
    expect(page.get_by_role("textbox", name="Greeting")).to_have_value("Hello, Northern Spark.")
    expect(page.locator("[data-spoken]")).to_have_text("Hello, Northern Spark.")
    expect(page.locator("[name=thu_from]").nth(1)).to_have_value("13:00")


def test_a_booking_is_changed(page: Page, staffed_console: Console) -> None:
    page.goto(f"{staffed_console.url}/bookings?state=done")
    page.locator(".row-link").nth(3).click()
    page.get_by_role("textbox", name="Note").fill("The key is at number 14.")
    page.get_by_role("button", name="Save note").click()
    page.get_by_role("button", name="Cancelled").click()
    expect(page.locator("h1")).to_contain_text("Cancelled")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("The key is at number 14.")


def test_one_logs_out(page: Page, staffed_console: Console) -> None:
    page.locator("summary", has_text="anna").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{staffed_console.url}/calls")
    expect(page).to_have_url(re.compile(r"/login\?next=/calls$"))
