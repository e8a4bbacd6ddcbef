"""One Asterisk in its root, with the shipped dialplan: started, asked, stopped, and its log read."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
import sys
from pathlib import Path
from types import TracebackType

from .config import PEOPLE_BUSY, RTP_PORTS, RigConfig, write_config
from .root import RigError, default_directory, ensure_root

START_S = 30.0
"""How long Asterisk may take to be ready, s: about two on an idle machine."""

_COMPLAINT = re.compile(r"^\[[^\]]*\] (WARNING|ERROR)\[\d+\](?:\[C-[0-9a-f]+\])? (.*)$", re.MULTILINE)

KNOWN_NORMAL = {
    "the caller hangs up": r"app_audiosocket\.c: Failed to receive frame from channel ",
    "the caller hangs up while a frame is on its way to him": (
        r"app_audiosocket\.c: Failed to forward frame from AudioSocket server '[^']*' to channel "
    ),
}
"""Warnings of Asterisk that a good call brings about, and when (facts: Asterisk's app_audiosocket.c)."""

KNOWN_WITHOUT_AGENT = {
    "FastAGI with nobody listening": r"res_agi\.c: Connecting to '127\.0\.0\.1:\d+' failed for url 'agi://",
    "HTTP with nobody listening": r"func_curl\.c: Failed to connect to 127\.0\.0\.1",
    "FastAGI given up": r"res_agi\.c: Couldn't connect to any host\.  FastAGI failed\.",
}
"""Warnings that stand for an agent that is not there."""

# In namespaces of its own: /proc and a host name that resolves are there for Asterisk, and gone with it,
# whatever way it ends. It goes before the speech engines of a test, which run on other machines in earnest.
_SCRIPT = """
hostname localhost
mount -t proc proc "$1/proc"
exec nice -n -10 chroot "$1" asterisk -C "$2/etc/asterisk.conf" -f
"""


class AsteriskRig:
    """An Asterisk that runs while its `async with` block does.

    `audio_port` and `agi_port` are the agent's; they may be set until the block begins, since an agent may want to
    know `metadata` first. `people` is what the site's VOICE_AGENT_PEOPLE dials. `sample` runs the shipped sample
    configuration instead of the rig's own.
    """

    def __init__(
        self,
        *,
        audio_port: int = 0,
        agi_port: int = 0,
        people: str = PEOPLE_BUSY,
        sample: bool = False,
        root: Path | None = None,
    ) -> None:
        self.audio_port = audio_port
        self.agi_port = agi_port
        self._people = people
        self._sample = sample
        self._root = root or default_directory()
        self._directory = Path(f"/run/rig-{secrets.token_hex(4)}")
        self._config: RigConfig | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._read = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where this Asterisk takes SIP over UDP."""
        assert self._config is not None
        return "127.0.0.1", self._config.sip_port

    @property
    def manager_port(self) -> int:
        """Where this Asterisk takes AMI; `MANAGER_USER` and `MANAGER_SECRET` of `rig.config` log in there."""
        assert self._config is not None
        return self._config.manager_port

    @property
    def cli_program(self) -> tuple[str, ...]:
        """What asks its command line; the command comes behind it."""
        return "chroot", str(self._root), "asterisk", "-C", f"{self._directory}/etc/asterisk.conf", "-rx"

    @property
    def human_port(self) -> int:
        """Where the phone `HUMAN` of `rig.config` is rung."""
        assert self._config is not None
        return self._config.human_port

    @property
    def place(self) -> Path:
        """The rig's directory as the host sees it: etc, log, metadata and so on."""
        return self._root / self._directory.relative_to("/")

    @property
    def metadata(self) -> Path:
        """Where the AGI script leaves its files, as the host sees it."""
        return self.place / "metadata"

    async def __aenter__(self) -> AsteriskRig:
        """Make the root if need be, and start. Raises `RigError` when Asterisk does not become ready."""
        await asyncio.to_thread(ensure_root, self._root)
        if shutil.which("unshare") is None:
            raise RigError("unshare is missing: apt-get install util-linux")
        self._config = RigConfig(
            sip_port=free_port(),
            rtp_port=20_000 + RTP_PORTS * secrets.randbelow(30),
            audio_port=self.audio_port,
            agi_port=self.agi_port,
            manager_port=free_port(socket.SOCK_STREAM),
            human_port=free_port(),
            metadata=self._directory / "metadata",
            people=self._people,
        )
        write_config(self._root, self._directory, self._config, sample=self._sample)
        with (self.place / "log/console").open("wb") as console:
            self._process = await asyncio.create_subprocess_exec(
                # A test that dies takes its Asterisk along.
                *(
                    "setpriv",
                    "--pdeathsig",
                    "SIGTERM",
                    "unshare",
                    "--mount",
                    "--uts",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    _SCRIPT,
                ),
                *("sh", str(self._root), str(self._directory)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            async with asyncio.timeout(START_S):
                while "fully booted" not in await self.cli("core waitfullybooted"):
                    if self._process.returncode is not None:
                        raise RigError(f"Asterisk ended with {self._process.returncode}:\n{self._console()}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            console_text = self._console()
            await self._stop()
            raise RigError(f"Asterisk was not ready within {START_S:.0f} s:\n{console_text}") from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop Asterisk; on a failure the end of its log goes to stderr."""
        if error is not None:
            print("\n".join(self.log().splitlines()[-80:]), file=sys.stderr)
        await self._stop()

    async def cli(self, command: str) -> str:
        """What Asterisk's command line answers to `command`."""
        process = await asyncio.create_subprocess_exec(
            *self.cli_program,
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return output.decode(errors="replace")

    async def set_global(self, name: str, value: str) -> None:
        """Change one of the dialplan's global variables from the next call on."""
        await self.cli(f'dialplan set global {name} "{value}"')

    async def reset_globals(self) -> None:
        """Make the dialplan's global variables what they were at first."""
        assert self._config is not None
        for name, value in self._config.globals.items():
            await self.set_global(name, value)

    async def settle(self, timeout_s: float = 10.0) -> None:
        """Wait until no channel is left. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            # Asterisk has no command that waits for this: it is asked.
            while "0 active channels" not in await self.cli("core show channels count"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def descriptors(self) -> int:
        """How many files and sockets Asterisk has open."""
        pid = int((self.place / "run/asterisk.pid").read_text())
        return len(os.listdir(f"/proc/{pid}/fd"))

    def log(self) -> str:
        """Everything that Asterisk logged."""
        path = self.place / "log/full"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self, *known: dict[str, str]) -> list[str]:
        """New warnings and errors of the log since the last time, but for the known normal ones."""
        text = self.log()
        fresh, self._read = text[self._read :], len(text)
        normal = [re.compile(pattern) for patterns in (KNOWN_NORMAL, *known) for pattern in patterns.values()]
        return [
            f"{match[1]}: {match[2]}"
            for match in _COMPLAINT.finditer(fresh)
            if not any(pattern.search(match[2]) for pattern in normal)
        ]

    def _console(self) -> str:
        path = self.place / "log/console"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of loopback that nobody has just now, of UDP unless told otherwise."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
