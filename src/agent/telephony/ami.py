"""The manager interface (AMI), as far as a transfer during the call needs it: one `Redirect`, one connection.

For hosts whose dialplan cannot go on after `AudioSocket()`, and for old versions of Asterisk without `TryExec()` around
it. Source: Asterisk's `main/manager.c` (`action_challenge`, `authenticate`, `action_redirect`). A transfer is rare: a
connection for each leaves nothing to keep alive, to connect again, or to drain of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter

log = logging.getLogger(__name__)

TRANSFER_CONTEXT = "voice-agent-transfer"
TIMEOUT_S = 2.0
"""For all of it: the caller waits in silence meanwhile."""
MAX_AT_ONCE = 32
MAX_LINE_BYTES = 1024
MAX_LINES = 256
"""Lines that are read in all: the answers are about twenty, and an event or two may come in between."""


class _AmiError(Exception):
    """It did not work; `reason` is the name that is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Manager:
    """Asks Asterisk for transfers as an AMI user with `write = call`. The secret is never sent, nor shown.

    `counters` holds `redirected` and one `failed_<reason>` for each way in which it did not work: `busy`, `connect`,
    `timeout`, `closed`, `protocol`, `login`, `refused`, `value`.
    """

    def __init__(self, host: str, port: int, user: str, secret: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.counters: Counter[str] = Counter()
        self._host = host
        self._port = port
        self._user = user
        self._secret = secret
        self._timeout_s = timeout_s
        self._open = 0

    def __repr__(self) -> str:
        return f"Manager({self._host!r}, {self._port}, {self._user!r})"

    async def redirect(self, channel: str, extension: str) -> bool:
        """Send the caller on `channel` to this extension of `voice-agent-transfer`, out of whatever it is in.

        False, within `timeout_s`, when that did not work: logged and counted, and nothing has changed for the caller.
        """
        if self._open >= MAX_AT_ONCE:
            return self._failed("busy", f"{MAX_AT_ONCE} others are under way")
        self._open += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redirect(channel, extension)
        except _AmiError as error:
            return self._failed(error.reason, str(error))
        except TimeoutError:
            return self._failed("timeout", f"no answer within {self._timeout_s:g} s")
        except OSError as error:
            return self._failed("connect", error.strerror or "the connection broke")
        finally:
            self._open -= 1
        self.counters["redirected"] += 1
        return True

    def _failed(self, reason: str, text: str) -> bool:
        self.counters[f"failed_{reason}"] += 1
        log.warning("AMI on %s:%d cannot transfer a call: %s", self._host, self._port, text)
        return False

    async def _redirect(self, channel: str, extension: str) -> None:
        wanted = _action(
            "Redirect", Channel=channel, Context=TRANSFER_CONTEXT, Exten=extension, Priority="1", ActionID="redirect"
        )
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=MAX_LINE_BYTES)
        session = _Session(reader, writer)
        try:
            if not (await session.line()).startswith("Asterisk Call Manager/"):
                raise _AmiError("protocol", "what listens there is no Asterisk manager")
            challenged = await session.ask(_action("Challenge", AuthType="MD5", ActionID="challenge"))
            digest = hashlib.md5((challenged.get("challenge", "") + self._secret).encode(), usedforsecurity=False)
            entered = await session.ask(
                _action(
                    "Login",
                    AuthType="MD5",
                    Username=self._user,
                    Key=digest.hexdigest(),
                    Events="off",
                    ActionID="login",
                )
            )
            if entered.get("response") != "Success":
                raise _AmiError("login", "it refuses AMI_USER or AMI_SECRET, or this address")
            done = await session.ask(wanted)
            if done.get("response") != "Success":
                # The message is Asterisk's own: "Channel does not exist: ...", "Permission denied".
                raise _AmiError("refused", f"it says {done.get('message', '')[:80]!r}")
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()


class _Session:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lines = 0

    async def line(self) -> str:
        """The next line. Raises `_AmiError` when it is too long, one too many, or does not come."""
        self._lines += 1
        if self._lines > MAX_LINES:
            raise _AmiError("protocol", "the answer does not end")
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise _AmiError("protocol", f"a line is longer than {MAX_LINE_BYTES} bytes") from None
        except asyncio.IncompleteReadError:
            raise _AmiError("closed", "the connection ended in the middle") from None
        return line.decode("utf-8", "replace").rstrip("\r\n")

    async def ask(self, action: bytes) -> dict[str, str]:
        """The response to this action, names in lower case; events in between are passed over."""
        self._writer.write(action)
        await self._writer.drain()
        while True:
            fields: dict[str, str] = {}
            while line := await self.line():
                name, _, value = line.partition(":")
                fields.setdefault(name.strip().lower(), value.strip())
            if "response" in fields:
                return fields


def _action(name: str, **fields: str) -> bytes:
    """One action as it goes over the wire. Raises `_AmiError` for a value that would be more than one line."""
    lines = [f"Action: {name}"]
    for key, value in fields.items():
        if not value or not value.isprintable():
            raise _AmiError("value", f"{key} is empty, or holds line ends or control characters")
        lines.append(f"{key}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()
