"""A real Asterisk with the shipped dialplan, one for the whole run; skipped unless asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from rig.line import Line
from rig.server import AsteriskRig
from rig.standin import StandIn

from agent.telephony import CallInfo, CallRegistry, Desk, DialplanHttp, FastAgiServer, MetadataDirectory


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the real Asterisk out of a plain run."""
    if "asterisk" in str(config.getoption("-m")):
        return
    for item in items:
        if item.get_closest_marker("asterisk"):
            item.add_marker(pytest.mark.skip(reason="needs the real Asterisk: make test-asterisk"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_line() -> AsyncIterator[Line]:
    line: Line | None = None

    async def on_start(info: CallInfo) -> bool:
        assert line is not None
        line.started.append(info)
        await asyncio.sleep(line.slow_s)
        return line.room

    def on_missed(uuid: UUID, status: str) -> None:
        assert line is not None
        line.missed.append((uuid, status))

    rig = AsteriskRig()
    registry = CallRegistry(metadata=MetadataDirectory(rig.metadata))
    app = web.Application()
    DialplanHttp(Desk(registry, on_start, on_missed=on_missed)).add_pages(app)
    async with (
        StandIn(registry) as agent,
        FastAgiServer(registry, on_start, port=0, on_missed=on_missed) as agi,
        TestServer(app) as pages,
    ):
        rig.audio_port, rig.agi_port = agent.port, agi.port
        async with rig:
            assert pages.port is not None
            line = Line(rig, registry, agi, agent, pages.port)
            assert rig.complaints() == []
            yield line
            await rig.settle()


@pytest_asyncio.fixture(loop_scope="session")
async def line(running_line: Line) -> AsyncIterator[Line]:
    """The line as it is at first: with room, the shipped globals, no call on it, and no orphan of one."""
    line = running_line
    line.room, line.slow_s = True, 0.0
    line.started.clear()
    line.missed.clear()
    MetadataDirectory(line.rig.metadata, orphan_s=0).sweep()
    await line.rig.reset_globals()
    line.rig.complaints()
    yield line
    await line.rig.settle()
