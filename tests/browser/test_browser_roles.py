"""Who may do what, seen from a browser; and how a session ends."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NORTHERN, THAMES, Console, Demo, Watched, log_in

BUTTONS = {
    "a call erased": ("/calls/{uuid}", "Erase", "admin"),
    "a booking moved on": ("/bookings/{booking_id}", "Confirmed", "operator"),
    "a note": ("/bookings/{booking_id}", "Save note", "operator"),
    "a company saved": ("/companies/{thames}", "Save", "operator"),
    "a company deleted": ("/companies/{thames}", "Delete this company", "admin"),
}
RANKS = ("viewer", "operator", "admin")


@pytest.mark.parametrize(("name", "role"), [("vera", "viewer"), ("otto", "operator"), ("anna", "admin")])
def test_buttons_are_those_of_the_role(
    staffed_console: Console, demo_call: dict[str, Any], window: Callable[..., Watched], name: str, role: str
) -> None:
    page = window(staffed_console.url).page()
    log_in(page, staffed_console.url, name)
    page.goto(f"{staffed_console.url}/companies")
    company = str(page.get_by_role("link", name=THAMES).first.get_attribute("href")).rpartition("/")[2]
    for what, (path, button, needed) in BUTTONS.items():
        page.goto(staffed_console.url + path.format(**demo_call, thames=company))
        there = page.locator("main").get_by_role("button", name=button).filter(visible=True).count() > 0
        assert there == (RANKS.index(role) >= RANKS.index(needed)), what
    if role == "viewer":
        editable = page.locator("main :is(input, select, textarea):enabled:not([type=hidden])")
        assert editable.count() == 0
    is_admin = role == "admin"
    expect(page.get_by_role("link", name="Users")).to_have_count(int(is_admin))
    assert page.request.get(f"{staffed_console.url}/users").status == (200 if is_admin else 403)


def test_other_companies_are_not_there(
    staffed_console: Console, demo_call: dict[str, Any], window: Callable[..., Watched]
) -> None:
    page = window(staffed_console.url).page()
    log_in(page, staffed_console.url, "nora")
    for path in ("/companies", "/calls", "/bookings", "/figures"):
        page.goto(staffed_console.url + path)
        expect(page.locator("h1")).to_be_visible()
        assert THAMES not in page.locator("main").inner_text()
    page.goto(f"{staffed_console.url}/companies")
    expect(page.locator("main")).to_contain_text(NORTHERN)
    call, booking = f"/calls/{demo_call['uuid']}", f"/bookings/{demo_call['booking_id']}"
    for path in (call, f"{call}/sound", f"{call}/waveform", f"{call}/record.json", booking):
        assert page.request.get(staffed_console.url + path).status == 404


def log_out(page: Page) -> None:
    page.get_by_label("Account of otto").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")


def test_who_logs_out_is_out(staffed_console: Console, window: Callable[..., Watched]) -> None:
    page = window(staffed_console.url).page()
    log_in(page, staffed_console.url, "otto")
    page.goto(f"{staffed_console.url}/calls")
    log_out(page)
    page.go_back()
    page.wait_for_url(re.compile(r"/login\?next=%2Fcalls$|/login\?next=/calls$"))
    expect(page.locator("table")).to_have_count(0)


def test_a_session_that_is_too_old_leads_to_the_log_in_and_back(
    staffed_console: Console, demo: Demo, window: Callable[..., Watched]
) -> None:
    page = window(staffed_console.url).page()
    log_in(page, staffed_console.url, "otto")
    with closing(sqlite3.connect(demo.staffed / "office.sqlite3")) as database, database:
        database.execute(
            "UPDATE console_sessions SET expires_at = '2020-01-01 00:00:00'"
            " WHERE user_id = (SELECT id FROM users WHERE name = 'otto')"
        )
    page.goto(f"{staffed_console.url}/bookings?state=done")
    page.wait_for_url(re.compile(r"/login\?next="))
    page.get_by_label("Name", exact=True).fill("otto")
    page.get_by_label("Password", exact=True).fill("four words are good")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/bookings?state=done")


def test_a_wrong_password_says_so(staffed_console: Console, window: Callable[..., Watched]) -> None:
    watched = window(staffed_console.url)
    page = watched.page()
    page.goto(f"{staffed_console.url}/login")
    page.get_by_label("Name", exact=True).fill("vera")
    page.get_by_label("Password", exact=True).fill("not hers at all")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Name or password is not right.")
    expect(page.get_by_label("Name", exact=True)).to_have_value("vera")
    assert [complaint for complaint in watched.complaints if "401" not in complaint] == []
    watched.complaints.clear()  # Chromium itself tells of the answer 401
