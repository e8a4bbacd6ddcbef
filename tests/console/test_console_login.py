"""Logging in and out: tokens nobody knew before, sessions that end, and attempts that are not without limit."""

from __future__ import annotations

import asyncio
import logging
import re
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from agent.office.console.auth import ADDRESSES, NAMES
from agent.office.console.first_start import FILE, SetUpToken
from agent.office.models import ConsoleSession, User, utc_now
from agent.office.passwords import PasswordError, Passwords, check_password
from agent.office.users import IDLE, LONGEST
from tests.console.conftest import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.console.conftest import Browser, Office, OfficeMaker

COOKIE = "voice-agent"


def token_of(browser: Browser) -> str:
    found = browser.client.session.cookie_jar.filter_cookies(browser.client.make_url("/")).get(COOKIE)
    return found.value if found is not None else ""


async def is_in(browser: Browser) -> bool:
    async with await browser.get("/account") as answer:
        assert answer.status in (200, 303)
        return answer.status == 200


# ---- sessions -------------------------------------------------------------------------------------------------------


async def test_the_cookie_is_for_the_console_alone(office: Office) -> None:
    browser = await office.browser()
    async with await browser.log_in("viewer") as answer:
        cookie = next(line for line in answer.headers.getall("Set-Cookie") if line.startswith(f"{COOKIE}="))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert f"Max-Age={LONGEST.total_seconds():.0f}" in cookie
    assert len(token_of(browser)) >= 43, "256 bits"


async def test_the_database_does_not_have_the_token(office: Office) -> None:
    browser = await office.browser("viewer")
    async with office.store.users._sessions() as session:
        kept = (await session.scalars(select(ConsoleSession))).one()
    assert len(kept.token_hash) == 64
    assert token_of(browser) not in (kept.token_hash, kept.csrf)
    async with await (await office.browser()).client.get(
        "/account", cookies={COOKIE: kept.token_hash}, allow_redirects=False
    ) as answer:
        assert answer.status == 303, "who has read the database is not logged in by that"


async def test_a_token_that_was_planted_is_not_taken(office: Office) -> None:
    """Session fixation: somebody else's cookie in this browser becomes nobody's session."""
    browser = await office.browser()
    browser.client.session.cookie_jar.update_cookies({COOKIE: "planted"}, browser.client.make_url("/"))
    async with await browser.log_in("viewer") as answer:
        assert answer.status == 303
    assert token_of(browser) not in ("", "planted")
    assert await office.store.users.session("planted") is None


async def test_each_log_in_has_a_token_of_its_own_and_ends_the_one_before(office: Office) -> None:
    browser = await office.browser("viewer")
    first, csrf = token_of(browser), await browser.csrf("/account")
    async with await browser.post("/login", {"name": "viewer", "password": PASSWORD}) as answer:
        assert answer.status == 303
    assert token_of(browser) != first
    assert await browser.csrf("/account") != csrf
    assert await office.store.users.session(first) is None


async def test_a_session_ends_when_nothing_is_asked_and_after_its_longest_time(office: Office) -> None:
    users = office.store.users
    begun = await users.log_in("viewer", PASSWORD)
    assert begun is not None
    token, start = begun[0], utc_now()
    assert await users.session(token, now=start + IDLE - timedelta(minutes=1)) is not None
    assert await users.session(token, now=start + 2 * IDLE - timedelta(minutes=5)) is not None, "it was used"
    assert await users.session(token, now=start + 3 * IDLE) is None
    moment = start + 2 * IDLE - timedelta(minutes=5)
    while moment < start + LONGEST - timedelta(minutes=10):
        assert await users.session(token, now=moment) is not None
        moment += timedelta(hours=6)
    assert await users.session(token, now=start + LONGEST + timedelta(minutes=1)) is None


async def test_looking_does_not_keep_a_session_alive(office: Office) -> None:
    users = office.store.users
    begun = await users.log_in("viewer", PASSWORD)
    assert begun is not None
    almost = utc_now() + IDLE - timedelta(minutes=1)
    assert await users.session(begun[0], now=almost, use=False) is not None
    assert await users.session(begun[0], now=almost + timedelta(minutes=2)) is None


