"""Mails as a real SMTP server takes them, over TLS and with a log-in, and what becomes of them when it does not."""

from __future__ import annotations

import email
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from agent.office.letters import letter_of, one_line
from agent.office.mail import MailSender, MailServer, message_of
from agent.office.mail_address import mail_address
from agent.office.models import Company
from agent.office.store import NewCompany, OfficeStore
from agent.tools.outbox import Entry
from benchmarks.agent.certificate import make_certificate
from tests.office.post_office import PostOffice, post_office

BOOKING = {
    "booking_id": "BK-7F3K2Q9M",
    "customer_name": "Zoë O'Brien <b>",
    "postcode": "M14 6BT",
    "address": "12 Acacia Avenue",
    "problem_description": "a leaking tap & no hot water",
    "caller_id": "+447700900123",
    "phone": "",
    "created_at": "2026-07-01T14:05:00+00:00",
}


def entry_of(body: Mapping[str, Any], key: str = "booking:BK-7F3K2Q9M:mail", did: str = "") -> Entry:
    return Entry(
        key=key, kind="mail", body=body, did=did, call_uuid="c-1", state="sending", made_at=1_782_914_700.0, due_at=0.0,
        changed_at=0.0, attempts=1, target="mail", doubt="", status=0, reason="", answer="", held=False, told=False,
        place="mail", caller="",
    )  # fmt: skip


@dataclass
class Company1:
    """A company in a database, and a sender for it."""

    store: OfficeStore
    company_id: int

    def sender(self, office: PostOffice, **changes: Any) -> MailSender:
        server = MailServer("127.0.0.1", office.port, "none", "Reception <reception@example.org>")
        return MailSender(
            replace(server, **changes),
            self.store.recipients,
            operator="ops@example.org",
            console_url="https://c.example/",
        )

    @property
    def booking(self) -> dict[str, Any]:
        return {"about": "booking", "to": "company", "company_id": self.company_id, "booking": BOOKING}

    async def set_email(self, address: str) -> None:
        async with self.store.sessions.begin() as session:
            await session.execute(update(Company).values(notify_email=address))


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company1]:
    async with await OfficeStore.open(f"sqlite:///{tmp_path / 'office.sqlite3'}") as store:
        new = NewCompany("Pipes & Söhne", "plumbing", "plumber", "£65", ("+442079460123",))
        company = Company1(store, await store.add_company(new))
        await company.set_email("owner@example.org")
        yield company


def text_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


# ---- what arrives ---------------------------------------------------------------------------------------------------


async def test_a_booking_is_told_in_words_and_in_html(company: Company1) -> None:
    async with post_office() as office:
        sender = company.sender(office)
        assert (await sender.send(entry_of(company.booking))).what == "accepted"
        assert (await sender.send(entry_of(company.booking))).what == "accepted"
        await company.set_email("new@example.org")
        assert (await sender.send(entry_of(company.booking, key="another"))).what == "accepted"
    first, again, another = office.mails
    assert first["Subject"] == "New booking BK-7F3K2Q9M, M14 6BT"
    assert (first["From"], first["To"]) == ("Reception <reception@example.org>", "owner@example.org")
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Date"] == "Wed, 01 Jul 2026 14:05:00 +0000"
    assert first["Message-ID"] == again["Message-ID"] != another["Message-ID"]
    assert first["Message-ID"].endswith("@example.org>")
    assert another["To"] == "new@example.org", "the address that holds when it is sent"
    words, page = text_of(first, "plain"), text_of(first, "html")
    assert "A caller has booked a visit with Pipes & Söhne." in words
    assert "Name:     Zoë O'Brien <b>\n" in words
    assert "Phone:    +447700900123\n" in words
    assert "Booked:   Wed 01 Jul 2026, 15:05 (Europe/London)\n" in words
    assert "https://c.example/bookings/BK-7F3K2Q9M\n" in words
    assert "Zoë O&#x27;Brien &lt;b&gt;" in page
    assert "<b>" not in page
    assert "tap &amp; no hot water" in page
    assert 'href="https://c.example/bookings/BK-7F3K2Q9M"' in page


async def test_a_missed_transfer_is_told(company: Company1) -> None:
    call = {"uuid": "u-1", "did": "+442079460123", "caller_id": "+447700900123", "caller_name": "Jo", "target": "2001",
            "started": "2026-07-01T14:05:00+00:00", "status": "BUSY", "company": "x"}  # fmt: skip
    body = {"about": "missed", "to": "company", "company_id": company.company_id, "call": call}
    async with post_office() as office:
        assert (await company.sender(office).send(entry_of(body))).what == "accepted"
    (mail,) = office.mails
    assert mail["Subject"] == "Missed: Jo wanted to talk to a person"
    words = text_of(mail, "plain")
    assert "the line was busy" in words
    assert "Please ring back" in words
    assert "https://c.example/calls/u-1" in words


