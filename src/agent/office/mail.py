"""Sends notices by e-mail, to companies and to the operator, over one SMTP server."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final, Literal, TypeAlias

import aiosmtplib

from agent.office.letters import Letter, letter_of
from agent.office.mail_address import mail_address
from agent.office.recipients import Recipient, Recipients
from agent.tools.outbox import Entry, Target, Verdict

TIMEOUT_S: Final = 45.0
COMMAND_S: Final = 15.0
SETTINGS: Final = "SMTP_HOST, SMTP_USER and what belongs to them"
Security: TypeAlias = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in."""

    host: str
    port: int
    security: Security
    sender: str
    """Who they come from: `office@example.org` or `Reception <office@example.org>`."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def mail_target(sender: MailSender) -> Target:
    """Where rows of the kind `mail` go."""
    return Target(
        "mail", "", honours_keys=True, settings=SETTINGS, send=sender.send,
        fresh_at_once=4, again_at_once=2, each_at_once=2,
    )  # fmt: skip


class MailSender:
    """Sends rows whose body `letter_of` understands, with `to`: `company` or `operator`, and `company_id` or none.

    The address is the one that holds when it is sent. Without a `company_id` the company is that of the row's number.
    """

    def __init__(
        self,
        server: MailServer,
        recipients: Recipients,
        *,
        operator: str = "",
        console_url: str = "",
        timezone: str = "Europe/London",
    ) -> None:
        """`timezone` is that of what belongs to no known company."""
        self._server = server
        self._recipients = recipients
        self._operator = operator
        self._console_url = console_url
        self._timezone = timezone

    async def send(self, entry: Entry) -> Verdict:
        """Make one attempt."""
        company = await self._company(entry)
        to = self._operator if entry.body.get("to") == "operator" else company.email if company else ""
        if not to:
            return Verdict("dropped", "nobody is to be told any more")
        letter = letter_of(
            entry.body,
            company=company.name if company else "",
            timezone=company.timezone if company else self._timezone,
            console_url=self._console_url,
        )
        try:
            message = message_of(letter, self._server.sender, to, entry.key, entry.made_at)
        except ValueError:
            return Verdict("later", "an address is none: check MAIL_FROM and the company's e-mail", held=True)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._hand_in(message)
        except TimeoutError:  # aiosmtplib's own ones are among them
            return Verdict("later", "no answer in time")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return judge_smtp(error)
        return Verdict("accepted", "accepted", 250)

    async def _company(self, entry: Entry) -> Recipient | None:
        if (company_id := entry.body.get("company_id")) is not None:
            return await self._recipients.company(int(company_id))
        return await self._recipients.company_of(entry.did)

    async def _hand_in(self, message: EmailMessage) -> None:
        server = self._server
        await aiosmtplib.send(
            message,
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            timeout=COMMAND_S,
        )


def message_of(letter: Letter, sender: str, to: str, key: str, made_at: float) -> EmailMessage:
    """Return the mail. `made_at` is s since the epoch. Sent again it is the same, its `Message-ID` included, which is
    made of the outbox's key. Raises `ValueError` for what is no address.
    """
    from_ = mail_address(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = from_
    message["To"] = mail_address(to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(made_at, UTC))
    message["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{from_.domain}>"
    # No holiday note comes back. (RFC 3834, 5)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def judge_smtp(error: Exception) -> Verdict:
    """What a failure means: 4yz may pass, 5yz does not (RFC 5321, 4.2.1), but for what is ours to mend."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        # There is one recipient a mail.
        return judge_smtp(error.recipients[0]) if error.recipients else Verdict("later", "recipients refused")
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    reason = f"status {code}" if code else type(error).__name__
    ours = aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPNotSupported | ssl.SSLError | ValueError
    # 530 asks for a password that we do not give (RFC 4954, 6); a bare SMTPException is a server without STARTTLS.
    if isinstance(error, ours) or code == 530 or type(error) is aiosmtplib.SMTPException:
        return Verdict("later", f"{reason}: check {SETTINGS}", code, held=True)
    if 500 <= code < 600 and not isinstance(error, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPHeloError):
        return Verdict("refused", reason, code)
    return Verdict("later", reason, code)
