"""The console's port: answers that last and their limits, what is printed, and the commands."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from typer.testing import CliRunner

from agent.cli import app as command_line
from agent.office.console import figures
from agent.office.console.access import needs, still_allowed
from agent.office.console.first_start import FILE
from agent.office.console.port import PORT, console_port
from agent.office.console.streams import Download, stream
from agent.office.store import OfficeStore
from agent.ops.http import HttpLimits
from agent.ops.strangers import Strangers
from tests.console.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.console.conftest import Office, OfficeMaker

SHORT = HttpLimits(head_s=0.5, request_s=0.4, idle_s=0.5, streams=3, streams_each=2, stream_s=30.0)


class Visitor:
    """Someone who has logged in at a console's own port."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def log_in(self, name: str) -> None:
        async with self.session.get(f"{self.url}/login") as answer:
            found = re.search(r'<meta name="csrf" content="([^"]+)">', await answer.text())
        assert found is not None
        form = {"name": name, "password": PASSWORD, "_csrf": found[1]}
        async with self.session.post(f"{self.url}/login", data=form, allow_redirects=False) as answer:
            assert answer.status == 303

    def get(self, path: str, **options: Any) -> Any:
        return self.session.get(self.url + path, **options)


@contextlib.asynccontextmanager
async def at_the_port(office: Office, limits: HttpLimits, *names: str) -> AsyncIterator[list[Visitor]]:
    async with console_port(office.parts, Strangers(), limits) as console, contextlib.AsyncExitStack() as stack:
        visitors = []
        for name in names:
            jar = aiohttp.CookieJar(unsafe=True)
            visitors.append(
                Visitor(await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar)), console.url)
            )
            await visitors[-1].log_in(name)
        yield visitors


@pytest.fixture
def lasting_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """Pages of the console that last: events, a hanging one, and a file; gives what the file has."""

    @needs("viewer")
    async def events(request: web.Request) -> web.StreamResponse:
        with stream(request):
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await answer.prepare(request)
            while await still_allowed(request):
                await answer.write(b"data: here\n\n")
                await asyncio.sleep(0.05)
        return answer

    @needs("viewer")
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    @needs("viewer")
    async def sound(_request: web.Request) -> web.StreamResponse:
        return Download(file, "audio/wav", name='call "1".wav')

    def add_pages(app: web.Application) -> None:
        app.router.add_get("/events", events)
        app.router.add_get("/hang", hang)
        app.router.add_get("/sound", sound)

    content = os.urandom(12_000_000)
    file = tmp_path / "sound.wav"
    file.write_bytes(content)
    monkeypatch.setattr(figures, "add_pages", add_pages)
    return content


async def test_events_last_longer_than_a_request_may(office: Office, lasting_pages: bytes) -> None:
    async with at_the_port(office, SHORT, "viewer") as (visitor,):
        with pytest.raises(aiohttp.ClientError):
            async with visitor.get("/hang") as answer:
                await answer.read()
        async with visitor.get("/events") as answer, asyncio.timeout(10):
            for _ in range(25):  # three times request_s
                assert await answer.content.readuntil(b"\n\n") == b"data: here\n\n"
            assert answer.headers["X-Frame-Options"] == "DENY"


async def test_there_are_so_many_for_a_user_and_for_all(office: Office, lasting_pages: bytes) -> None:
    async with (
        at_the_port(office, SHORT, "viewer", "operator") as (visitor, other),
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(2):
            assert (await stack.enter_async_context(visitor.get("/events"))).status == 200
        async with visitor.get("/events", headers={"Accept": "text/event-stream"}) as answer:
            assert (answer.status, "close another page" in (await answer.json())["error"]) == (429, True)
        assert (await stack.enter_async_context(other.get("/events"))).status == 200
        async with other.get("/events") as answer:
            assert answer.status == 429, "all of the port's are taken"
        async with visitor.get("/account") as answer:
            assert answer.status == 200, "pages are no streams"
        await stack.aclose()
        async with asyncio.timeout(10):
            while True:
                async with other.get("/events") as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.05)


