"""The dashboard for Grafana: its shape, and each of its queries on a Prometheus that watches an agent with calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from agent.ops.metric_families import FAMILIES
from agent.ops.metrics import CONTENT_TYPE
from agent.ops.metrics_merge import Merger
from tests.agent.scripts import BOOKING

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "voice-agent.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
UNITS = {"none", "s", "percentunit", "ops", "reqps", "cpm", "bytes"}
COLUMNS = 24
EMPTY = {
    ("The dialplan asks", "HTTP {{what}}"): "this dialplan asks by FastAGI",
    ("Today against the limits", "limit of cost {{instance}}"): "this agent has no limit",
    ("Webhooks and mails", "{{kind}} {{result}} a minute"): "nobody is to be told of these calls",
    ("Errors by kind", "{{endpoint}} {{kind}}"): "no vendor fails in these calls",
    ("What went wrong in calls", "{{what}}"): "nothing does",
    ("Recordings", "{{result}} to the bucket, a minute"): "there is no bucket",
    ("Recordings", "not in the bucket yet"): "there is no bucket",
}
"""Queries that have no data here, and why."""


# ---- its shape ------------------------------------------------------------------------------------------------------


def test_it_is_what_the_script_makes() -> None:
    told = subprocess.run([sys.executable, str(FOLDER / "make_dashboard.py"), "--check"], check=False, timeout=60)
    assert told.returncode == 0, "run python deploy/grafana/make_dashboard.py"


def test_grafanas_own_types_hold_all_of_it() -> None:
    """What they do not know is lost on the way through them."""
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    back = json.loads(json.dumps(models.Dashboard.from_json(DASHBOARD), cls=JSONEncoder))
    lost = sorted(set(flat(DASHBOARD)) - set(flat(back)))
    # A variable's `definition` is what Grafana itself writes beside its query.
    assert [path for path, _ in lost if not path.endswith("/definition")] == []


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from flat(inner, f"{path}/{at}")
    else:
        yield path, repr(value)


def test_its_panels_have_each_a_place_a_number_a_unit_and_a_text() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        grid = panel["gridPos"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= COLUMNS
    for one, other in combinations((panel["gridPos"] for panel in every), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["description"].endswith(".")
        assert [target["refId"] for target in panel["targets"]] == list("ABCDE"[: len(panel["targets"])])
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        steps = [step["value"] for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])]
        assert all(before < after for before, after in pairwise(steps[1:]))


def test_it_asks_for_its_source_and_its_hosts() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["type"] == "datasource"
    assert DASHBOARD["schemaVersion"] >= 38
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["expr"].count('job=~"$job",instance=~"$instance"') >= 1


def test_it_shows_every_metric() -> None:
    """But for those that say nothing by a line of their own."""
    queries = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    names = {family.whole_name for family in FAMILIES.values()}
    left_out = {name for name in names if name not in queries}
    assert left_out == {
        "voice_agent_calls_announced",
        "voice_agent_stopping",
        "voice_agent_today_seconds",
        "voice_agent_stt_dropped_seconds_total",
        "voice_agent_ami_transfers_total",
    }


# ---- its queries ----------------------------------------------------------------------------------------------------


class Prometheus:
    """Debian's, on loopback, which asks its targets each 1.5 s."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def ask(self, page: str, **question: str) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/api/v1/{page}", params=question) as answer:
            told: dict[str, Any] = await answer.json()
        assert told["status"] == "success", told.get("error")
        return told["data"]  # type: ignore[no-any-return]

    async def scrapes(self) -> float:
        result = (await self.ask("query", query='count_over_time(up{job="voice-agent"}[1h])'))["result"]
        return float(result[0]["value"][1]) if result else 0.0

    async def has_data(self, query: str, began: float, ended: float) -> bool:
        """Whether there is a number at any time in between."""
        data = await self.ask("query_range", query=query, start=str(began), end=str(ended), step="1")
        return any(math.isfinite(float(value)) for one in data["result"] for _, value in one["values"])


@asynccontextmanager
async def a_prometheus(folder: Path, targets: list[str], http: aiohttp.ClientSession) -> AsyncIterator[Prometheus]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text(
        "scrape_configs:\n"
        "  - job_name: voice-agent\n    scrape_interval: 1500ms\n    scrape_timeout: 1500ms\n"
        f"    static_configs:\n      - targets: {targets}\n"
    )
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", stdout=log, stderr=log,
        )  # fmt: skip
    prometheus = Prometheus(f"http://127.0.0.1:{port}", http)
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if await prometheus.scrapes() >= 2:
                        break
                assert process.returncode is None, (folder / "prometheus.log").read_text()
                await asyncio.sleep(0.2)
        yield prometheus
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def pages_of_workers(url: str, http: aiohttp.ClientSession) -> AsyncIterator[str]:
    """Where the pages of two workers and their supervisor are added up, each of them the page at `url`."""
    merger = Merger()

    async def page(_request: web.Request) -> web.Response:
        async with http.get(url) as answer:
            told = await answer.read()
        body = merger.page(dict.fromkeys(("supervisor", "1", "2"), told))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def filled(query: str, instance: str) -> str:
    """With the variables as they are when one instance is chosen."""
    for name, value in (("$__rate_interval", "2m"), ("$job", ".*"), ("$instance", instance)):
        query = query.replace(name, value)
    assert "$" not in query
    return query


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus")
async def test_each_query_has_data_when_calls_have_been(
    a_rig: RigMaker, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Of one process, and of one with a supervisor and two workers, whose pages are those of that process."""
    (tmp_path / "watch").mkdir()
    async with a_rig() as rig, AsyncExitStack() as stack:
        alone = f"127.0.0.1:{rig.agent.http_port}"
        workers = await stack.enter_async_context(pages_of_workers(f"http://{alone}/metrics", http))
        prometheus = await stack.enter_async_context(a_prometheus(tmp_path / "watch", [alone, workers], http))
        began = asyncio.get_running_loop().time()
        await calls_and_a_stranger(rig)
        queries = {
            (instance, panel["title"], target["legendFormat"]): filled(target["expr"], instance)
            for instance in (alone, workers)
            for panel in PANELS
            for target in panel["targets"]
        }
        empty = {(instance, *query) for instance in (alone, workers) for query in EMPTY}
        without = set(queries)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while without - empty:  # what counts may not have been looked at yet
                    await asyncio.sleep(1.5)
                    now = float((await prometheus.ask("query", query="time()"))["result"][0])
                    lasted = asyncio.get_running_loop().time() - began
                    for query in sorted(without):
                        if await prometheus.has_data(queries[query], now - lasted, now):
                            without.discard(query)
        assert not without - empty  # on a host that stands still, more may go wrong in calls than usual
        for variable in DASHBOARD["templating"]["list"][1:]:
            label = variable["name"]
            assert await prometheus.ask(f"label/{label}/values", **{"match[]": "voice_agent_calls_running"})


async def calls_and_a_stranger(rig: Any) -> None:
    """One that interrupts, one that books, and somebody who is no Asterisk."""
    rig.speak_slowly(25, until_asked=2)
    await rig.call("say: My tap leaks\ninterrupt 600ms: how much is that in all\nhangup")
    rig.voice.char_ms = 1
    await rig.call(BOOKING, rig.plan(quiet_s=0.3, patience_s=10.0, longest_s=80.0))
    _, stranger = await asyncio.open_connection("127.0.0.1", rig.agent.audio_port)
    stranger.write(b"GET / HTTP/1.1\r\n\r\n")
    await stranger.drain()
    stranger.close()
