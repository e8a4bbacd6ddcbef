"""docs/conversation.md does what it says: its files are a conversation that loads, and its tools run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.call.company import CompanyContext
from agent.conversations import Phrases, load_conversation
from agent.conversations.conversation import PROMPT_FIELDS
from agent.office.store import NewCompany, OfficeStore
from agent.tools.call_control import STANDARD_TOOLS
from agent.tools.registry import Endpoints, ToolContext
from agent.tools.urls import UrlTool

PAGE = (Path(__file__).parents[2] / "docs" / "conversation.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMPANY = CompanyContext(company_name="Mill Lane Bakery", caller_id="+447700900123", transfer_targets={"shop": "2001"})


def bakery(parent: Path, url: str = "https://shop.example/stock") -> Path:
    """The directory that the page tells to make."""
    directory = parent / "bakery"
    directory.mkdir()
    for _, block in BLOCK.findall(PAGE):
        if named := re.match(r"(?:# |<!-- )bakery/(\S+)(?: -->)?\n", block):
            (directory / named[1]).write_text(block.replace("https://shop.example/stock", url), "utf-8")
    assert {path.name for path in directory.iterdir()} == {"conversation.toml", "prompt.md", "tools.py"}
    return directory


def rows(heading: str) -> dict[str, str]:
    """The table under a heading: its first column's names, each with the last column."""
    section = PAGE.split(heading, 1)[1].split("\n#", 1)[0]
    found: dict[str, str] = {}
    for line in re.findall(r"^\| `.*\|$", section, re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[-1])
    return found


async def test_the_bakery_takes_an_order(tmp_path: Path) -> None:
    asked: list[tuple[Mapping[str, str], str]] = []

    async def stock(request: web.Request) -> web.Response:
        asked.append((dict(request.query), request.headers["Authorization"]))
        return web.json_response({"left": 4})

    app = web.Application()
    app.router.add_get("/stock", stock)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        directory = bakery(tmp_path, str(server.make_url("/stock")))
        tools = load_conversation(directory, environment={"SHOP_KEY": "k"}).tools
        context = ToolContext("call-1", COMPANY, http, Endpoints("", ""), data_dir=tmp_path / "data")
        left = await tools.run("stock_of", '{"item": "sourdough & rye"}', context)
        day = await tools.run("ready_by", '{"size": "large"}', context)
        order = {"size": "large", "flavour": "lemon", "name": "Anna"}
        long = await tools.run("order_cake", json.dumps({**order, "writing": "x" * 31}), context)
        done = await tools.run("order_cake", json.dumps(order), context)
    assert (json.loads(left.content), asked) == ({"left": 4}, [({"item": "sourdough & rye"}, "Bearer k")])
    assert json.loads(day.content) == {"result": f"{datetime.now(COMPANY.zone) + timedelta(days=3):%A}"}
    assert json.loads(long.content) == {"error": "the writing is longer than 30 letters; ask for something shorter"}
    assert (done.effect, done.data["booking_id"]) == ("booked", "cake for Anna")
    (line,) = (tmp_path / "data" / "orders.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {**order, "writing": None, "phone": "+447700900123"}
    assert [tools.acts(name) for name in ("ready_by", "order_cake", "stock_of")] == [False, True, False]


def test_the_bakery_speaks(tmp_path: Path) -> None:
    one = load_conversation(bakery(tmp_path), environment={"SHOP_KEY": "k"})
    prompt = one.prompt(COMPANY)
    assert "- opening hours: seven till four" in prompt
    assert "Bakery: Mill Lane Bakery\nCaller ID: known" in prompt
    assert one.greeting(COMPANY).startswith("Mill Lane Bakery, good ")
    assert one.phrases.filler(0) == "Let me have a look."


def test_own_words_are_taken(tmp_path: Path) -> None:
    directory = bakery(tmp_path)
    (words,) = (block for _, block in BLOCK.findall(PAGE) if block.startswith("[words]"))
    file = directory / "conversation.toml"
    file.write_text(file.read_text("utf-8") + words, "utf-8")
    assert "grand" in load_conversation(directory, environment={"SHOP_KEY": "k"}).words.backchannels


async def test_the_dentist_is_entered_as_the_page_says(tmp_path: Path) -> None:
    (code,) = (block for _, block in BLOCK.findall(PAGE) if "NewCompany(" in block)
    names: dict[str, object] = {}
    exec(code, names)  # it is what a reader copies
    url = f"sqlite:///{tmp_path / 'office.sqlite3'}"
    await names["add"](url)  # type: ignore[operator]
    async with await OfficeStore.open(url) as office:
        context = await office.did_context("+441614960789", "")
    assert (context["company_name"], context["conversation"]) == ("Mill Lane Dental", "dentist")
    assert names["NewCompany"] is NewCompany


def test_the_tables_are_what_the_code_has() -> None:
    phrases = rows("## Words")
    assert phrases.keys() - {"{time_of_day}", "MAX_CALL_SECONDS"} == set(Phrases.__slots__)
    defaults = Phrases()
    for name in Phrases.__slots__:
        value = getattr(defaults, name)
        told = phrases[name]
        assert told == (" / ".join(value) if isinstance(value, tuple) else value) or name in told.split(", "), name
    assert {name.strip("{}") for name in rows("## The workflow")} == PROMPT_FIELDS
    assert {name for name in rows("## Tools") if name in STANDARD_TOOLS} == set(STANDARD_TOOLS)
    assert rows("### By URL").keys() == UrlTool.model_fields.keys()
