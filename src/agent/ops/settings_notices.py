"""Settings of what is told of calls, bookings and trouble: webhooks and mails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from agent.ops.setting_types import MailAddress, SecretUrl, WebhookSecret


class NoticeSettings(BaseSettings):
    """Who is told what has happened, and by which way."""

    call_webhook_url: SecretUrl = Field(
        SecretStr(""),
        description="POST told of each call that is over, each booking and each missed transfer, whichever company's; "
        "empty: only the companies' own webhooks",
    )
    call_webhook_secret: WebhookSecret = Field(
        SecretStr(""), description="what its requests are signed with, `whsec_…`; empty: they are not signed"
    )
    webhook_link_local: bool = Field(
        False, description="whether webhooks may go to 169.254.0.0/16 and fe80::/10, where clouds keep credentials"
    )
    smtp_host: str = Field("", description="SMTP server that mails are handed in at; empty: no mail is sent")
    smtp_port: int = Field(587, ge=1, le=65535, description="its TCP port; 465 goes with `tls`")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="how it is spoken to")
    smtp_user: str = Field("", description="user name there; empty: none is given")
    smtp_password: SecretStr = Field(SecretStr(""), description="that user's password")
    mail_from: MailAddress = Field(
        "", validate_default=True, description="who mails come from, such as Reception <reception@example.org>"
    )
    operator_email: MailAddress = Field(
        "", description="who is mailed of bookings that need a person, as their company is; empty for nobody"
    )

    @field_validator("mail_from")
    @classmethod
    def _mail_from(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("smtp_host") and not value:
            raise ValueError("SMTP_HOST needs MAIL_FROM: an address that the server lets mails come from")
        return value
