"""Makes docs/img/console-*.png from what `make demo` has left, made-up calls of two months, and two that run:
`python docs/make_screenshots.py demo-out`. Needs Chromium and Playwright, and takes about a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, StorageState, async_playwright, expect

from agent.office.seed import seed_examples
from agent.office.store import OfficeStore
from agent.sandbox import history
from agent.sandbox.process import part, sandbox_process

PICTURES = Path(__file__).parent / "img"
WIDE, PHONE = (1280, 900), (390, 844)
NAME, PASSWORD = "anna", "four words are good"
AGENT = {
    "LISTEN_PORT": "0", "FASTAGI_PORT": "0", "HTTP_PORT": "0", "CONSOLE_PORT": "0", "STT_FALLBACKS": "none",
    "MAX_LOOP_LAG_MS": "0", "MAX_MEDIA_LATENESS_MS": "0", "CALLS_PER_CALLER_HOUR": "0",
}  # fmt: skip
RINGING = (
    ("+442079460123", "+447700900123", ("My kitchen tap is leaking and it won't stop", "Yes, that's fine", "It's SW4")),
    ("+441614960456", "+447700900456", ("Half the sockets upstairs are dead",)),
)
"""Who is dialled, who rings, and what they say; then they keep still, and the agent asks whether they are there."""
COMPANY = "Thames Plumbing"
GREETING = "Good {time_of_day}, Thames Plumbing, what can we do for you?"

Prepare = Callable[[Page], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Picture:
    """One to be made: the file's name, the page, and what is done there first."""

    name: str
    path: str
    scheme: str = "light"
    size: tuple[int, int] = WIDE
    prepare: Prepare | None = None


async def playing(page: Page) -> None:
    """In the middle of the call, a word lit."""
    await page.locator(".line.agent [data-s]").nth(12).click()
    await expect(page.locator(".line-text .on").first).to_be_visible()
    await page.locator("[data-play]").click()
    await page.evaluate("scrollTo(0, 0)")
    await page.mouse.move(0, 0)


async def played(page: Page) -> None:
    """The same, with the time line drawn."""
    async with page.expect_response("**/waveform"):
        await page.reload()
    await playing(page)


async def edited(page: Page) -> None:
    """A greeting and hours, entered and not saved."""
    await page.locator("#f-greeting").fill(GREETING)
    await page.locator("[name=mon_from]").fill("08:00")
    await page.locator("[name=mon_until]").fill("17:30")
    await page.locator("[data-weekdays]").click()
    await expect(page.locator("[data-spoken]")).to_contain_text("what can we do for you?")
    await expect(page.locator("#announcements .note")).to_have_count(0, timeout=10_000)
    await page.locator("#greeting-part").evaluate("part => scrollTo(0, part.offsetTop - 40)")


async def talking(page: Page) -> None:
    """Calls that run and have got somewhere, at a moment when somebody speaks."""
    cards = page.locator(".live-call")
    await expect(cards).to_have_count(len(RINGING), timeout=30_000)
    await expect(cards.filter(has_text=re.compile("Postcode|Address"))).to_have_count(1, timeout=60_000)
    meter = cards.first.locator(".meter span").last
    await expect(meter).to_have_attribute("style", re.compile(r"--level: 0?\.[5-9]|--level: 1"), timeout=30_000)


def pictures(call: str, company: str) -> list[Picture]:
    """All of them: the live ones first, for the callers do not wait."""
    return [
        Picture("live", "/", prepare=talking),
        Picture("live-phone", "/", "dark", PHONE, talking),
        Picture("calls", "/calls"),
        Picture("call", f"/calls/{call}", prepare=played),
        Picture("call-dark", f"/calls/{call}", "dark", prepare=played),
        Picture("company", company, prepare=edited),
        Picture("bookings", "/bookings"),
        Picture("figures", "/figures"),
    ]


@asynccontextmanager
async def an_agent(directory: Path) -> AsyncIterator[str]:
    """An agent on emulated vendors with the data of `directory`, and calls: the console's address."""
    log = directory / "log"
    async with AsyncExitStack() as parts:
        vendors = await parts.enter_async_context(sandbox_process(log, "--engines", "tones", "--profile", "practice"))
        environment: Mapping[str, str] = {**os.environ, **vendors, **AGENT, "DATA_DIR": str(directory)}
        agent = await parts.enter_async_context(part(log, "serve", environment=environment))
        assert agent.stdout is not None
        said = ""
        while not (console := re.search(r"console on (\S+)\n", said)):
            line = (await agent.stdout.readline()).decode()
            assert line, f"the agent does not start: {log.read_text('utf-8')}"
            said += line
        ports = re.search(r"AudioSocket on \S+:(\d+), FastAGI on \S+:(\d+)", said)
        assert ports is not None
        for did, caller, words in RINGING:
            says = [argument for text in words for argument in ("--say", text)]
            await parts.enter_async_context(
                part(
                    log, "call", "--engine", "tones", "--ears", "none", "--did", did, "--caller-id", caller,
                    "--port", ports[1], "--fastagi-port", ports[2], *says,
                )
            )  # fmt: skip
        yield console[1]


async def fill(database: Path) -> str:
    """Two months of calls, and a user; gives the path of a company's page."""
    async with await OfficeStore.open(f"sqlite:///{database}") as store:
        await seed_examples(store)
        await history.fill(store, calls=1200, days=60, recordings=True)
        await store.users.add(NAME, PASSWORD, "admin")
        return next(
            f"/companies/{company.id}" for company, _ in await store.list_companies() if company.name == COMPANY
        )


async def log_in(browser: Browser, url: str) -> StorageState:
    """The cookies of a browser that has logged in."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{url}/login")
    await page.get_by_label("Name", exact=True).fill(NAME)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{url}/")
    state = await context.storage_state()
    await context.close()
    return state


async def take(browser: Browser, url: str, state: StorageState, picture: Picture) -> Path:
    """Take it, and say where it is."""
    width, height = picture.size
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.scheme == "dark" else "light",
        storage_state=state,
        locale="en-GB",
        timezone_id="Europe/London",
    )
    page = await context.new_page()
    await page.goto(url + picture.path)
    if picture.prepare is not None:
        await picture.prepare(page)
    path = PICTURES / f"console-{picture.name}.png"
    await page.screenshot(path=path, animations="disabled")
    await context.close()
    return path


async def main(demo: Path) -> None:
    """All pictures, with a copy of what the demo has left."""
    call = json.loads((demo / "call.json").read_text("utf-8"))["uuid"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "data"
        shutil.copytree(demo / "data", directory)
        company = await fill(directory / "office.sqlite3")
        async with async_playwright() as playwright, an_agent(directory) as url:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--lang=en-GB"],
                env={**os.environ, "LANGUAGE": "en_GB"},
            )
            state = await log_in(browser, url)
            for picture in pictures(call, company):
                path = await take(browser, url, state, picture)
                print(f"{path} {path.stat().st_size // 1000} KB")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if sys.argv[1:] else "demo-out")))
