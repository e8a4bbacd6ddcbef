"""A call that runs, as a browser sees it: an agent with its console, emulated vendors and callers, each a process."""

from __future__ import annotations

import array
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    NORTHERN,
    THAMES,
    Watched,
    add_staff,
    console_of,
    in_a_thread,
    log_in,
    process_that_says,
    until,
)

if TYPE_CHECKING:
    from playwright.sync_api import Locator

NUMBERS = {THAMES: "+442079460123", NORTHERN: "+441614960456"}
CALLERS = {THAMES: "+447700900123", NORTHERN: "+447700900456"}
TALK = """
say: My kitchen tap is leaking
say: Yes that's fine
wait: 60s
say: It's SW4 7DQ
"""
AGENT = {
    "LISTEN_PORT": "0", "FASTAGI_PORT": "0", "HTTP_PORT": "0", "CONSOLE_PORT": "0", "STT_FALLBACKS": "none",
    "MAX_LOOP_LAG_MS": "0", "MAX_MEDIA_LATENESS_MS": "0", "CALLS_PER_CALLER_HOUR": "0",
}  # fmt: skip
LOUD = 500


@dataclass(frozen=True, slots=True)
class Running:
    """An agent with its console."""

    url: str
    database: Path
    ring: Callable[[str], AbstractContextManager[Any]]
    """Has somebody ring a company: a caller on the line for as long as the block."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("agent")
    script = directory / "talk.call"
    script.write_text(TALK, "utf-8")
    in_a_thread(add_staff(directory / "office.sqlite3"))
    command = (sys.executable, "-m", "agent")
    with ExitStack() as processes:
        vendors = ("sandbox", "--engines", "tones", "--profile", "practice")
        _, said = processes.enter_context(process_that_says(r"(?m)^ready$", *command, *vendors))
        variables = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        _, said = processes.enter_context(
            process_that_says(
                r"console on \S+\n",
                *command,
                "serve",
                environment=variables | AGENT | {"DATA_DIR": str(directory)},
            )
        )
        ports = re.search(r"AudioSocket on \S+:(\d+), FastAGI on \S+:(\d+)", said)
        assert ports is not None

        def ring(company: str) -> AbstractContextManager[Any]:
            return process_that_says(
                "",
                *(*command, "call", "--engine", "tones", "--ears", "none", "--script", str(script)),
                *("--port", ports[1], "--fastagi-port", ports[2]),
                *("--did", NUMBERS[company], "--caller-id", CALLERS[company]),
            )

        yield Running(console_of(said).url, directory / "office.sqlite3", ring)


@pytest.fixture
def live(agent: Running, window: Callable[..., Watched]) -> Callable[[str], Page]:
    """The live page of a user who has just logged in."""

    def make(name: str) -> Page:
        page = window(agent.url).page()
        log_in(page, agent.url, name)
        expect(page.locator("#live-state")).to_have_text("Live")
        page.evaluate("() => { window.sameDocument = true }")
        return page

    return make


def card_of(page: Page, company: str) -> Locator:
    return page.locator(".live-call", has_text=company)


def of(card: Locator, name: str) -> Locator:
    return card.locator(f"[data-of='{name}']")


def on_the_line(card: Locator) -> int:
    minutes, seconds = of(card, "since").inner_text().split(":")
    return 60 * int(minutes) + int(seconds)


def loudness(pcm: bytes) -> tuple[int, int]:
    """The loudest sample of the caller and of the agent."""
    samples = array.array("h", pcm)
    return max(map(abs, samples[0::2]), default=0), max(map(abs, samples[1::2]), default=0)


def test_calls_are_seen_heard_ended_and_transferred(agent: Running, live: Callable[[str], Page]) -> None:
    anna, vera, nora = live("anna"), live("vera"), live("nora")
    heard: list[tuple[int, int]] = []
    anna.on(
        "websocket",
        lambda socket: socket.on(
            "framereceived", lambda data: heard.append(loudness(data)) if isinstance(data, bytes) else None
        ),
    )
    for page in (anna, vera, nora):
        expect(page.get_by_text("Nobody is on the line")).to_be_visible()
        expect(page.locator("#live-count")).to_have_text("0")

    with agent.ring(THAMES), agent.ring(NORTHERN):
        # Each sees the calls of their companies, without asking for the page again.
        for page, companies in ((anna, (THAMES, NORTHERN)), (vera, (THAMES,)), (nora, (NORTHERN,))):
            for company in companies:
                expect(card_of(page, company)).to_be_visible(timeout=20_000)
            expect(page.locator("#live-count")).to_have_text(str(len(companies)))
            expect(page.locator(".live-call")).to_have_count(len(companies))
            expect(page.get_by_text("Nobody is on the line")).to_be_hidden()
        call = card_of(anna, THAMES)
        uuid = call.get_attribute("data-uuid")
        expect(of(call, "who")).to_have_text("07700 900123")

        _moves(anna, call)
        _is_listened_to(anna, vera, call, heard)
        _what_is_not_theirs(agent, nora, vera, str(uuid))
        _is_transferred(nora)

        call.get_by_role("button", name="End").click()
        anna.get_by_role("dialog").get_by_role("button", name="End the call").click()
        expect(of(call, "doing")).to_have_text("Over", timeout=20_000)
        expect(of(card_of(vera, THAMES), "doing")).to_have_text("Over")
        over_for = on_the_line(call)
        anna.mouse.move(0, 0)
        for page in (anna, vera, nora):
            expect(page.locator(".live-call")).to_have_count(0, timeout=25_000)
            expect(page.get_by_text("Nobody is on the line")).to_be_visible()
            assert page.evaluate("() => window.sameDocument")
        assert over_for >= 5
    # Today's numbers have followed, without asking for the page again.
    for page, calls in ((anna, "2"), (vera, "1")):
        today = page.locator(".stat", has_text="Calls today").locator(".stat-figure")
        expect(today).to_have_text(calls, timeout=15_000)

    anna.keyboard.press("g")
    anna.keyboard.press("c")
    anna.locator(f"a[href='/calls/{uuid}']").click()
    anna.wait_for_url(f"**/calls/{uuid}")
    expect(anna.locator("h1")).to_contain_text("07700 900123")
    expect(anna.locator("main")).to_contain_text("My kitchen tap is leaking")
    expect(anna.get_by_role("region", name="Moments")).to_contain_text("anna")
    audio = anna.locator("audio")
    until(anna, lambda: (audio.evaluate("player => player.duration") or 0) > 5)


def _moves(page: Page, call: Locator) -> None:
    """Its duration, its step, who speaks, what is said, and how loud."""
    first = on_the_line(call)
    meters = [of(call, f"level-{side}").locator("span") for side in ("caller", "agent")]
    words: dict[str, list[str]] = {"caller": [], "agent": []}
    steps: list[str] = []
    doings: set[str] = set()
    levels: list[set[float]] = [set(), set()]

    def look() -> bool:
        for side, said in words.items():
            text = of(call, side).inner_text()
            if text and text not in said:
                said.append(text)
        step = of(call, "step").inner_text()
        if step and step not in steps:
            steps.append(step)
        doings.add(of(call, "doing").inner_text())
        for meter, seen in zip(meters, levels, strict=True):
            seen.add(float(meter.evaluate("bar => bar.style.getPropertyValue('--level')") or 0))
        return (
            len(steps) >= 2
            and "My kitchen tap is leaking" in words["caller"]
            and len(words["agent"]) >= 3
            and {"Speaking", "Caller's turn"} <= doings
            and all(len(seen) >= 3 and max(seen) > 0.3 for seen in levels)
            and of(call, "latency").is_visible()
        )

    try:
        until(page, look, 40)
    except AssertionError:
        pytest.fail(f"{steps} {doings} {words} {levels}")
    order = of(call, "steps").locator("li").evaluate_all("items => items.map(item => item.title)")
    assert steps == sorted(steps, key=order.index)
    assert any("Thames Plumbing" in text for text in words["agent"])
    assert on_the_line(call) > first
    assert re.fullmatch(r"\d+ ms|\d\.\d\d s", of(call, "latency").inner_text())


def _is_listened_to(page: Page, other: Page, call: Locator, heard: list[tuple[int, int]]) -> None:
    """Sound comes, it is the agent's and plays; whoever looks on sees that somebody listens."""
    call.get_by_role("button", name="Listen in").click()
    panel = page.locator("#listening")
    expect(panel).to_be_visible()
    expect(panel).to_have_attribute("data-playing", "yes")
    expect(of(card_of(other, THAMES), "listeners")).to_have_text("1 listening")
    until(page, lambda: max((agent for _, agent in heard), default=0) > LOUD, 30)
    page.get_by_role("button", name="Stop listening").click()
    expect(panel).to_be_hidden()
    expect(of(card_of(other, THAMES), "listeners")).to_be_hidden()


