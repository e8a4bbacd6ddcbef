"""Posts events to the webhooks of companies, and to the one of the settings: signed, and to nowhere else."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from agent.office.recipients import Recipients
from agent.office.webhook_signature import SecretError, keys_of, signature_headers
from agent.tools.outbox import Entry, Target, Verdict
from agent.tools.outbox.verdict import retry_after_s

USER_AGENT: Final = "voice-agent-webhook"
TIMEOUT_S: Final = 15.0
CONNECT_S: Final = 5.0
GONE: Final = 410
COMPANY, EVERYBODY = "the company's webhook", "CALL_WEBHOOK_URL"
LINK_LOCAL: Final = tuple(
    # fd00:ec2::254 is what 169.254.169.254 is by IPv6 at Amazon.
    ipaddress.ip_network(network)
    for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")
)
"""Where clouds keep a machine's own credentials: no address that a company may have things posted to."""


def webhook_target(sender: WebhookSender) -> Target:
    """Where rows of the kind `webhook` go. No company holds up another: two at once each."""
    return Target(
        "webhook", "", honours_keys=True, settings=EVERYBODY, send=sender.send,
        fresh_at_once=16, again_at_once=8, each_at_once=2,
    )  # fmt: skip


class WebhookSender:
    """Sends rows whose body is `{"id": …, "company_id": … or null, "event": {"type", "timestamp", "data"}}`.

    URL and secret are those that hold when it is sent: the company's, or for null those of the settings.
    """

    def __init__(
        self, recipients: Recipients, *, url: str = "", secret: str = "", allow_link_local: bool = False
    ) -> None:
        self._recipients = recipients
        self._url = url
        self._secret = secret
        self._allow_link_local = allow_link_local

    async def send(self, entry: Entry) -> Verdict:
        """Make one attempt. 2xx has it; 410 will never have it; anything else may have it later."""
        company_id = entry.body.get("company_id")
        url, secret, where = self._url, self._secret, EVERYBODY
        if company_id is not None:
            company = await self._recipients.company(int(company_id))
            url, secret = (company.webhook_url, company.webhook_secret) if company else ("", "")
            where = COMPANY
        if not url:
            return Verdict("dropped", f"{where} is not there any more")
        try:
            keys = keys_of(secret)
        except SecretError as error:
            return Verdict("later", f"{error}: check {where}", held=True)
        body = json.dumps(entry.body["event"], ensure_ascii=False, separators=(",", ":")).encode()
        signed = signature_headers(keys, str(entry.body["id"]), int(time.time()), body)
        return await self._post(url, body, signed, where)

    async def _post(self, url: str, body: bytes, signed: Mapping[str, str], where: str) -> Verdict:
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **signed}
        refused: list[str] = []

        def connect_to(address: tuple[Any, ...]) -> socket.socket:
            # Asked for each address after its name was looked up: what a name says a second time is of no account.
            family, kind, protocol, _, place = address
            if not self._allow_link_local and is_link_local(str(place[0])):
                refused.append(str(place[0]))
                raise OSError(errno.EACCES, "a link-local address")
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(force_close=True, socket_factory=connect_to)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
        jar = aiohttp.DummyCookieJar()
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as http,
                # The answer's body is nobody's business: it is not read.
                http.post(URL(url), data=body, headers=headers, allow_redirects=False) as response,
            ):
                return judge_hook(response.status, response.headers, where)
        except TimeoutError:
            return Verdict("later", "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if refused:
                return Verdict(
                    "later", f"a link-local address, which WEBHOOK_LINK_LOCAL=false refuses: {where}", held=True
                )
            return Verdict("later", type(error).__name__, held=isinstance(error, aiohttp.InvalidURL | ValueError))


def judge_hook(status: int, headers: Mapping[str, str], where: str) -> Verdict:
    """What an answer means: sent twice does no harm, so whatever is no yes is asked again."""
    if 200 <= status < 300:
        return Verdict("accepted", "accepted", status)
    if status == GONE:
        return Verdict("refused", f"status 410: {where} is gone", status)
    if 300 <= status < 400:
        return Verdict("later", f"status {status}: redirects are not followed; check {where}", status, held=True)
    after_s = retry_after_s(headers.get("Retry-After", ""))
    return Verdict("later", f"status {status}", status, after_s=after_s, held=400 <= status < 500 and not after_s)


def is_link_local(address: str) -> bool:
    """Whether an IP address lies in `LINK_LOCAL`, in either family's writing."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return any(host in network for network in LINK_LOCAL if host.version == network.version)
