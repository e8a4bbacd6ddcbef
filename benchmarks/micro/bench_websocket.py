"""What a call's WebSockets cost the processor: each client behind the same interface, and audio out of base64.

A client's time is that of its process; the vendor's side is another one. Connections are paced as calls are: each sends
80 ms of audio every 80 ms, at its own time, and gets about 2 KB of JSON for it, so that a message finds the event loop
asleep, and pays for waking it. Real vendors answer a quarter as often. What the pace itself costs is in both figures,
and stands in a line of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.providers import websocket_picows, websocket_plain
from agent.providers.websocket import ClientName, Socket, SocketClosed, open_socket
from benchmarks.agent.certificate import make_certificate

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

ROOT = Path(__file__).parents[2]
CALLS = 100
ROUND_S = 0.08
AUDIO = bytes(range(256)) * 5
CHUNK = base64.b64encode(bytes(range(160)) * 10).decode()  # 100 ms of speech at 8 kHz, as Cartesia sends it


@contextmanager
def a_peer(certificate: Path | None) -> Iterator[str]:
    """The vendor's side; yields its URL."""
    arguments = [] if certificate is None else [str(certificate)]
    command = [sys.executable, "-m", "benchmarks.micro.websocket_peer", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"{'ws' if certificate is None else 'wss'}://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


class Calls:
    """Connections that send and receive; calling it does 80 ms of all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, client: ClientName) -> None:
        self._loop = loop
        self._answers = 0
        self._all = asyncio.Event()
        self._sockets = loop.run_until_complete(self._open(url, client))
        self._tasks = [loop.create_task(self._receive(socket)) for socket in self._sockets]

    def __call__(self) -> None:
        """All of it."""
        self._loop.run_until_complete(self._round())

    def pace(self) -> None:
        """The same without a message."""

        async def sleep() -> None:
            due = self._loop.time()
            for _ in self._sockets:
                due += ROUND_S / CALLS
                await asyncio.sleep(due - self._loop.time())

        self._loop.run_until_complete(sleep())

    def close(self) -> None:
        """The end of the connections."""

        async def end() -> None:
            await asyncio.gather(*(socket.close() for socket in self._sockets))
            await asyncio.gather(*self._tasks)

        self._loop.run_until_complete(end())

    async def _open(self, url: str, client: ClientName) -> list[Socket]:
        return [await open_socket("peer", url, {}, max_message_bytes=1 << 20, client=client) for _ in range(CALLS)]

    async def _receive(self, socket: Socket) -> None:
        try:
            while True:
                await socket.receive()
                self._answers += 1
                if self._answers == CALLS:
                    self._all.set()
        except SocketClosed:
            return

    async def _round(self) -> None:
        self._answers = 0
        self._all.clear()
        due = self._loop.time()
        for socket in self._sockets:
            await socket.send_bytes(AUDIO)
            due += ROUND_S / CALLS
            await asyncio.sleep(due - self._loop.time())
        await self._all.wait()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_clients(compare: Compare, secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = None
    if secure:
        certificate = tmp_path / "both.pem"
        make_certificate(certificate)
        context = ssl.create_default_context(cafile=str(certificate))
        for module in (websocket_plain, websocket_picows):
            monkeypatch.setattr(module, "tls", lambda: context)
    loop = asyncio.new_event_loop()
    with a_peer(certificate) as url:
        fast, plain = Calls(loop, url, "picows"), Calls(loop, url, "websockets")
        what = f"1280 B up, 2 KB down{', TLS' if secure else ''}"
        compare(f"{what}: picows", fast, "websockets", plain, of=CALLS, clock=time.process_time)
        if not secure:
            compare(f"{what}: the pace alone", plain.pace, "picows", fast, of=CALLS, clock=time.process_time)
        fast.close()
        plain.close()
    loop.close()


def test_base64(compare: Compare) -> None:
    """As the Cartesia client has it, against the standard library's other way, and the fastest package."""

    def ours() -> bytes:
        return binascii.a2b_base64(CHUNK, strict_mode=True)

    ways: list[tuple[str, Callable[[], bytes]]] = [("base64.b64decode", lambda: base64.b64decode(CHUNK, validate=True))]
    pybase64 = pytest.importorskip("pybase64")
    ways.append(("pybase64.b64decode", lambda: pybase64.b64decode(CHUNK, validate=True)))
    assert all(way() == ours() for _, way in ways)
    for name, way in ways:
        compare("100 ms of speech out of base64: binascii", ours, name, way)