async def test_events_end_when_their_user_is_logged_out(office: Office, lasting_pages: bytes) -> None:
    account = await office.store.users.named("viewer")
    assert account is not None
    async with at_the_port(office, SHORT, "viewer") as (visitor,), visitor.get("/events") as answer:
        await answer.content.readuntil(b"\n\n")
        await office.store.users.log_out_everywhere(account.id)
        async with asyncio.timeout(10):
            assert (await answer.content.read()).count(b"data") < 100


async def test_a_stream_ends_after_its_longest_time(office: Office, lasting_pages: bytes) -> None:
    limits = HttpLimits(streams=1, streams_each=1, stream_s=0.5)
    async with at_the_port(office, limits, "viewer") as (visitor,):
        with pytest.raises(aiohttp.ClientPayloadError):
            async with visitor.get("/events") as answer, asyncio.timeout(10):
                await answer.content.read()


async def test_a_file_may_take_its_time(office: Office, lasting_pages: bytes) -> None:
    async with at_the_port(office, SHORT, "viewer") as (visitor,), visitor.get("/sound", read_bufsize=4096) as answer:
        assert answer.content_type == "audio/wav"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="call--1-.wav"'
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        begun = await answer.content.readexactly(4096)
        await asyncio.sleep(2.0)  # longer than a request may take, and than an idle connection is kept
        assert begun + await answer.content.read() == lasting_pages


async def test_a_part_of_a_file(office: Office, lasting_pages: bytes) -> None:
    async with at_the_port(office, SHORT, "viewer") as (visitor,):
        async with visitor.get("/sound", headers={"Range": "bytes=100-199"}) as answer:
            assert (answer.status, await answer.read()) == (206, lasting_pages[100:200])
        for _ in range(5):
            async with visitor.get("/sound", headers={"Range": "bytes=0-9"}) as answer:
                assert answer.status == 206, "each gives its place back"


async def test_closing_does_not_wait_for_streams(office: Office, lasting_pages: bytes) -> None:
    async with asyncio.timeout(10), contextlib.AsyncExitStack() as stack:
        visitors = await stack.enter_async_context(at_the_port(office, SHORT, "viewer"))
        answer = await visitors[0].session.get(f"{visitors[0].url}/events")
        await answer.content.readuntil(b"\n\n")


@pytest.mark.parametrize(("said", "lines"), [(b"", 0), (b"GET / HTT", 1)])
async def test_strangers_are_counted_and_told_of_if_they_said_something(
    office: Office, caplog: pytest.LogCaptureFixture, said: bytes, lines: int
) -> None:
    """A browser opens connections ahead, and says nothing on those that it does not need."""
    strangers = Strangers()
    async with console_port(office.parts, strangers, HttpLimits(head_s=0.2)) as console:
        with socket.create_connection(("127.0.0.1", console.port)) as stranger:
            stranger.sendall(said)
            async with asyncio.timeout(5):
                while not strangers.counters:  # noqa: ASYNC110 - it is the counter that matters
                    await asyncio.sleep(0.02)
    assert strangers.counters == {(PORT, "timeout"): 1}
    assert sum("turned a connection" in record.message for record in caplog.records) == lines


# ---- where it is ----------------------------------------------------------------------------------------------------


async def test_it_says_where_it_is_and_how_to_begin(an_office: OfficeMaker) -> None:
    office = await an_office(users=False)
    async with console_port(office.parts) as console:
        assert console.url == f"http://127.0.0.1:{console.port}"
        assert re.fullmatch(rf"{console.url}/setup\?token=[\w-]{{43}}", console.setup_url)
        assert console.lines() == [
            f"console on {console.url}",
            f"nobody can log in yet: set the first name and password at {console.setup_url}",
        ]
        async with console_port(office.parts) as other:
            assert other.setup_url.partition("/setup")[2] == console.setup_url.partition("/setup")[2]
        async with aiohttp.ClientSession() as http, http.get(console.setup_url) as answer:
            assert answer.status == 200
    await office.store.users.add("anna", PASSWORD, "admin")
    async with console_port(office.parts) as console:
        assert console.lines() == [f"console on {console.url}"]
        assert not (office.parts.settings.data_dir / FILE).exists()


