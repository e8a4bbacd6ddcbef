"""Several hosts on this one: agents in processes of their own behind HAProxy, with one Redis and one PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from agent.office.store import OfficeStore, add_companies
from tests.chaos.conversation import WITH_TARGET
from tests.chaos.process import AgentProcess
from tests.hosts.servers import HaProxy, RedisServer, free_port

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
HERE = "127.0.0.1"
MAX_CALLS = 40
PORTS = {"LISTEN": 9099, "FASTAGI": 4573, "HTTP": 9098, "CONSOLE": 9096}
"""The ports of the settings, and those that they have in HAProxy's sample."""


class Ported(Protocol):
    """Whatever HAProxy sends calls to."""

    @property
    def name(self) -> str:
        """As HAProxy names it."""

    @property
    def ports(self) -> dict[str, int]:
        """By the names in `PORTS`."""


class Balanced(Protocol):
    """Hosts behind one HAProxy."""

    @property
    def hosts(self) -> Sequence[Ported]:
        """Those that it knows."""

    @property
    def ports(self) -> dict[str, int]:
        """HAProxy's own, by the names in `PORTS`."""

    @property
    def stats(self) -> Path:
        """Its control socket."""


class Host:
    """One host: its ports stay the same over starts."""

    def __init__(self, number: int, folder: Path, settings: dict[str, str]) -> None:
        self.name = f"host{number}"
        self.ports = {name: free_port() for name in PORTS}
        folder = folder / self.name
        folder.mkdir()
        self.agent = AgentProcess(
            folder,
            settings
            | {f"{name}_PORT": str(port) for name, port in self.ports.items()}
            | {"DATA_DIR": str(folder / "data"), "MAX_CALLS": str(MAX_CALLS)},
        )

    async def health(self) -> dict[str, Any]:
        """Its `/health`; empty when nobody answers."""
        return await self._page("health")

    async def ready(self) -> bool:
        """Whether it takes calls."""
        return bool((await self._page("ready")).get("ready"))

    async def calls(self) -> int:
        """Calls that it has."""
        return int((await self.health()).get("calls", 0))

    async def _page(self, name: str) -> dict[str, Any]:
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            url = f"http://{HERE}:{self.ports['HTTP']}/{name}"
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
                return dict(await answer.json())
        except (aiohttp.ClientError, TimeoutError):
            return {}

    def began(self) -> set[str]:
        """UUIDs of the calls that it had and has, by its records and its notes of those that run."""
        return {path.stem for path in (self.agent.data / "calls").glob("*.*")}


class Cluster:
    """`async with Cluster(folder, redis, database, count) as cluster`: HAProxy knows so many hosts; `start` them."""

    def __init__(self, folder: Path, redis: RedisServer, database: str, count: int) -> None:
        self.folder = folder
        self.redis = redis
        self.ports = {name: free_port() for name in PORTS}
        """HAProxy's."""
        self.stats = folder / "haproxy.sock"
        self.store: OfficeStore
        self.hosts: list[Host] = []
        self.proxy: HaProxy
        self._count = count
        self._database = database
        self._stack = AsyncExitStack()
        self._vendors: asyncio.subprocess.Process

    async def __aenter__(self) -> Cluster:
        async with AsyncExitStack() as stack:
            self.store = await stack.enter_async_context(await OfficeStore.open(self._database))
            await add_companies(self.store, (WITH_TARGET,))
            self._vendors = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.hosts.vendors"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            stack.push_async_callback(self._end_vendors)
            settings = self._settings(await self._told())
            self.hosts = [Host(number, self.folder, settings) for number in range(1, self._count + 1)]
            for host in self.hosts:
                stack.push_async_callback(host.agent.__aexit__)
            configuration = self.folder / "haproxy.cfg"
            configuration.write_text(configured(SAMPLE.read_text("utf-8"), self))
            self.proxy = HaProxy(configuration, self.ports["HTTP"])
            stack.callback(self.proxy.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, *hosts: Host) -> None:
        """Start hosts, and wait until HAProxy sends calls to them."""
        await asyncio.gather(*(host.agent.start() for host in hosts))
        await self.until(lambda: all(self.status("calls", host) == "UP" for host in hosts), 10.0)
        await self.meet(*(host for host in self.hosts if host.agent.running))

    async def meet(self, *hosts: Host) -> None:
        """Wait until these, and no others, know each other."""
        async with asyncio.timeout(10):
            for host in hosts:
                while (await host.health())["hosts"]["others"] != len(hosts) - 1:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)

    async def asked(self) -> list[str]:
        """Whose bookings the LLM has ordered."""
        assert self._vendors.stdin is not None
        self._vendors.stdin.write(b"asked\n")
        return list((await self._told())["asked"])

    async def booked(self) -> list[str]:
        """Whose bookings there are, once for each row."""
        return [booking.customer_name for booking in await self.store.list_bookings(limit=1000)]

    def status(self, backend: str, host: Host) -> str:
        """What HAProxy takes a host for: UP, NOLB (no new connections), DOWN."""
        return self.proxy.statuses(self.stats)[backend, host.name]

    async def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until it is so. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - nobody tells when that is
                await asyncio.sleep(0.05)

    def _settings(self, vendors: dict[str, str]) -> dict[str, str]:
        return {
            **{f"{name.upper()}_URL": url for name, url in vendors.items()},
            **{f"{name}_API_KEY": "vendor-key" for name in ("DEEPGRAM", "GROQ", "CARTESIA")},
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": self._database,
            "PROXY_PROTOCOL": "true",
            "STT_FALLBACKS": "none",  # the callers speak in tones: no real recogniser knows them
            "SILENCE_SECONDS": "60",  # most of them say nothing
            "STOP_GRACE_SECONDS": "300",
            "RECORD_CALLS": "false",
            "MAX_LOOP_LAG_MS": "0",  # a test machine has more to do
            "MAX_MEDIA_LATENESS_MS": "0",
            "CALLS_PER_CALLER_HOUR": "0",
        }

    async def _told(self) -> dict[str, Any]:
        assert self._vendors.stdout is not None
        async with asyncio.timeout(60):
            return dict(json.loads(await self._vendors.stdout.readline()))

    async def _end_vendors(self) -> None:
        assert self._vendors.stdin is not None
        self._vendors.stdin.close()
        await self._vendors.wait()


def configured(sample: str, cluster: Balanced) -> str:
    """HAProxy's sample with the ports of the cluster, and with as many hosts."""
    lines = []
    for line in sample.splitlines():
        words = line.split()
        if words[:1] == ["server"]:
            if words[1] != "host1":
                continue
            name = next(name for name, port in PORTS.items() if words[2].endswith(f":{port}"))
            for host in cluster.hosts:
                moved = line.replace("host1", host.name).replace(words[2], f"{HERE}:{host.ports[name]}")
                lines.append(f"{moved} port {host.ports['HTTP']}")
            continue
        if words[:1] == ["bind"]:
            name = next(name for name, port in PORTS.items() if words[1] == f":{port}")
            line = line.replace(words[1], f"{HERE}:{cluster.ports[name]}")
        line = line.replace("/run/haproxy/admin.sock", str(cluster.stats)).replace(" port 9098", "")
        lines.append(re.sub(r" maxconn 100\b", f" maxconn {MAX_CALLS}", line))
    return "\n".join(lines) + "\n"
