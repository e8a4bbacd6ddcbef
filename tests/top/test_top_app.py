"""`voice-agent top` as somebody uses it: Textual's pilot presses the keys, a small server is the agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from agent.top import app as top_app
from agent.top import source as top_source
from agent.top.app import Top
from agent.top.once import look_once
from agent.top.source import LiveSource, NoAgent
from tests.top.test_top_view import a_call, a_page


class Fake:
    """The page `/live`, and what is wrong with it."""

    def __init__(self) -> None:
        self.page: Any = a_page(a_call(1), a_call(2, company="Acme"), a_call(3))
        self.status = 200
        self.looks = 0
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.looks += 1
        return web.Response(text=json.dumps(self.page), status=self.status)


@pytest.fixture
async def agent() -> AsyncIterator[Fake]:
    fake = Fake()
    app = web.Application()
    app.router.add_get("/live", fake.answer)
    async with TestServer(app) as server:
        fake.url = f"http://127.0.0.1:{server.port}"
        yield fake


@asynccontextmanager
async def looking(fake: Fake, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Top, Pilot[int]]]:
    async with LiveSource(fake.url) as source:
        top = Top(source, 0.05)
        async with top.run_test(size=size) as pilot:
            await until(pilot, lambda: fake.looks > 1)
            yield top, pilot


async def until(pilot: Pilot[int], condition: Callable[[], object]) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("it does not come about")


def shown(top: Top) -> list[str]:
    """The last digits of the calls in the table, from top to bottom."""
    table: DataTable[Text] = top.query_one("#calls", DataTable)
    return [str(table.get_row_at(row)[1]).strip()[-1] for row in range(table.row_count)]


def text_of(top: Top, name: str) -> str:
    widget = top.query_one(name, Static)
    return str(widget.render())


@pytest.mark.parametrize("size", [(80, 24), (60, 12), (200, 50)])
async def test_calls_are_there_and_fit(agent: Fake, size: tuple[int, int]) -> None:
    async with looking(agent, size) as (top, _pilot):
        assert shown(top) == ["3", "2", "1"]
        table: DataTable[Text] = top.query_one("#calls", DataTable)
        if size[0] >= 80:
            assert table.virtual_size.width <= size[0], "nothing is out of sight"
        assert top.query_one("Footer").region.bottom == size[1]
        assert "3 of 100" in text_of(top, "#head")


async def test_calls_come_change_and_go_under_the_cursor(agent: Fake) -> None:
    async with looking(agent) as (top, pilot):
        await pilot.press("down", "down")
        assert top._selected.endswith("1")
        agent.page = a_page(a_call(1, doing="thinking"), a_call(3), a_call(4))
        await until(pilot, lambda: shown(top) == ["4", "3", "1"])
        assert top._selected.endswith("1"), "the cursor stays on its call"
        table: DataTable[Text] = top.query_one("#calls", DataTable)
        assert str(table.get_row_at(2)[2]) == "thinking"
        agent.page = a_page()
        await until(pilot, lambda: not shown(top))
        agent.page = a_page(a_call(5))
        await until(pilot, lambda: shown(top) == ["5"])


async def test_keys_sort_filter_and_show_details(agent: Fake) -> None:
    async with looking(agent) as (top, pilot):
        await pilot.press("r")
        assert shown(top) == ["1", "2", "3"]
        await pilot.press("r", "s", "s")
        assert top._by.name == "Turns"
        await pilot.press("slash", *"acme")
        await until(pilot, lambda: shown(top) == ["2"])
        assert "only: acme" in text_of(top, "#head")
        await pilot.press("enter")
        assert not top.query_one("#filter", Input).has_class("shown")
        assert shown(top) == ["2"], "the filter holds when its field is closed"
        await pilot.press("enter")
        assert top.query_one("#details").has_class("shown")
        assert "Acme" in text_of(top, "#details")
        assert a_call(2)["uuid"] in text_of(top, "#details")
        await pilot.press("escape")
        assert sorted(shown(top)) == ["1", "2", "3"], "first the filter goes"
        await pilot.press("escape")
        assert not top.query_one("#details").has_class("shown")
        await pilot.press("question_mark")
        assert top.query_one("#help").has_class("shown")
        assert top.query_one("#help").region.bottom <= 23


async def test_pause_stops_the_picture(agent: Fake) -> None:
    async with looking(agent) as (top, pilot):
        await pilot.press("p")
        agent.page = a_page()
        seen = agent.looks
        await until(pilot, lambda: agent.looks > seen + 3)
        assert len(shown(top)) == 3
        assert "paused" in text_of(top, "#head")
        await pilot.press("p")
        await until(pilot, lambda: not shown(top))


async def test_an_agent_that_goes_is_said_and_one_that_comes_back_is_seen(
    agent: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_app, "AGAIN_S", (0.05,))
    async with looking(agent) as (top, pilot):
        agent.status = 403
        await until(pilot, lambda: top.query_one("#banner").has_class("shown"))
        assert "ALLOWED_PEERS" in text_of(top, "#banner")
        assert "Below is how it was" in text_of(top, "#banner")
        assert len(shown(top)) == 3
        await pilot.resize_terminal(120, 40)
        assert top.query_one("#banner").has_class("shown")
        agent.status = 200
        agent.page = a_page(a_call(7))
        await until(pilot, lambda: shown(top) == ["7"])
        assert not top.query_one("#banner").has_class("shown")


async def test_it_waits_for_an_agent_that_is_not_there_yet_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LiveSource("127.0.0.1:9") as source:
        top = Top(source)
        async with top.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: top.query_one("#banner").has_class("shown"))
            assert "nobody answers at http://127.0.0.1:9: Connection refused" in text_of(top, "#banner")
            await pilot.press("q")
        assert top.return_code == 0
        top._row_highlighted()  # as comes of rows that were drawn just before


async def test_what_is_no_page_of_an_agent_is_said(agent: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LiveSource(agent.url) as source:
        for agent.page in ([], {"calls": 3}, "x"):
            with pytest.raises(NoAgent, match="another program"):
                await source.look()
        agent.status = 404
        with pytest.raises(NoAgent, match="HTTP_PORT"):
            await source.look()
        agent.status, agent.page = 200, a_page(*[a_call(1)] * 50)
        assert len((await source.look())["calls"]) == 50
        monkeypatch.setattr(top_source, "LARGEST", 2000)
        with pytest.raises(NoAgent, match="too large"):
            await source.look()
    for url in ("", "http://", "ftp://h"):
        with pytest.raises(ValueError, match="no address of an agent"):
            LiveSource(url)


async def test_once_prints_or_says_why_not(agent: Fake) -> None:
    said: list[str] = []
    wrong: list[str] = []
    async with LiveSource(agent.url) as source:
        assert await look_once(source, said.append, wrong.append, as_json=True) == 0
        assert json.loads(said[-1]) == agent.page
        assert await look_once(source, said.append, wrong.append, wanted="acme", as_json=False) == 0
        assert len([line for line in said[-1].splitlines() if line.startswith("0000")]) == 1
        agent.status = 500
        assert await look_once(source, said.append, wrong.append, as_json=False) == 1
    assert wrong == [f"{agent.url} answers with status 500"]
