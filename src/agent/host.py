"""What an agent is to the outside, in one process or in several: ports, the console, and the office's database."""

from __future__ import annotations

from agent.front import Front
from agent.office.console.port import OpenConsole
from agent.office.store import OfficeStore
from agent.ops.settings import Settings


class Host:
    """Whoever has a front. Ports of 0 pick free ones: the properties tell which."""

    settings: Settings
    front: Front

    @property
    def fastagi_port(self) -> int:
        """FastAGI's port."""
        return self.front.fastagi.port

    @property
    def http_port(self) -> int:
        """The office's, and that of `/health` and the like."""
        return self.front.office.port

    @property
    def console(self) -> OpenConsole | None:
        """Where people look at the calls; None where the settings want none."""
        return self.front.console

    @property
    def store(self) -> OfficeStore:
        """The office's database."""
        return self.front.office.back.store

    async def drain(self, grace_s: float | None = None) -> None:
        """Take no new calls; the running ones end by themselves within the grace time, then hear a goodbye."""
        await self.front.drain(self.settings.stop_grace_seconds if grace_s is None else grace_s)
