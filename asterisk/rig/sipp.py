"""SIPp beside the rig: a phone that really rings and answers, and callers by the hundred.

Debian's package is `sip-tester`. What it sends and expects is in the two scenarios below (RFC 3261); a call that runs
otherwise is a failed one, and SIPp ends with another status than 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .root import RigError
from .server import AsteriskRig, free_port

_HEADERS = "[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n[last_CSeq:]\n"
_ANSWER = _HEADERS.format(tag=";tag=[call_number]")
_CONTACT = "Contact: <sip:phone@[local_ip]:[local_port]>\n"
_SDP = (
    "v=0\no=- 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\n"
    "m=audio [{port}] RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:20\n"
)

PHONE = f"""<?xml version="1.0" encoding="UTF-8"?>
<scenario name="phone">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
{_ANSWER}{_CONTACT}Content-Length: 0

]]></send>
  <pause milliseconds="%d"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
{_ANSWER}{_CONTACT}Content-Type: application/sdp
Content-Length: [len]

{_SDP.format(port="media_port")}]]></send>
  <recv request="ACK"/>
  <recv request="BYE" timeout="60000"/>
  <send><![CDATA[
SIP/2.0 200 OK
{_HEADERS.format(tag="")}Content-Length: 0

]]></send>
</scenario>
"""

_FROM = (
    "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\nMax-Forwards: 70\n"
    'From: "Caller [call_number]" <sip:07700900[call_number]@[local_ip]:[local_port]>;tag=[pid]-[call_number]\n'
    "Call-ID: [call_id]\nContact: <sip:caller@[local_ip]:[local_port]>\n"
)
CALLER = f"""<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
{_FROM}To: <sip:[service]@[remote_ip]:[remote_port]>
CSeq: 1 INVITE
Content-Type: application/sdp
Content-Length: [len]

{_SDP.format(port="rtpstream_audio_port")}]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" timeout="20000" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
{_FROM}[last_To:]
CSeq: 1 ACK
Content-Length: 0

]]></send>
  <nop><action><exec rtp_stream="%s,-1,0"/></action></nop>
  <pause milliseconds="%d"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
{_FROM}[last_To:]
CSeq: 2 BYE
Content-Length: 0

]]></send>
  <recv response="200" timeout="10000"/>
</scenario>
"""


class HumanPhone:
    """The phone `HUMAN` of `rig.config`: rings for `rings_s`, answers, and says back whatever it hears.

    `async with HumanPhone(rig, tmp_path) as phone: …; await phone.done()`: one call and no more.
    """

    def __init__(self, rig: AsteriskRig, directory: Path, rings_s: float = 1.0) -> None:
        self._port = rig.human_port
        self._directory = directory
        self._rings_s = rings_s
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> HumanPhone:
        """Take the phone's place. Raises `RigError` when SIPp is missing."""
        (self._directory / "phone.xml").write_text(PHONE % int(1000 * self._rings_s))
        media = ["-rtp_echo", "-mi", "127.0.0.1", "-mp", str(free_port() & ~1)]
        self._process = await _spawn(
            self._directory, "phone", ["-p", str(self._port), "-m", "1", "-timeout", "90s", *media]
        )
        await asyncio.sleep(0.3)  # SIPp does not say when it listens
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the place."""
        assert self._process is not None
        await _stop(self._process)

    async def done(self, timeout_s: float = 10.0) -> None:
        """Wait until the call it took is over. Raises `RigError` when it did not run as it should."""
        assert self._process is not None
        async with asyncio.timeout(timeout_s):
            status = await self._process.wait()
        if status:
            raise RigError(f"the phone's call failed (SIPp ends with {status})")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of many calls."""

    good: int
    failed: int
    most_at_once: int


async def many_calls(
    rig: AsteriskRig,
    number: str,
    directory: Path,
    *,
    calls: int,
    at_once: int,
    each_second: int,
    talk_s: float,
    timeout_s: float,
) -> Load:
    """Make `calls` calls, so many at once; each is answered, talks (in silence) for `talk_s`, and hangs up."""
    silence = directory / "silence.ulaw"
    silence.write_bytes(b"\xff" * 8000)
    (directory / "caller.xml").write_text(CALLER % (silence, int(1000 * talk_s)))
    host, port = rig.address
    process = await _spawn(
        directory,
        "caller",
        [
            *(f"{host}:{port}", "-s", number, "-m", str(calls), "-l", str(at_once), "-r", str(each_second)),
            *("-timeout", f"{timeout_s:.0f}s", "-trace_stat", "-stf", str(directory / "caller.csv"), "-fd", "1"),
        ],
    )
    try:
        async with asyncio.timeout(timeout_s + 10):
            await process.wait()
    finally:
        await _stop(process)
    with (directory / "caller.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    last = rows[-1]
    return Load(
        good=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        most_at_once=max(int(row["CurrentCall"]) for row in rows),
    )


async def _spawn(directory: Path, scenario: str, arguments: list[str]) -> asyncio.subprocess.Process:
    if shutil.which("sipp") is None:
        raise RigError("SIPp is missing: apt-get install sip-tester")
    with (directory / f"{scenario}.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "SIGKILL"),
            *("sipp", "-sf", str(directory / f"{scenario}.xml"), "-i", "127.0.0.1", "-nostdin", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
        )


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
