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
from collections.abc import AsyncIterator, Sequence

log = logging.getLogger(__name__)

TRANSFER_CONTEXT = "voice-agent-transfer"
TIMEOUT_S = 2.0
"""For all of it: the caller waits in silence meanwhile."""
MAX_AT_ONCE = 32
MAX_LINE_BYTES = 1024
MAX_LINES = 256
"""Lines that are read in all: the answers are about twenty, and an event or two may come in between."""
MAX_COMMAND_LINES = 4096
"""The same where commands are asked: `module show` has 400 lines."""


class AmiError(Exception):
    """It did not work; `reason` is the name that `Manager.counters` has for it."""

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
        except AmiError as error:
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

    async def commands(self, lines: Sequence[str]) -> list[str]:
        """What Asterisk's command line answers to each of these, over one connection; for that the user needs
        `write = command`. Raises `AmiError` and OSError, within `timeout_s`.
        """
        async with asyncio.timeout(self._timeout_s), self._session(MAX_COMMAND_LINES) as session:
            answers = []
            for line in lines:
                done = await session.ask_all(_action("Command", Command=line, ActionID="command"))
                if done.get("response") != ["Success"] and "output" not in done:
                    raise AmiError("refused", f"it says {(done.get('message') or [''])[0][:80]!r}")
                answers.append("\n".join(done.get("output", ())))
            return answers

    async def _redirect(self, channel: str, extension: str) -> None:
        wanted = _action(
            "Redirect", Channel=channel, Context=TRANSFER_CONTEXT, Exten=extension, Priority="1", ActionID="redirect"
        )
        async with self._session(MAX_LINES) as session:
            done = await session.ask(wanted)
            if done.get("response") != "Success":
                # The message is Asterisk's own: "Channel does not exist: ...", "Permission denied".
                raise AmiError("refused", f"it says {done.get('message', '')[:80]!r}")

    @contextlib.asynccontextmanager
    async def _session(self, max_lines: int) -> AsyncIterator[_Session]:
        """A connection of the user's, while entered."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=MAX_LINE_BYTES)
        session = _Session(reader, writer, max_lines)
        try:
            if not (await session.line()).startswith("Asterisk Call Manager/"):
                raise AmiError("protocol", "what listens there is no Asterisk manager")
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
                raise AmiError("login", "it refuses AMI_USER or AMI_SECRET, or this address")
            yield session
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()


class _Session:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_lines: int) -> None:
        self._reader = reader
        self._writer = writer
        self._max_lines = max_lines
        self._lines = 0

    async def line(self) -> str:
        """The next line. Raises `AmiError` when it is too long, one too many, or does not come."""
        self._lines += 1
        if self._lines > self._max_lines:
            raise AmiError("protocol", "the answer does not end")
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise AmiError("protocol", f"a line is longer than {MAX_LINE_BYTES} bytes") from None
        except asyncio.IncompleteReadError:
            raise AmiError("closed", "the connection ended in the middle") from None
        return line.decode("utf-8", "replace").rstrip("\r\n")

    async def ask(self, action: bytes) -> dict[str, str]:
        """The response to this action, names in lower case; events in between are passed over."""
        return {name: values[0] for name, values in (await self.ask_all(action)).items()}

    async def ask_all(self, action: bytes) -> dict[str, list[str]]:
        """The same with each value of a name, as a command's answer has an `Output` for each line."""
        self._writer.write(action)
        await self._writer.drain()
        while True:
            fields: dict[str, list[str]] = {}
            while line := await self.line():
                name, _, value = line.partition(":")
                fields.setdefault(name.strip().lower(), []).append(value.strip())
            if "response" in fields:
                return fields


def _action(name: str, **fields: str) -> bytes:
    """One action as it goes over the wire. Raises `AmiError` for a value that would be more than one line."""
    lines = [f"Action: {name}"]
    for key, value in fields.items():
        if not value or not value.isprintable():
            raise AmiError("value", f"{key} is empty, or holds line ends or control characters")
        lines.append(f"{key}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()
