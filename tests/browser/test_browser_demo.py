"""From `make demo` to hearing its call in the console, by the command that the demo's last line names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from playwright.sync_api import Page, expect

from agent.call.record_schema import record_schema
from tests.browser.conftest import Console, Demo, Watched, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator


@pytest.fixture
def record(demo: Demo) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((demo.out / "call.json").read_text("utf-8"))
    return document


def play(page: Page) -> Locator:
    audio = page.locator("audio")
    audio.evaluate("player => player.play()")
    until(page, lambda: audio.evaluate("player => player.currentTime") > 0.5)
    return audio


def test_the_demos_call_is_seen_and_heard(
    demo: Demo, demo_console: Console, logged_in: Path, record: dict[str, Any], window: Callable[..., Watched]
) -> None:
    assert demo.command[-3:] == ["console", "--data-dir", str(demo.out / "data")]
    page = window(demo_console.url, storage_state=logged_in).page()
    page.goto(f"{demo_console.url}/calls?text=leaking+tap")
    page.get_by_role("link", name="Thames Plumbing").or_(
        page.locator(f"a[href='/calls/{record['uuid']}']")
    ).first.click()
    page.wait_for_url(f"**/calls/{record['uuid']}")

    said = page.locator("main").inner_text()
    for turn in record["turns"]:
        assert turn["caller"].split()[:1] == [] or turn["caller"].split()[0] in said
    audio = play(page)
    assert audio.evaluate("player => player.error") is None
    assert audio.evaluate("player => player.duration") == pytest.approx(record["seconds"], abs=1.0)
    document = page.request.get(f"{demo_console.url}/calls/{record['uuid']}/record.json").json()
    Draft202012Validator(record_schema()).validate(document)
    expect(page.locator("h1")).to_have_count(1)
