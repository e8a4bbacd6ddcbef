"""The console without a mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import NAME, PASSWORD, THAMES, Console, Watched, until

FOCUSED = "selector => document.activeElement.matches(selector)"


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str, most: int = 120) -> None:
    """Press Tab until the focus is there."""
    for _ in range(most):
        if page.evaluate(FOCUSED, selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way by Tab to {selector}")


def log_in_by_keyboard(page: Page, console: Console) -> None:
    page.goto(f"{console.url}/login")
    tab_to(page, "[name=name]")
    page.keyboard.type(NAME)
    tab_to(page, "[name=password]")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console.url}/")


def test_a_call_is_found_and_heard(
    staffed_console: Console, demo_call: dict[str, Any], window: Callable[..., Watched]
) -> None:
    page = window(staffed_console.url).page()
    log_in_by_keyboard(page, staffed_console)
    press(page, "g", "c")
    page.wait_for_url("**/calls")
    page.keyboard.press("/")
    page.keyboard.type("Twelve Baker Street")
    page.keyboard.press("Enter")
    page.wait_for_url("**/calls?*q=Twelve*")
    press(page, "j", "Enter")
    page.wait_for_url(f"**/calls/{demo_call['uuid']}")

    audio = page.locator("audio")

    def now() -> float:
        return float(audio.evaluate("player => player.currentTime"))

    until(page, lambda: audio.evaluate("player => player.readyState >= 1"))
    page.keyboard.press("Space")
    until(page, lambda: now() > 0.3)
    page.keyboard.press("Space")
    until(page, lambda: audio.evaluate("player => player.paused"))
    before = now()
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight")
    until(page, lambda: abs(now() - before - 14) < 0.2)
    tab_to(page, ".wave")
    page.keyboard.press("End")
    until(page, lambda: now() > demo_call["seconds"] - 1.5)
    page.keyboard.press("Home")
    until(page, lambda: now() == 0)
    assert page.locator(".wave").get_attribute("aria-valuenow") == "0.0"
    tab_to(page, ".at")
    page.keyboard.press("Enter")
    until(page, lambda: not audio.evaluate("player => player.paused"))
    press(page, "g", "c")
    page.wait_for_url("**/calls")


def test_a_company_is_edited(staffed_console: Console, window: Callable[..., Watched]) -> None:
    page = window(staffed_console.url).page()
    log_in_by_keyboard(page, staffed_console)
    press(page, "g", "o")
    page.wait_for_url("**/companies")
    link = page.get_by_role("link", name=THAMES).first.get_attribute("href")
    tab_to(page, f"main a[href='{link}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{link}")
    tab_to(page, "#f-greeting")
    page.keyboard.press("Control+a")
    page.keyboard.type("Good {time_of_day}, this is Thames.")
    expect(page.locator("[data-spoken]")).to_contain_text("this is Thames.")
    tab_to(page, "[name=mon_from]")
    page.keyboard.type("0830A")
    tab_to(page, "[name=mon_until]")
    page.keyboard.type("1115A")
    tab_to(page, "[data-weekdays]")
    page.keyboard.press("Enter")
    tab_to(page, ".form-foot button")
    page.keyboard.press("Enter")
    expect(page.locator(".note.good")).to_be_visible()
    page.reload()
    expect(page.locator("#f-greeting")).to_have_value("Good {time_of_day}, this is Thames.")
    for day, opens, closes in (("mon", "08:30", "11:15"), ("fri", "08:30", "11:15"), ("sat", "", "")):
        expect(page.locator(f"[name={day}_from]")).to_have_value(opens)
        expect(page.locator(f"[name={day}_until]")).to_have_value(closes)


def test_a_booking_is_moved_on(
    staffed_console: Console, demo_call: dict[str, Any], window: Callable[..., Watched]
) -> None:
    page = window(staffed_console.url).page()
    log_in_by_keyboard(page, staffed_console)
    press(page, "g", "b")
    page.wait_for_url("**/bookings")
    page.keyboard.press("/")
    page.keyboard.type("SW4 7DQ")
    page.keyboard.press("Enter")
    page.wait_for_url("**/bookings?*q=SW4*")
    tab_to(page, f".row-link[href='/bookings/{demo_call['booking_id']}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/bookings/{demo_call['booking_id']}")
    tab_to(page, "button[name=state][value=confirmed]")
    page.keyboard.press("Enter")
    expect(page.locator("button[name=state][value=confirmed]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("h1")).to_contain_text("Confirmed")
    tab_to(page, "#f-note")
    page.keyboard.type("Ring twice.")
    tab_to(page, "button:not([name])")
    page.keyboard.press("Enter")
    expect(page.locator("#f-note")).to_have_value("Ring twice.")
    expect(page.locator(".timeline")).to_contain_text(NAME)


def test_the_shortcuts_are_told(staffed_console: Console, window: Callable[..., Watched]) -> None:
    page = window(staffed_console.url).page()
    log_in_by_keyboard(page, staffed_console)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Bookings")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    for theme in ("light", "dark"):
        page.keyboard.press("t")
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    press(page, "g", "a")
    page.wait_for_url("**/account")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
