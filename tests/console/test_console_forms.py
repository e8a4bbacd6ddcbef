"""Forms are heard only from the console's own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.console.conftest import Browser, Office, OfficeMaker

CHANGE = {
    "password": "correct horse battery",
    "new_password": "a wholly new one",
    "new_password_again": "a wholly new one",
}


async def send(browser: Browser, fields: dict[str, str], **headers: str) -> int:
    async with await browser.client.post(
        "/account", data=fields, headers={"Accept": "text/html"} | headers, allow_redirects=False
    ) as answer:
        return answer.status


async def test_a_form_without_the_right_token_changes_nothing(office: Office) -> None:
    browser, other = await office.browser("viewer"), await office.browser("operator")
    stranger = await office.browser()
    assert await send(browser, CHANGE) == 403
    for token in ("", "x", await other.csrf("/account"), await stranger.csrf("/login")):
        assert await send(browser, CHANGE | {"_csrf": token}) == 403
        assert await send(browser, CHANGE, **{"X-CSRF-Token": token}) == 403
    assert await office.store.users.log_in("viewer", "correct horse battery") is not None, "nothing has changed"
    assert await send(browser, CHANGE | {"_csrf": await browser.csrf("/account")}) == 303
    assert await office.store.users.log_in("viewer", "a wholly new one") is not None


async def test_a_script_sends_it_in_a_header(office: Office) -> None:
    browser = await office.browser("viewer")
    assert await send(browser, CHANGE, **{"X-CSRF-Token": await browser.csrf("/account")}) == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_is_not_heard_even_with_the_token(office: Office, headers: dict[str, str]) -> None:
    browser = await office.browser("viewer")
    token = await browser.csrf("/account")
    assert await send(browser, CHANGE | {"_csrf": token}, **headers) == 403


async def test_the_own_site_is_heard(an_office: OfficeMaker) -> None:
    office = await an_office(console_url="http://phones.example.com:8080")
    browser = await office.browser("viewer")
    assert office.server is not None
    token = await browser.csrf("/account")
    own = {"Origin": f"http://127.0.0.1:{office.server.port}", "Sec-Fetch-Site": "same-origin"}
    assert await send(browser, {"_csrf": token}, **own) == 400, "heard, and the present password is missing"
    behind_a_proxy = {"Origin": "http://phones.example.com:8080", "Sec-Fetch-Site": "same-origin"}
    assert await send(browser, {"_csrf": token}, **behind_a_proxy) == 400


async def test_another_site_gets_no_websocket(office: Office) -> None:
    browser = await office.browser("admin")
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await browser.client.ws_connect("/live/none/listen", headers={"Origin": "https://evil.example"})
    assert caught.value.status == 403


async def test_a_log_in_cannot_be_made_by_another_site(office: Office) -> None:
    browser = await office.browser()
    form = {"name": "viewer", "password": "correct horse battery"}
    async with await browser.client.post("/login", data=form, allow_redirects=False) as answer:
        assert answer.status == 403
    async with await browser.client.post("/login", data=form | {"_csrf": ""}, allow_redirects=False) as answer:
        assert answer.status == 403
    async with await browser.log_in("viewer") as answer:
        assert answer.status == 303


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"password=%ff%fe", (400, 403)),
        ("application/x-www-form-urlencoded; charset=nonsense", b"a=b", (400,)),
        ("application/x-www-form-urlencoded", b"a=%00", (400,)),
        ("multipart/form-data", b"a=b", (400,)),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", (400, 403)),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 300_000, (413,)),
        ("application/json", b"{", (403,)),
    ],
)
async def test_what_cannot_be_read_is_refused(office: Office, kind: str, body: bytes, status: tuple[int, ...]) -> None:
    browser = await office.browser("viewer")
    async with await browser.client.post("/account", data=body, headers={"Content-Type": kind}) as answer:
        assert answer.status in status, await answer.text()


async def test_a_nul_is_no_text(office: Office) -> None:
    browser = await office.browser("viewer")
    async with await browser.get("/calls?text=%00") as answer:
        assert answer.status == 400


async def test_a_word_is_said_once(office: Office) -> None:
    browser = await office.browser("viewer")
    assert await send(browser, CHANGE | {"_csrf": await browser.csrf("/account")}) == 303
    assert "Your password is changed." in await browser.page("/account")
    assert "Your password is changed." not in await browser.page("/account")


async def test_a_word_of_somebody_else_is_only_text(office: Office) -> None:
    browser = await office.browser("viewer")
    for value in (
        "nonsense",
        "eyJ4IjoxfQ==",
        "W10=",
        "eyJ0ZXh0IjoiPGI-IiwiayI6MX0=",
        "eyJ0ZXh0IjoiPGI-aGkiLCJraW5kIjoiXCI-In0=",
    ):
        assert "<b>hi" not in await browser.page_with_cookie("/account", "voice-agent-word", value)
