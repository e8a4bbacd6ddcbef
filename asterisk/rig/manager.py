"""A stand-in for Asterisk's manager interface: as much of `main/manager.c` as a redirect meets, and what is no manager.

Its texts are Asterisk's own (seen on 22.10.1).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

SECRET = "open sesame"


class FakeManager:
    """One manager. `fault` is what is wrong with it: silent, ssh, endless, long, gone, deaf; `on_redirect` is told."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.on_redirect: Callable[[dict[str, str]], object] = lambda action: None
        self.actions: list[dict[str, str]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "silent":
            await reader.read()
            return
        writer.write(b"SSH-2.0-OpenSSH\r\n" if self.fault == "ssh" else b"Asterisk Call Manager/11.0.0\r\n")
        if self.fault == "endless":
            writer.write(b"Event: Noise\r\n\r\n" * 1000)
        if self.fault == "long":
            writer.write(b"x" * 5000)
        while True:
            action: dict[str, str] = {}
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                name, _, value = line.partition(": ")
                assert name not in action, "a value has become a line of its own"
                action[name] = value
            if not action:
                return
            self.actions.append(action)
            if self.fault == "gone" and action["Action"] == "Redirect":
                return
            answer = self.answer(action)
            writer.write(f"{answer}\r\nActionID: {action['ActionID']}\r\n\r\n".encode())
            writer.write(b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n")

    def answer(self, action: dict[str, str]) -> str:
        """The response to one action."""
        if action["Action"] == "Challenge":
            return "Response: Success\r\nChallenge: 840415273"
        if action["Action"] == "Login":
            key = hashlib.md5(("840415273" + SECRET).encode()).hexdigest()
            good = action["Key"] == key and action["Username"] == "agent"
            return f"Response: {'Success' if good else 'Error'}\r\nMessage: Authentication"
        if self.fault == "deaf":
            return "Response: Error\r\nMessage: Channel does not exist: x"
        self.on_redirect(action)
        return "Response: Success\r\nMessage: Redirect successful"


@asynccontextmanager
async def fake_manager(fault: str = "") -> AsyncIterator[FakeManager]:
    """Listens at its `port` while entered. The user is "agent", with `SECRET`."""
    fake = FakeManager(fault)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = int(server.sockets[0].getsockname()[1])
    try:
        yield fake
    finally:
        server.close()
        await server.wait_closed()
