"""A conversation's own tools: found by name, run as they are written, and every mistake in them told with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from agent.call.company import CompanyContext
from agent.conversations import ConversationError, Conversations, load_conversation
from agent.ops.settings import Settings, load_settings
from agent.tools.registry import Endpoints, ToolContext

OWN = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, Literal
from agent.tools import ToolContext, ToolError, ToolResult, tool
import os

@dataclass
class Dish:
    name: str
    price: float

MENU = {"soup": Dish("soup", 6.5)}

def _helper() -> None: ...

@tool
def price_of(dish: Annotated[str, "As on the menu"], context: ToolContext) -> Dish:
    """Look up a price."""
    if dish not in MENU:
        raise ToolError("not on the menu")
    return MENU[dish]

@tool(acts=True)
async def reserve(people: int, when: Literal["lunch", "dinner"] = "dinner") -> ToolResult:
    """Reserve a table."""
    return ToolResult.success({"for": people}, effect="booked", data={"booking_id": "T1"})

def plain(text: str) -> str:
    """No decorator."""
    return text.upper()
'''
URL_TOOL = """
[url_tools.stock_of]
description = "How many are there"
url = "https://shop.example/stock"
headers = { Authorization = "Bearer ${SHOP_KEY}" }
parameters.item = { type = "string", description = "Which" }
"""


def a_directory(parent: Path, tools: list[str], code: str = OWN, more: str = "", name: str = "own") -> Path:
    directory = parent / name
    directory.mkdir()
    toml = f'title = "Own"\nlanguage = "en-GB"\ntools = {json.dumps(tools)}\n{more}'
    (directory / "conversation.toml").write_text(toml, "utf-8")
    (directory / "prompt.md").write_text("You take orders.", "utf-8")
    if code:
        (directory / "tools.py").write_text(code, "utf-8")
    return directory


async def run(directory: Path, name: str, arguments: str) -> object:
    context = ToolContext("call-1", CompanyContext(), cast(aiohttp.ClientSession, None), Endpoints("", ""))
    return json.loads((await load_conversation(directory).tools.run(name, arguments, context)).content)


async def test_functions_urls_and_the_agents_own_in_the_order_they_are_named(tmp_path: Path) -> None:
    names = ["reserve", "stock_of", "end_call", "plain", "price_of"]
    directory = a_directory(tmp_path, names, more=URL_TOOL)
    tools = load_conversation(directory, environment={"SHOP_KEY": "k"}).tools
    assert [tool["function"]["name"] for tool in tools.schemas()] == names
    assert [tools.acts(name) for name in names] == [True, True, True, False, False]
    schema = tools.schemas()[1]["function"]["parameters"]
    assert schema == {
        "type": "object",
        "properties": {"item": {"type": "string", "description": "Which"}},
        "required": ["item"],
        "additionalProperties": False,
    }


async def test_they_run(tmp_path: Path) -> None:
    directory = a_directory(tmp_path, ["price_of", "reserve", "plain"])
    assert await run(directory, "price_of", '{"dish": "soup"}') == {"name": "soup", "price": 6.5}
    assert await run(directory, "price_of", '{"dish": "cake"}') == {"error": "not on the menu"}
    assert await run(directory, "reserve", '{"people": 4}') == {"for": 4}
    assert await run(directory, "plain", '{"text": "a"}') == {"result": "A"}


def test_an_own_function_takes_the_place_of_the_agents_tool_of_its_name(tmp_path: Path) -> None:
    code = 'def end_call(reason: str) -> None:\n    """Mine."""\n'
    tools = load_conversation(a_directory(tmp_path, ["end_call"], code)).tools
    assert tools.schemas()[0]["function"]["description"] == "Mine."


def test_two_conversations_have_functions_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        a_directory(tmp_path, ["hello"], f'def hello() -> str:\n    """{name}"""\n    return "{name}"\n', name=name)
    conversations = Conversations.load("one", directory=tmp_path)
    described = [
        conversations.of(CompanyContext(conversation=name)).tools.schemas()[0]["function"]["description"]
        for name in ("one", "two")
    ]
    assert described == ["one", "two"]


@pytest.mark.parametrize(
    ("tools", "code", "more", "told"),
    [
        (
            ["plian", "price_of", "reserve"],
            OWN,
            "",
            r"tools has 'plian'; is plain meant\? There are .*price_of, reserve",
        ),
        (["_helper", "price_of", "reserve"], OWN, "", r"tools has '_helper'; .*there are"),
        (["os", "price_of", "reserve"], OWN, "", r"tools has 'os'"),
        (["tool", "price_of", "reserve"], OWN, "", r"tools has 'tool'"),
        (["plain", "reserve"], OWN, "", r"the tool price_of is there, and tools does not name it"),
        (["end_call"], "", URL_TOOL, r"the tool stock_of is there, and tools does not name it"),
        (["x"], "def x(:\n", "", r"tools\.py, line 1: SyntaxError"),
        (["x"], "import os\n\n1 / 0\n", "", r"tools\.py, line 3: ZeroDivisionError"),
        (["x"], "import sys\nsys.exit(0)\n", "", r"tools\.py, line 2: SystemExit"),
        (["x"], "import nonesuch_module\n", "", r"tools\.py, line 1: ModuleNotFoundError: .*nonesuch_module"),
        (["x"], "def x(a) -> None:\n    'X.'\n", "", r"tools\.py: x: a has no type; write for example a: str"),
        (["x"], "def x(a: int) -> None: ...\n", "", r"tools\.py: x has no docstring"),
        (["stock_of"], "", URL_TOOL, r"conversation\.toml: url_tools\.stock_of: headers\.Authorization needs SHOP_KEY"),
        (["stock_of"], "", URL_TOOL.replace("https", "gopher"), r"url_tools\.stock_of\.url: .*must begin with https"),
        (
            ["stock_of"],
            "",
            URL_TOOL.replace("headers =", "header ="),
            r"url_tools\.stock_of\.header is no key; is headers meant\?",
        ),
        (
            ["stock_of"],
            "",
            URL_TOOL.replace('"string"', '"text"').replace("${SHOP_KEY}", "k"),
            r"'stock_of' are no JSON schema",
        ),
    ],
)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, tools: list[str], code: str, more: str, told: str) -> None:
    with pytest.raises(ConversationError) as caught:
        load_conversation(a_directory(tmp_path, tools, code, more), environment={})
    assert re.search(told, str(caught.value)), str(caught.value)


def test_code_that_anybody_may_change_is_not_run(tmp_path: Path) -> None:
    directory = a_directory(tmp_path, ["plain"], "raise AssertionError('it ran')\n")
    (directory / "tools.py").chmod(0o666)
    with pytest.raises(ConversationError, match=r"may be changed by anybody .*chmod o-w"):
        load_conversation(directory)


def test_secrets_come_from_the_env_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_TEST_ONE", "outside")
    file = tmp_path / "agent.env"
    file.write_text("VOICE_TEST_ONE=inside\nVOICE_TEST_TWO=file\n", "utf-8")
    file.chmod(0o600)
    environment = load_settings(file).environment
    assert (environment["VOICE_TEST_ONE"], environment["VOICE_TEST_TWO"]) == ("outside", "file")
    assert "VOICE_TEST_TWO" not in Settings().environment  # type: ignore[call-arg]