def _what_is_not_theirs(agent: Running, nora: Page, vera: Page, uuid: str) -> None:
    """Another company's call is not there; a viewer sees no buttons, and may not do by hand what they would."""
    assert THAMES not in nora.locator("main").inner_text()
    assert nora.request.get(f"{agent.url}/calls/{uuid}").status == 404
    for page, status in ((nora, 404), (vera, 403)):
        token = page.locator("meta[name=csrf]").get_attribute("content")
        for what in ("end", "transfer"):
            answer = page.request.post(
                f"{agent.url}/live/{uuid}/{what}",
                headers={"X-CSRF-Token": str(token), "Origin": agent.url},
                form={"target": "office"},
            )
            assert answer.status == status
    assert vera.locator(".live-call [data-do], dialog[id$=-call], #listening").count() == 0


def _is_transferred(page: Page) -> None:
    call = card_of(page, NORTHERN)
    call.get_by_role("button", name="Transfer").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("office")).to_be_checked()
    dialog.get_by_role("button", name="Put through").click()
    expect(of(call, "doing")).to_have_text("Over", timeout=20_000)
    page.mouse.move(0, 0)
    past = of(call, "past").get_attribute("href")
    until(page, lambda: "Put through" in page.request.get(page.url.rstrip("/") + str(past)).text())


def test_a_session_that_ends_sees_no_more(agent: Running, live: Callable[[str], Page]) -> None:
    vera, otto = live("vera"), live("otto")
    with closing(sqlite3.connect(agent.database)) as database, database:
        ended = database.execute(
            "DELETE FROM console_sessions WHERE user_id = (SELECT id FROM users WHERE name = 'vera')"
        )
        assert ended.rowcount > 0
    vera.wait_for_url(re.compile(r"/login(\?|$)"), timeout=30_000)
    assert "On the line" not in vera.locator("body").inner_text()
    expect(otto.locator("#live-state")).to_have_text("Live")