async def test_links_lead_where_people_come_in(an_office: OfficeMaker) -> None:
    office = await an_office(users=False, console_url="https://phones.example.com/")
    async with console_port(office.parts) as console:
        assert console.url == "https://phones.example.com"
        assert console.setup_url.startswith("https://phones.example.com/setup?token=")


# ---- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA_DIR", "DATABASE_URL", "CONSOLE_PORT", "CONSOLE_URL", "VOICE_AGENT_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


def user(data_dir: Path, *words: str, password: str | None = None) -> tuple[int, str]:
    stdin = [] if password is None else ["--password-stdin"]
    result = CliRunner().invoke(
        command_line, ["user", *words, *stdin, "--data-dir", str(data_dir)], input=f"{password}\n" if password else None
    )
    return result.exit_code, result.output


def test_users_from_the_command_line(data_dir: Path) -> None:
    assert "nobody can log in yet" in user(data_dir, "list")[1]
    assert user(data_dir, "add", "Anna", "--role", "admin", password=PASSWORD) == (0, "anna can log in now, as admin\n")
    assert user(data_dir, "add", "anna", password=PASSWORD) == (2, "There is a user anna already.\n")
    assert user(data_dir, "add", "ben", password="short")[0] == 2
    assert user(data_dir, "add", "ben", "--company", "Acme", password=PASSWORD)[1].startswith(
        "There is no company 'Acme'"
    )
    assert user(data_dir, "add", "ben", "--role", "root", password=PASSWORD)[0] == 2
    assert user(data_dir, "add", "ben", password=PASSWORD) == (0, "ben can log in now, as viewer\n")
    assert user(data_dir, "add", "cleo") == (
        2, "There is no terminal to ask for the password: give it by --password-stdin.\n",
    )  # fmt: skip
    lines = user(data_dir, "list")[1].splitlines()
    assert [line.split()[:3] for line in lines] == [["anna", "admin", "never"], ["ben", "viewer", "never"]]
    assert user(data_dir, "password", "ben", password="a brand new one")[0] == 0
    assert user(data_dir, "password", "dora", password="a brand new one")[1].startswith("There is no user 'dora'")
    assert user(data_dir, "remove", "ben") == (0, "ben is removed\n")
    assert user(data_dir, "remove", "anna")[1].startswith("Somebody must remain an admin")


async def test_the_password_that_was_given_is_the_one(data_dir: Path) -> None:
    code, _ = await asyncio.to_thread(user, data_dir, "add", "anna", "--role", "admin", password="  spaces count  ")
    assert code == 0
    async with await OfficeStore.open(f"sqlite:///{data_dir / 'office.sqlite3'}") as store:
        assert await store.users.log_in("anna", "spaces count") is None
        assert await store.users.log_in("anna", "  spaces count  ") is not None


async def test_the_console_by_itself(data_dir: Path) -> None:
    """`voice-agent console` as people start it: without a key, on a directory, until it is told to end."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.cli", "console", "--data-dir", str(data_dir), "--port", "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().removeprefix("console on ").strip()
            setup_url = (await process.stdout.readline()).decode().rpartition(" ")[2].strip()
            assert setup_url.startswith(f"{url}/setup?token=")
            async with aiohttp.ClientSession() as http, http.get(setup_url) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, errors.decode()) == (0, "")


def test_a_directory_that_is_not_there_is_told(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(command_line, ["console", "--data-dir", str(data_dir / "nix")])
    assert result.exit_code == 2
    assert f"there is no directory {data_dir / 'nix'}" in result.output + capsys.readouterr().err


def test_a_port_that_is_taken_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = io.StringIO()
    monkeypatch.setattr("sys.stderr", errors)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(
            command_line, ["console", "--data-dir", str(data_dir), "--port", str(taken.getsockname()[1])]
        )
    assert result.exit_code == 2
    assert "--port chooses another port" in result.output + errors.getvalue()
