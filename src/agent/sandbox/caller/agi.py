"""What the dialplan does around `AudioSocket()`: ask the agent's FastAGI server `start` before, and `next` after.

Asterisk's side of the protocol, after `res/res_agi.c`: header lines and a blank one go out, commands come in, each
is answered with a line, and the server's closing ends the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Mapping

CONNECT_SECONDS = 2.0
"""`MAX_AGI_CONNECT` of `res_agi.c`."""
REQUEST_SECONDS = 10.0
MAX_COMMANDS = 64

_SET = re.compile(r'SET VARIABLE (\w+) "((?:[^"\\]|\\.)*)"')
_GET = re.compile(r'GET FULL VARIABLE "((?:[^"\\]|\\.)*)"')


class AgiFailed(ConnectionError):
    """The FastAGI server cannot be reached or does not speak AGI; the dialplan would go to its fallback."""


class Dialplan:
    """One channel, as far as the agent's FastAGI server can see it."""

    def __init__(self, host: str, port: int, *, did: str, caller_id: str) -> None:
        """Make a channel on which `caller_id` (empty: withheld) rang `did`."""
        self._host = host
        self._port = port
        self._did = did
        self._caller_id = caller_id
        self._unique_id = f"{uuid.uuid4().time_low}.1"

    async def start(self, call: uuid.UUID) -> Mapping[str, str]:
        """Ask `start` for `call`; return the variables that were set. Raises `AgiFailed`."""
        return await self._ask("start", str(call), self._did)

    async def next(self, call: uuid.UUID) -> Mapping[str, str]:
        """Ask `next` for `call`; return the variables that were set. Raises `AgiFailed`."""
        return await self._ask("next", str(call))

    async def _ask(self, script: str, *arguments: str) -> Mapping[str, str]:
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise AgiFailed(f"no FastAGI server at {where}: {error or 'no answer within 2 s'}") from error
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                writer.write(self._headers(script, arguments).encode())
                return await self._serve(reader, writer)
        except TimeoutError as error:
            raise AgiFailed(f"the FastAGI server at {where} did not finish {script} in time") from error
        except (OSError, ValueError) as error:
            raise AgiFailed(f"the FastAGI server at {where} failed in {script}: {error}") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Mapping[str, str]:
        variables: dict[str, str] = {}
        for _ in range(MAX_COMMANDS):
            line = await reader.readline()
            if not line:
                return variables
            command = line.decode().rstrip("\r\n")
            if match := _SET.fullmatch(command):
                variables[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
                answer = "200 result=1"
            elif match := _GET.fullmatch(command):
                value = self._evaluate(match[1])
                answer = f"200 result=1 ({value})" if value else "200 result=0"
            else:
                answer = "510 Invalid or unknown command"
            writer.write(answer.encode() + b"\n")
            await writer.drain()
        raise ValueError(f"more than {MAX_COMMANDS} commands")

    def _evaluate(self, expression: str) -> str:
        """What a few dialplan expressions give on this channel; others are empty, as on a real one."""
        withheld = "" if self._caller_id else "prohib"
        return {
            "${CHANNEL(linkedid)}": self._unique_id,
            "${UNIQUEID}": self._unique_id,
            "${EXTEN}": self._did,
            "${CALLERID(num)}": self._caller_id,
            "${CALLERID(num-pres)}": withheld or "allowed_not_screened",
            "${CALLERID(dnid)}": self._did,
        }.get(expression, "")

    def _headers(self, script: str, arguments: tuple[str, ...]) -> str:
        headers = {
            "network": "yes",
            "network_script": script,
            "request": f"agi://{self._host}:{self._port}/{script}",
            "channel": "PJSIP/simulated-00000001",
            "language": "en",
            "type": "PJSIP",
            "uniqueid": self._unique_id,
            "version": "22.10.1",
            "callerid": self._caller_id or "unknown",
            "calleridname": "unknown",
            "callingpres": "0" if self._caller_id else "35",
            "callingani2": "0",
            "callington": "0",
            "callingtns": "0",
            "dnid": self._did or "unknown",
            "rdnis": "unknown",
            "context": "from-simulation",
            "extension": self._did or "s",
            "priority": "1",
            "enhanced": "0.0",
            "accountcode": "",
            "threadid": "1",
        } | {f"arg_{number}": argument for number, argument in enumerate(arguments, 1)}
        for name, value in headers.items():
            if not value.isprintable():
                raise ValueError(f"{name} must be one line of printable characters")
        return "".join(f"agi_{name}: {value}\n" for name, value in headers.items()) + "\n"
