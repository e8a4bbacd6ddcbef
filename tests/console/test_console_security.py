"""What every answer says to browsers, by which names the console answers, and what its pages are made of."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.office.console import account, static_files
from agent.office.console.access import needs
from agent.office.console.parts import PARTS
from agent.office.console.security import address_of
from agent.office.console.static_files import FOLDER

if TYPE_CHECKING:
    from tests.console.conftest import Office, OfficeMaker

TEMPLATES = sorted((Path(static_files.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/login", 200), ("/account", 200), ("/nothing", 404), ("/static/console.css", 200), ("/static/none.css", 404),
     ("/setup?token=x", 403), ("/users", 403)],
)  # fmt: skip
async def test_every_answer_has_the_headers(office: Office, path: str, status: int) -> None:
    browser = await office.browser("viewer")
    if path == "/login":
        browser = await office.browser()
    async with await browser.get(path) as answer:
        headers = answer.headers
        assert answer.status == status
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert not {"script-src", "style-src", "connect-src"} & policy.keys(), "then default-src holds for them"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "microphone=()" in headers["Permissions-Policy"]
    assert headers["Cache-Control"] == ("no-cache" if path == "/static/console.css" else "no-store")
    assert "Strict-Transport-Security" not in headers, "not by http"
    assert "aiohttp" not in str(headers)


async def test_errors_and_redirects_have_the_headers_too(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    @needs("viewer")
    async def broken(_request: web.Request) -> web.StreamResponse:
        raise ValueError("Jo Bloggs, 07700 900123")

    monkeypatch.setattr(account, "page", broken)
    browser = await office.browser("viewer")
    for path, status in (("/account", 500), ("/logout", 405)):
        async with await browser.get(path) as answer:
            assert answer.status == status
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] == "no-store"
    stranger = await office.browser()
    async with await stranger.get("/calls") as answer:
        assert (answer.status, answer.headers["X-Frame-Options"]) == (303, "DENY")


async def test_an_error_is_told_by_a_mark_that_the_log_has(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @needs("viewer")
    async def broken(_request: web.Request) -> web.StreamResponse:
        raise ValueError("no plan")

    monkeypatch.setattr(account, "page", broken)
    browser = await office.browser("viewer")
    with caplog.at_level(logging.ERROR):
        async with await browser.get("/account?name=Bloggs") as answer:
            page = await answer.text()
    mark = re.search(r"mark ([0-9a-f]{8})", page)
    assert mark is not None
    assert f"GET /account failed [{mark[1]}]" in caplog.text
    assert "Bloggs" not in caplog.records[-1].getMessage(), "what is searched for is no word for the log"
    assert "no plan" not in page
    async with await browser.get("/account", headers={"Sec-Fetch-Mode": "cors"}) as answer:
        assert (answer.status, answer.content_type) == (500, "application/json")
        assert "mark" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("host", "settings", "answered"),
    [
        ("127.0.0.1:{port}", {}, True),
        ("localhost", {}, True),
        ("LOCALHOST:{port}", {}, True),
        ("[::1]:{port}", {}, True),
        ("evil.example", {}, False),
        ("127.0.0.1.evil.example", {}, False),
        ("localhost.evil.example:{port}", {}, False),
        ("[", {}, False),
        ("phones.example.com", {"console_url": "https://phones.example.com"}, True),
        ("phones.example.com:8443", {"console_url": "https://phones.example.com:8443"}, True),
        ("evil.example", {"console_url": "https://phones.example.com"}, False),
        ("10.0.0.5:{port}", {"console_host": "10.0.0.5"}, True),
        ("10.0.0.6:{port}", {"console_host": "10.0.0.5"}, False),
    ],
)
async def test_only_its_own_names_are_answered(
    an_office: OfficeMaker, host: str, settings: dict[str, str], answered: bool
) -> None:
    office = await an_office(**settings)
    browser = await office.browser()
    assert office.server is not None
    for path in ("/login", "/static/console.css"):
        async with await browser.get(path, headers={"Host": host.format(port=office.server.port)}) as answer:
            text = await answer.text()
            if answered:
                assert answer.status == 200, text
            else:
                assert answer.status in (400, 421), "aiohttp refuses what is no host at all"
                assert "voice-agent console" not in text


async def test_https_is_asked_for_where_people_come_by_it(an_office: OfficeMaker) -> None:
    office = await an_office(console_url="https://127.0.0.1")
    browser = await office.browser()
    async with await browser.get("/login") as answer:
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-voice-agent-forms=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("10.0.0.1", "", (), "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4", (), "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ("10.0.0.0/24",), "1.2.3.4"),
        ("10.0.0.1", "nonsense", ("10.0.0.1",), "?"),
        ("10.0.0.9", "1.2.3.4", ("10.0.0.1",), "10.0.0.9"),
        ("2001:db8:1:2:3:4:5:6", "", (), "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", "", (), "1.2.3.4"),
    ],
)
async def test_only_proxies_that_are_named_are_believed(
    an_office: OfficeMaker, peer: str, forwarded: str, proxies: tuple[str, ...], address: str
) -> None:
    office = await an_office(users=False, console_proxies=proxies)
    app = web.Application()
    app[PARTS] = office.parts
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": forwarded} if forwarded else {}, app=app)
    assert address_of(request.clone(remote=peer)) == address


# ---- static files ---------------------------------------------------------------------------------------------------


async def test_static_files_are_kept_for_ever_under_their_version(office: Office) -> None:
    browser = await office.browser()
    page = await browser.page("/login")
    addresses = re.findall(r'(?:src|href)="(/static/[^"#]+)', page)
    assert len(addresses) > 5
    for address in addresses:
        async with await browser.get(address) as answer:
            assert answer.status == 200, address
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", address
            tag, body = answer.headers["ETag"], await answer.read()
        assert body
        async with await browser.get(address.partition("?")[0] + "?v=old", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        if "/fonts/" not in address:
            async with await browser.get(address.partition("?")[0] + "?v=old") as answer:
                assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/."]
)
async def test_nothing_else_is_a_static_file(office: Office, path: str) -> None:
    browser = await office.browser("admin")
    async with await browser.get(path) as answer:
        assert answer.status in (303, 404)
        assert "import" not in await answer.text()


async def test_static_files_go_out_zipped_as_what_they_are(office: Office) -> None:
    browser = await office.browser()
    for name, kind in (
        ("console.css", "text/css"),
        ("console.js", "text/javascript"),
        ("icons/sprite.svg", "image/svg+xml"),
    ):
        async with await browser.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"}) as answer:
            assert (answer.content_type, answer.headers["Content-Encoding"]) == (kind, "gzip")
            assert await answer.read() == (FOLDER / name).read_bytes()
        async with await browser.get(f"/static/{name}", headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
            assert await answer.read() == (FOLDER / name).read_bytes()


# ---- what pages are made of -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_what_the_policy_forbids(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), "style and scripts are files of their own"
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"""(?:src|href|action)\s*=\s*["'](?:https?:)?//""", text), "nothing is asked of another host"
    assert "|safe" not in text.replace(" ", ""), "what goes into a page is escaped"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_is_posted_has_its_token(template: Path) -> None:
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", template.read_text(), re.DOTALL):
        assert "csrf_input(csrf" in form or 'name="{{ csrf_field }}"' in form, form.split("\n")[0]


def test_scripts_and_style_ask_nothing_of_another_host() -> None:
    for path in (path for path in FOLDER.rglob("*") if path.suffix in (".css", ".js")):
        text = path.read_text()
        assert not re.search(r"""url\(\s*["']?(?:https?:)?//|@import|["'`]https?://""", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            path.name
        )


def test_all_icons_that_pages_name_are_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (FOLDER / "icons/sprite.svg").read_text()))
    for template in TEMPLATES:
        named = set(re.findall(r"""(?:icon|call empty|empty)\(["']([a-z-]+)["']""", template.read_text()))
        assert named <= drawn, template.name


async def test_what_people_type_is_escaped(office: Office) -> None:
    browser = await office.browser("admin")
    bad = '"><script>alert(1)</script>'
    async with await browser.post("/users/new", {"name": bad, "password": "x", "role": "viewer"}) as answer:
        assert answer.status == 400
        assert "<script>alert" not in await answer.text()