async def test_a_stuck_booking_is_told_to_both_and_to_the_operator_without_a_name(company: Company1) -> None:
    alert = {"event": "booking_uncertain", "key": "k" * 64, "did_number": "+442079460123", "call_uuid": "u-1",
             "reason": "no answer in time", "attempts": 1, "command": "voice-agent outbox --show kkk"}  # fmt: skip
    async with post_office() as office:
        sender = company.sender(office)
        to_company = {"about": "stuck", "to": "company", "alert": alert, "booking": BOOKING}
        to_operator = {"about": "stuck", "to": "operator", "alert": alert}
        for body in (to_company, to_operator):
            assert (await sender.send(entry_of(body, did="020 7946 0123"))).what == "accepted"
        elsewhere = await sender.send(entry_of(to_company, did="+441234567890"))
        assert elsewhere.what == "dropped", "a number of nobody"
    company_s, operator_s = office.mails
    assert (company_s["To"], operator_s["To"]) == ("owner@example.org", "ops@example.org")
    assert "Please ring the caller" in text_of(company_s, "plain")
    assert "+447700900123" in text_of(company_s, "plain")
    assert operator_s["Subject"] == "voice-agent: a booking may or may not have been made"
    for word in ("Zoë", "+447700900123", "Acacia"):
        assert word not in operator_s.as_string()
    assert "voice-agent outbox --show kkk" in text_of(operator_s, "plain")


async def test_nobody_to_tell_any_more(company: Company1) -> None:
    async with post_office() as office:
        await company.set_email("")
        assert (await company.sender(office).send(entry_of(company.booking))).what == "dropped"
    assert office.mails == []


@pytest.mark.parametrize("breaks", ["\r\nBcc: all@example.org", "\nX: y", "\r", "\u2028X: y", "\x00", "\x85X: y"])
def test_no_name_makes_a_header_of_its_own(breaks: str) -> None:
    booking = {**BOOKING, "postcode": f"M14{breaks}", "customer_name": f"Jo{breaks}"}
    alert = {"event": "booking_refused", "call_uuid": f"u{breaks}", "key": "k", "reason": f"r{breaks}"}
    call = {"caller_name": f"Jo{breaks}", "uuid": f"u{breaks}", "status": "X"}
    for body in (
        {"about": "booking", "booking": booking},
        {"about": "missed", "call": call},
        {"about": "stuck", "alert": alert, "booking": booking},
    ):
        letter = letter_of(body, company=f"Pipes{breaks}", timezone="Europe/London", console_url="https://c.example")
        raw = message_of(letter, "a@example.org", "b@example.org", "key", 0.0).as_bytes()
        parsed = email.message_from_bytes(raw, policy=default)
        assert sorted(parsed.keys()) == [
            "Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To",
        ]  # fmt: skip
        assert len(letter.text.splitlines()) == len(letter.facts) + 4


@pytest.mark.parametrize("text", ["", "nobody", "a@", "@b", "a@b\r\nBcc: c@d", "a b@c", "a@b, c@d"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="e-mail address"):
        mail_address(text)


def test_a_line_is_short_enough() -> None:
    assert one_line("x" * 3000, 10) == "x" * 9 + "…"
    assert one_line(" a\t\nb\x00 c ") == "a b c"
    assert one_line("\ud800") == "?"


# ---- how it is handed in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_over_tls_with_a_log_in_and_a_certificate_that_is_trusted(
    company: Company1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    certificate = tmp_path / "both.pem"
    make_certificate(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    whole = security == "tls"
    async with post_office(tls=context, whole=whole, log_in=not whole) as office:
        known = {"security": security} | ({} if whole else {"user": "reception", "password": "correct horse"})
        assert (await company.sender(office, **known).send(entry_of(company.booking))).what == "accepted"
        if not whole:
            assert office.tls == [True]
            assert office.users == [b"reception"]
            wrong = await company.sender(office, **known | {"password": "wrong"}).send(entry_of(company.booking))
            assert (wrong.what, wrong.held, wrong.status) == ("later", True, 535), "ours to mend: the mail waits for it"
            nobody = await company.sender(office, security=security).send(entry_of(company.booking))
            assert (nobody.what, nobody.held, nobody.status) == ("later", True, 530)
        monkeypatch.delenv("SSL_CERT_FILE")
        stranger = await company.sender(office, **known).send(entry_of(company.booking))
        assert stranger.what == "later", "a certificate that nobody has vouched for"
    assert len(office.mails) == 1


async def test_a_server_without_starttls_gets_no_mail_in_the_clear(company: Company1) -> None:
    async with post_office() as office:
        verdict = await company.sender(office, security="starttls").send(entry_of(company.booking))
    assert (verdict.what, verdict.held) == ("later", True)
    assert office.mails == []


@pytest.mark.parametrize("step", ["on_rcpt", "on_data"])
@pytest.mark.parametrize(("answer", "what"), [("451 try later", "later"), ("550 no such user", "refused")])
async def test_what_an_answer_means(company: Company1, step: str, answer: str, what: str) -> None:
    async with post_office() as office:
        setattr(office, step, answer)
        verdict = await company.sender(office).send(entry_of(company.booking))
    assert (verdict.what, verdict.status) == (what, int(answer[:3]))


async def test_no_server_and_no_address(company: Company1) -> None:
    async with post_office() as office:
        await company.set_email("nobody")
        nobody = await company.sender(office).send(entry_of(company.booking))
        assert (nobody.what, nobody.held) == ("later", True), "it may be mended, and holds for what waits"
        await company.set_email("owner@example.org")
    assert (await company.sender(office).send(entry_of(company.booking))).what == "later"
