"""The description of the APIs, and Schemathesis, which holds a running back office to it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from agent.office.openapi import describe

KEY = "right"
STARTS_S = 30.0
EXAMPLES = 200
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`voice-agent office` as a process, with a key for each of the APIs."""
    directory = tmp_path_factory.mktemp("office")
    env_file = directory / "env"
    env_file.write_text(
        f"DATA_DIR={directory}\nBOOKING_API_KEY={KEY}\nCONTEXT_API_KEY={KEY}\nAPI_REQUESTS_PER_MINUTE=1000000\n"
    )
    env_file.chmod(0o600)
    command = [sys.executable, "-m", "agent", "office", "--env-file", str(env_file), "--port", "0", "--seed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            assert found, "the back office did not start"
            yield found[0]
        finally:
            process.terminate()
            process.communicate(timeout=STARTS_S)
    assert process.returncode == 0


def test_schemathesis_finds_nothing(office: str, tmp_path: Path) -> None:
    """Valid and broken requests by the hundred: no 500, each answer as it is described, each broken one refused."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{office}/openapi.json", "--header", f"X-API-Key: {KEY}", "--checks", "all"]
    command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 3" in done.stdout


async def test_the_examples_of_the_description_are_taken(office: str) -> None:
    """They are what a reader copies."""
    async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as http:
        document = await (await http.get(f"{office}/openapi.json")).json()
        models = document["components"]["schemas"]
        for path, item in document["paths"].items():
            name = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            properties = models[name]["properties"]
            body = {
                field: properties[field].get("examples") or properties[field]["enum"]
                for field in models[name]["required"]
            }
            answer = await http.post(office + path, json={field: values[0] for field, values in body.items()})
            assert answer.status in (200, 201), await answer.text()


def test_the_description_says_where_no_key_is_asked_for() -> None:
    open_one = describe(context_needs_key=False)["paths"]["/did_context"]["post"]
    assert open_one["security"] == []
    assert "401" not in open_one["responses"]
    assert describe(context_needs_key=True)["paths"]["/did_context"]["post"]["security"]


async def test_who_asks_too_often_is_told_when_to_come_again(office: str) -> None:
    async with aiohttp.ClientSession(headers={"X-API-Key": "wrong"}) as http:
        answers = await asyncio.gather(*(http.post(f"{office}/did_context", json={}) for _ in range(80)))
        assert {answer.status for answer in answers} == {401, 429}
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert "too many" in (await refused.json())["error"]
