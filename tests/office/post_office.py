"""A real SMTP server for tests: it keeps what is handed in, and says what a test wants said."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class PostOffice:
    """What a handler of aiosmtpd may say at each step, and what was handed in."""

    on_rcpt: str = "250 OK"
    on_data: str = "250 OK"
    mails: list[EmailMessage] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.on_rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.on_rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.on_data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = email.message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            assert mail["To"] == envelope.rcpt_tos[0]
            self.mails.append(mail)
            self.tls.append(session.ssl is not None)
        return self.on_data

    def log_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login)
        return AuthResult(success=data.password == b"correct horse", handled=False)


@asynccontextmanager
async def post_office(
    *, tls: ssl.SSLContext | None = None, whole: bool = False, log_in: bool = False
) -> AsyncIterator[PostOffice]:
    """An SMTP server; with `tls` STARTTLS is asked for, or TLS from the first byte (`whole`)."""
    office = PostOffice()

    def protocol() -> SMTP:
        return SMTP(
            office,
            tls_context=None if whole else tls,
            require_starttls=tls is not None and not whole,
            auth_required=log_in,
            authenticator=office.log_in if log_in else None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls if whole else None)
    async with server:
        office.port = server.sockets[0].getsockname()[1]
        yield office