async def test_sessions_that_are_over_are_cleared_away(office: Office) -> None:
    users = office.store.users
    for _ in range(3):
        await users.log_in("viewer", PASSWORD)
    async with users._sessions.begin() as session:
        await session.execute(update(ConsoleSession).values(expires_at=utc_now() - timedelta(seconds=1)))
    await users.log_in("operator", PASSWORD)
    async with users._sessions() as session:
        assert len(list(await session.scalars(select(ConsoleSession)))) == 1


async def test_logging_out_ends_the_session_and_not_only_the_cookie(office: Office) -> None:
    browser, other = await office.browser("viewer"), await office.browser("viewer")
    token = token_of(browser)
    async with await browser.post("/logout") as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert token_of(browser) == ""
    assert await office.store.users.session(token) is None
    assert await is_in(other)


async def test_logging_out_everywhere(office: Office) -> None:
    browser, other, somebody = [await office.browser(name) for name in ("viewer", "viewer", "operator")]
    assert "In 2 browsers" in await browser.page("/account")
    async with await browser.post("/logout", {"everywhere": "yes"}) as answer:
        assert answer.status == 303
    assert [await is_in(one) for one in (browser, other, somebody)] == [False, False, True]


async def test_another_password_ends_the_other_sessions(office: Office) -> None:
    browser, other = await office.browser("viewer"), await office.browser("viewer")
    change = {"password": PASSWORD, "new_password": "quite another one", "new_password_again": "quite another one"}
    for wrong, said in (
        ({"password": "not this one"}, "not your present password"),
        ({"new_password_again": "something else"}, "are not the same"),
        ({"new_password": "short", "new_password_again": "short"}, "at least 10 characters"),
    ):
        async with await browser.post("/account", change | wrong) as answer:
            assert answer.status == 400
            assert said in await answer.text()
    assert await is_in(other)
    async with await browser.post("/account", change) as answer:
        assert answer.status == 303
    assert [await is_in(one) for one in (browser, other)] == [True, False]
    assert await office.store.users.log_in("viewer", PASSWORD) is None
    assert await office.store.users.log_in("viewer", "quite another one") is not None


# ---- log-in ---------------------------------------------------------------------------------------------------------


async def test_what_was_wrong_is_not_told(office: Office) -> None:
    pages = []
    for name in ("viewer", "nobody-of-that-name"):
        browser = await office.browser()
        async with await browser.log_in(name, "not the password") as answer:
            assert answer.status == 401
            page = await answer.text()
            pages.append(re.sub(r'value="[^"]*"|content="[^"]*"', "", page.replace(name, "NAME")))
            assert token_of(browser) == ""
    assert pages[0] == pages[1]
    assert "Name or password is not right." in pages[0]


async def test_an_unknown_name_is_as_much_work(monkeypatch: pytest.MonkeyPatch, office: Office) -> None:
    """Counted, not timed: one verification either way."""
    hasher = office.store.users._passwords._hasher
    verified: list[str] = []
    real = type(hasher).verify

    def verify(self: PasswordHasher, kept: str, given: str) -> bool:
        verified.append(kept)
        return real(self, kept, given)

    monkeypatch.setattr(type(hasher), "verify", verify)
    for name in ("viewer", "nobody"):
        assert await office.store.users.log_in(name, "not the password") is None
    assert len(verified) == 2
    assert {kept.split("$")[3] for kept in verified} == {"m=8,t=1,p=1"}


