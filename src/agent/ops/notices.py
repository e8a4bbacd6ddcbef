"""Word of what has happened, made from the settings: for `serve` and for `voice-agent office`."""

from __future__ import annotations

from agent.office.mail import MailSender, MailServer, mail_target
from agent.office.notices import Notices
from agent.office.store import OfficeStore
from agent.office.webhook import WebhookSender, webhook_target
from agent.ops.settings import Settings
from agent.tools.outbox import Kind, Outbox, Target


def notice_targets(settings: Settings, store: OfficeStore) -> dict[Kind, Target]:
    """Where notices go: webhooks always, as a company may have one; mails where there is an SMTP server."""
    recipients = store.recipients
    targets: dict[Kind, Target] = {
        "webhook": webhook_target(
            WebhookSender(
                recipients,
                url=settings.call_webhook_url.get_secret_value(),
                secret=settings.call_webhook_secret.get_secret_value(),
                allow_link_local=settings.webhook_link_local,
            )
        )
    }
    if settings.smtp_host:
        server = MailServer(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_security,
            settings.mail_from,
            settings.smtp_user,
            settings.smtp_password.get_secret_value(),
        )
        targets["mail"] = mail_target(
            MailSender(
                server,
                recipients,
                operator=settings.operator_email,
                console_url=settings.console_url,
                timezone=settings.default_timezone,
            )
        )
    return targets


def make_notices(settings: Settings, store: OfficeStore, outbox: Outbox) -> Notices:
    """Return what watches the office's database for news, not entered yet."""
    return Notices(
        store.sessions,
        store.archive,
        outbox,
        to_everybody=bool(settings.call_webhook_url.get_secret_value()),
        mail=bool(settings.smtp_host),
    )
