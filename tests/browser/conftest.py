"""A real Chromium, and consoles that it looks at."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from agent.office.seed import seed_examples
from agent.office.store import OfficeStore
from agent.sandbox import history

CHROMIUM = shutil.which("chromium")
NAME, PASSWORD = "anna", "four words are good"
STAFF = {"otto": "operator", "vera": "viewer", "nora": "operator"}
"""Users beside the first: Otto and Vera see Thames Plumbing, Nora another company."""
THAMES, NORTHERN = "Thames Plumbing", "Northern Spark Electrical"
STARTS_S = 30
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.timeout(240))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed: apt-get install chromium"))


@dataclass(frozen=True, slots=True)
class Console:
    """One that runs: its address, and the link by which the first user is made."""

    url: str
    setup_url: str


def in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run it on an event loop of its own: Playwright's stands in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@contextmanager
def process_that_says(
    until_line: str, *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command until the block ends, first until it has printed what is looked for: gives all that it said."""
    variables = {name: value for name, value in os.environ.items() if name != "DATA_DIR"} | dict(environment or {})
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        try:
            said = ""
            while not re.search(until_line, said):
                line = process.stdout.readline()
                assert line, f"it ended too soon, and said {said!r}"
                said += line
            yield process, said
        finally:
            process.terminate()
            process.communicate(timeout=STARTS_S)


@contextmanager
def console_process(*command: str, first_start: bool = True) -> Iterator[Console]:
    """Run a command that serves the console, and wait until it says where."""
    link = r"http://\S+/setup\?token=\S+\n"
    with process_that_says(link if first_start else r"console on \S+\n", *command) as (_, said):
        yield console_of(said)


def console_of(said: str) -> Console:
    url, link = re.search(r"console on (http://\S+)", said), re.search(r"http://\S+/setup\?token=\S+", said)
    assert url is not None
    return Console(url[1], link[0] if link else "")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A window whose every request and complaint is looked at: nothing may go elsewhere, nothing may fail."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context = context
        self.origin = origin
        self.complaints: list[str] = []
        context.on("request", self._request)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )

    def page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(15_000)
        return page

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "blob:", "data:", self.origin.replace("http", "ws", 1))):
            self.complaints.append(f"a request to elsewhere: {request.url}")

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Watched]]:
    """`window(console.url, viewport=PHONE, color_scheme="dark", storage_state=...)` opens one; all are closed."""
    opened: list[Watched] = []

    def make(origin: str, **options: Any) -> Watched:
        options = {"viewport": WIDE, "reduced_motion": "no-preference"} | options
        watched = Watched(chromium.new_context(**options), origin)
        opened.append(watched)
        return watched

    yield make
    complaints = [complaint for watched in opened for complaint in watched.complaints]
    for watched in opened:
        watched.context.close()
    assert complaints == []


def until(page: Page, found: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Look again and again until something is found. (Playwright's own way is an eval, which the pages forbid.)"""
    ends = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < ends, "it did not come about in time"
        page.wait_for_timeout(50)
    return value


def set_up(page: Page, console: Console) -> None:
    """The first start: a name and a password."""
    page.goto(console.setup_url)
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url(re.compile(r"/(login)?$"))


def log_in(page: Page, url: str, name: str = NAME, password: str = PASSWORD) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(re.compile(r"/$"))


@dataclass(frozen=True, slots=True)
class Demo:
    """What `voice-agent demo` has left behind."""

    out: Path
    command: list[str]
    """The one that its last line names."""
    staffed: Path
    """A copy of its data with users: the first, and the staff."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    out = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "--tones", "--out", str(out)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    in_a_thread(_fill(out / "data" / "office.sqlite3"))
    staffed = out / "staffed"
    shutil.copytree(out / "data", staffed)
    in_a_thread(add_staff(staffed / "office.sqlite3"))
    return Demo(out, done.stdout.strip().splitlines()[-1].split(), staffed)


async def _fill(database: Path) -> None:
    """A past beside the demo's call, so that every page has something to show."""
    async with await OfficeStore.open(f"sqlite:///{database}") as store:
        await history.fill(store, calls=300, days=60)


async def add_staff(database: Path) -> None:
    """The two example companies, the first user, and who works for them."""
    async with await OfficeStore.open(f"sqlite:///{database}") as store:
        await seed_examples(store)
        companies = {company.name: company.id for company, _ in await store.list_companies()}
        await store.users.add(NAME, PASSWORD, "admin")
        for name, role in STAFF.items():
            await store.users.add(name, PASSWORD, role, [companies[NORTHERN if name == "nora" else THAMES]])


@pytest.fixture(scope="session")
def demo_console(demo: Demo) -> Iterator[Console]:
    with console_process(*demo.command, "--port", "0") as console:
        yield console


@pytest.fixture(scope="session")
def logged_in(demo_console: Console, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first user's browser, to be opened again: `storage_state=logged_in`."""
    context = chromium.new_context()
    page = context.new_page()
    set_up(page, demo_console)
    state = tmp_path_factory.mktemp("browser") / "state.json"
    context.storage_state(path=state)
    context.close()
    return state


@pytest.fixture(scope="session")
def staffed_console(demo: Demo) -> Iterator[Console]:
    """The same data with users, for tests that change what is there."""
    command = (sys.executable, "-m", "agent", "console", "--data-dir", str(demo.staffed), "--port", "0")
    with console_process(*command, first_start=False) as console:
        yield console


@pytest.fixture(scope="session")
def demo_call(demo: Demo) -> dict[str, Any]:
    """The document of the demo's call."""
    document: dict[str, Any] = json.loads((demo.out / "call.json").read_text("utf-8"))
    return document