@pytest.mark.parametrize(
    ("there", "goes"),
    [
        ("/calls?text=tap", "/calls?text=tap"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("///evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/logout", "/"),
        ("/login?next=/login", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ],
)
async def test_after_the_log_in_one_is_where_one_wanted_to_be(office: Office, there: str, goes: str) -> None:
    browser = await office.browser()
    async with await browser.post("/login", {"name": "viewer", "password": PASSWORD, "next": there}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, goes)
        assert "x=y" not in str(answer.headers)


async def test_the_way_to_a_page_is_kept_over_the_log_in(office: Office) -> None:
    browser = await office.browser()
    async with await browser.get("/calls?text=a%20tap&outcome=booked") as answer:
        form = answer.headers["Location"]
    assert form == "/login?next=/calls?text%3Da%2520tap%26outcome%3Dbooked"
    assert 'name="next" value="/calls?text=a%20tap&amp;outcome=booked"' in await browser.page(form)


async def test_names_are_in_either_case(office: Office) -> None:
    browser = await office.browser()
    async with await browser.log_in("  ViEwEr ") as answer:
        assert answer.status == 303


async def test_a_name_waits_after_some_attempts_wherever_they_come_from(office: Office) -> None:
    browser = await office.browser()
    for _ in range(5):
        async with await browser.log_in("viewer", "wrong") as answer:
            assert answer.status == 401
    async with await browser.log_in("viewer") as answer:
        assert answer.status == 429, "even with the right password"
        assert 0 < int(answer.headers["Retry-After"]) <= 30
        assert "Too many attempts." in await answer.text()
    async with await browser.log_in("operator") as answer:
        assert answer.status == 303, "others are not held up"


async def test_an_address_waits_whatever_names_it_tries(office: Office) -> None:
    browser = await office.browser()
    for number in range(20):
        async with await browser.log_in(f"name{number}", "wrong") as answer:
            assert answer.status == 401
    async with await browser.log_in("viewer") as answer:
        assert answer.status == 429


async def test_trying_all_at_once_does_not_help(office: Office) -> None:
    browser = await office.browser()
    token = await browser.csrf()

    async def attempt() -> int:
        form = {"name": "viewer", "password": "wrong", "_csrf": token}
        async with browser.client.post("/login", data=form, allow_redirects=False) as answer:
            return answer.status

    statuses = await asyncio.gather(*(attempt() for _ in range(30)))
    assert statuses.count(401) + statuses.count(503) <= 6
    assert 429 in statuses


async def test_a_success_begins_anew(office: Office) -> None:
    browser = await office.browser()
    for _ in range(3):
        for _ in range(4):
            async with await browser.log_in("viewer", "wrong") as answer:
                assert answer.status == 401
        async with await browser.log_in("viewer") as answer:
            assert answer.status == 303
        async with await browser.post("/logout") as answer:
            assert answer.status == 303


async def test_nothing_secret_is_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        browser = await office.browser("viewer")
        async with await browser.log_in("viewer", "a wrong password") as answer:
            assert answer.status == 401
    assert "viewer logged in from 127.0.0.1" in caplog.text
    assert "a failed log-in from 127.0.0.1" in caplog.text
    for secret in (PASSWORD, "a wrong password", token_of(browser), "argon2"):
        assert secret not in caplog.text


# ---- passwords ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["short", "x" * 257, "aaaaaaaaaaaaaa", "abababababab", "anna.price1"])
def test_passwords_that_are_none(password: str) -> None:
    with pytest.raises(PasswordError):
        check_password(password, "anna.price")


def test_passwords_that_are_some() -> None:
    for password in ("correct horse", "пароль на русском", "x" * 200 + "yzä1", " spaces count "):
        check_password(password, "anna.price")


async def test_a_password_is_hashed_by_argon2id_at_its_cost() -> None:
    kept = await Passwords().hash("correct horse battery")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


async def test_a_hash_of_another_cost_is_renewed_at_the_next_log_in(office: Office) -> None:
    users = office.store.users
    users._passwords = Passwords({"time_cost": 2, "memory_cost": 16, "parallelism": 1})
    for _ in range(2):
        assert await users.log_in("viewer", PASSWORD) is not None
        async with users._sessions() as session:
            kept = await session.scalar(select(User.password_hash).where(User.name == "viewer"))
        assert kept is not None
        assert "m=16,t=2" in kept


# ---- the first start ------------------------------------------------------------------------------------------------

FIRST = {"name": "Anna", "password": PASSWORD, "password_again": PASSWORD}


async def test_the_first_user_is_made_by_the_link_and_only_once(an_office: OfficeMaker) -> None:
    office = await an_office(users=False)
    token = SetUpToken(office.parts.settings.data_dir).get()
    file = office.parts.settings.data_dir / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    browser = await office.browser()
    assert "Nobody can log in yet." in await browser.page("/login")
    for wrong in ("", "x", token[:-1], token + "x"):
        async with await browser.get(f"/setup?token={wrong}") as answer:
            assert answer.status == 403
        async with await browser.post("/setup", FIRST | {"token": wrong}) as answer:
            assert answer.status == 403
    assert not await office.store.users.exist()
    assert "Welcome" in await browser.page(f"/setup?token={token}")
    async with await browser.post("/setup", FIRST | {"token": token, "password_again": "other"}) as answer:
        assert answer.status == 400
        assert "are not the same" in await answer.text()
    async with await browser.post("/setup", FIRST | {"token": token}) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert "anna" in await browser.page("/account"), "logged in"
    assert [(user.name, user.role) for user in await office.store.users.list()] == [("anna", "admin")]
    assert not file.exists()
    second = await office.browser()
    async with await second.post("/setup", FIRST | {"name": "eve", "token": token}) as answer:
        assert answer.status == 403


async def test_two_who_use_the_link_at_once_make_one_user(an_office: OfficeMaker) -> None:
    office = await an_office(users=False)
    token = SetUpToken(office.parts.settings.data_dir).get()
    browsers = [await office.browser() for _ in range(4)]
    for browser in browsers:
        await browser.csrf()
    answers = await asyncio.gather(
        *(browser.post("/setup", FIRST | {"name": f"user{n}", "token": token}) for n, browser in enumerate(browsers))
    )
    assert sorted(answer.status for answer in answers) == [303, 403, 403, 403]
    assert len(await office.store.users.list()) == 1


async def test_a_token_is_worthless_once_there_is_a_user(office: Office) -> None:
    token = SetUpToken(office.parts.settings.data_dir).get()
    browser = await office.browser()
    async with await browser.get(f"/setup?token={token}") as answer:
        assert answer.status == 403
    async with await browser.post("/setup", FIRST | {"token": token}) as answer:
        assert answer.status == 403


async def test_a_set_up_that_fails_leaves_the_link_as_it_was(
    an_office: OfficeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = await an_office(users=False)
    token = SetUpToken(office.parts.settings.data_dir).get()
    browser = await office.browser()
    with monkeypatch.context() as broken:
        broken.setattr("agent.office.passwords.WAITING", -1)
        async with await browser.post("/setup", FIRST | {"token": token}) as answer:
            assert answer.status == 503
    async with await browser.post("/setup", FIRST | {"token": token}) as answer:
        assert answer.status == 303


async def test_tokens_cannot_be_tried_without_end(an_office: OfficeMaker) -> None:
    office = await an_office(users=False)
    browser = await office.browser()
    statuses = []
    for number in range(25):
        async with await browser.get(f"/setup?token={number}") as answer:
            statuses.append(answer.status)
    assert statuses == [403] * 20 + [429] * 5


def test_processes_on_one_directory_have_one_token(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    token = SetUpToken(data_dir).get()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert SetUpToken(data_dir).get() == token
    assert SetUpToken(data_dir).is_right(token)
    assert [SetUpToken(data_dir).use_up() for _ in range(2)] == [True, False]
    assert not SetUpToken(data_dir).is_right(token)
    assert not SetUpToken(data_dir).is_right("")
    (data_dir / FILE).write_text("")
    assert not SetUpToken(data_dir).is_right(""), "an empty file is no token"
    assert SetUpToken(data_dir).get() not in ("", token)
    assert [path.name for path in data_dir.iterdir()] == [FILE]


async def test_what_is_remembered_of_attempts_has_a_limit(office: Office) -> None:
    await office.browser()
    assert office.server is not None
    app = office.server.app
    for limit in (app[NAMES], app[ADDRESSES]):
        for number in range(5000):
            limit.take_s(str(number))
        assert len(limit) == 4096
