"""From `make demo` to hearing its call in the console, by the command that the demo's last line names."""

from __future__ import annotations

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

PIXELS = """(canvas, {at, lane, colour}) => {
    // How many pixels of a lane of the time line have a colour; `at` narrows it to a moment.
    const copy = document.createElement('canvas')
    Object.assign(copy, {width: canvas.width, height: canvas.height})
    const pen = copy.getContext('2d', {willReadFrequently: true})
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue(colour)
    pen.fillRect(0, 0, 1, 1)
    const wanted = [...pen.getImageData(0, 0, 1, 1).data]
    pen.clearRect(0, 0, 1, 1)
    pen.drawImage(canvas, 0, 0)
    const scale = canvas.height / canvas.clientHeight
    const x = at === null ? 0 : Math.round(at * canvas.width) - 2
    const {data} = pen.getImageData(x, lane[0] * scale, at === null ? canvas.width : 5, lane[1] * scale)
    let painted = 0
    for (let i = 0; i < data.length; i += 4) {
        const far = colour ? Math.max(...[0, 1, 2].map(part => Math.abs(data[i + part] - wanted[part]))) : 0
        if (data[i + 3] > 100 && far < 10) painted += 1
    }
    return painted
}"""
CALLER, AGENT, MOMENTS = (20, 54), (80, 54), (136, 20)
"""The lanes of the time line: from its top, and how high, in px."""
LIT = """() => {
    const audio = document.querySelector('audio')
    return [...document.querySelectorAll('.line-text .on')]
        .map(word => [word.textContent, Number(word.dataset.s), Number(word.dataset.e), audio.currentTime * 1000])
}"""


@pytest.fixture
def page(demo_console: Console, logged_in: Path, demo_call: dict[str, Any], window: Callable[..., Watched]) -> Page:
    """The demo's call."""
    page = window(demo_console.url, storage_state=logged_in).page()
    page.goto(f"{demo_console.url}/calls/{demo_call['uuid']}")
    return page


def play(page: Page) -> Locator:
    audio = page.locator("audio")
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, lambda: audio.evaluate("player => player.currentTime") > 0.5)
    return audio


def test_the_demos_call_is_found_and_heard(
    demo: Demo, demo_console: Console, logged_in: Path, demo_call: dict[str, Any], window: Callable[..., Watched]
) -> None:
    assert demo.command[-3:] == ["console", "--data-dir", str(demo.out / "data")]
    page = window(demo_console.url, storage_state=logged_in).page()
    page.goto(f"{demo_console.url}/calls?q=Twelve+Baker+Street&outcome=booked")
    row = page.locator(f"tr:has(a[href='/calls/{demo_call['uuid']}'])")
    expect(row.locator("mark").first).to_be_visible()
    row.get_by_role("link").click()
    page.wait_for_url(f"**/calls/{demo_call['uuid']}")

    said = page.locator(".transcript").inner_text()
    for turn in demo_call["turns"]:
        assert turn["caller"] in said
        assert turn["heard"] in said
    audio = play(page)
    assert audio.evaluate("player => player.error") is None
    assert audio.evaluate("player => player.duration") == pytest.approx(demo_call["seconds"], abs=1.0)
    document = page.request.get(f"{demo_console.url}/calls/{demo_call['uuid']}/record.json").json()
    Draft202012Validator(record_schema()).validate(document)
    assert document["uuid"] == demo_call["uuid"]


def test_words_light_up_as_they_are_heard(page: Page) -> None:
    page.locator(".line.caller [data-s]").first.click()  # where somebody speaks at once
    lit: dict[int, str] = {}

    def some_more() -> bool:
        for text, begin, end, now in page.evaluate(LIT):
            assert begin - 400 <= now <= end + 1000, f"{text!r} is lit at {now:.0f} ms"
            lit[begin] = text
        return len(lit) >= 5

    until(page, some_more)
    words = page.locator(".line-text [data-s]")
    everything = {int(word.get_attribute("data-s") or 0): word.inner_text() for word in words.all()}
    assert lit.items() <= everything.items()
    assert list(lit) == sorted(lit)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_a_click_on_a_word_goes_there(page: Page) -> None:
    word = page.locator(".line.agent [data-s]").nth(30)
    there = int(word.get_attribute("data-s") or 0) / 1000
    assert there > 5
    word.click()
    audio = page.locator("audio")
    until(page, lambda: there - 0.05 <= audio.evaluate("player => player.currentTime") <= there + 3.0)
    assert not audio.evaluate("player => player.paused")
    page.get_by_role("button", name="Pause").click()
    page.locator(".wave").click(position={"x": 1, "y": 40})
    until(page, lambda: audio.evaluate("player => player.currentTime") < 0.2)


def test_both_sides_and_what_happened_are_drawn(page: Page, demo_call: dict[str, Any]) -> None:
    canvas = page.locator(".wave canvas")

    def painted(lane: tuple[int, int], colour: str = "", at: float | None = None) -> int:
        return int(canvas.evaluate(PIXELS, {"at": at, "lane": lane, "colour": colour}))

    page.locator(".wave").press("End")  # what has been heard is drawn in full colour
    until(page, lambda: painted(CALLER, "--caller") > 1500)
    assert painted(AGENT, "--agent") > 1500
    marks = page.request.get(page.url + "/waveform").json()["spans"]
    dots = [mark for mark in marks if mark["kind"] in ("barged", "step", "cut")]
    kinds = {mark["kind"] for mark in dots}
    assert "step" in kinds
    assert kinds & {"barged", "cut"}
    for mark in dots:
        assert painted(MOMENTS, at=mark["at_ms"] / 1000 / demo_call["seconds"]) > 10, mark
    # and where nothing happens nothing is drawn: before the greeting, and at the very end
    assert painted(MOMENTS, at=0.004) == 0
    assert any(mark["kind"] == "wait" for mark in marks)


def test_each_answers_wait_is_drawn(page: Page, demo_call: dict[str, Any]) -> None:
    timed = [turn for turn in demo_call["turns"] if turn["latency_ms"] is not None]
    answers = page.locator(".answers li.answer")
    expect(answers).to_have_count(len(timed))
    for answer, turn in zip(answers.all(), timed, strict=True):
        ms = turn["latency_ms"]
        expect(answer.locator(".answer-ms")).to_contain_text(f"{ms} ms" if ms < 1000 else f"{ms / 1000:.2f}"[:3])
        assert str(turn["stages_ms"]["stt"]) in answer.locator("svg > title").text_content().replace(",", "")  # type: ignore[union-attr]
        bars = answer.locator("rect.wf-bar")
        boxes = [box for box in (bar.bounding_box() for bar in bars.all()) if box]
        assert len(boxes) >= 4
        assert max(box["width"] for box in boxes) > 20
        fills = bars.evaluate_all("bars => bars.map(bar => getComputedStyle(bar).fill)")
        assert len(set(fills)) >= 3
        assert not {"none", "rgba(0, 0, 0, 0)", "rgb(0, 0, 0)"} & set(fills)


def test_tools_and_costs_are_told(page: Page, demo_call: dict[str, Any]) -> None:
    tool = page.locator(".tool-run", has_text="create_booking")
    expect(tool.locator("pre").first).to_be_hidden()
    tool.locator("summary").click()
    expect(tool.locator("pre").first).to_contain_text("SW4 7DQ")
    expect(tool.locator("pre").last).to_contain_text(demo_call["booking_id"])
    cost = page.get_by_role("region", name="What it cost")
    assert demo_call["currency"] == "USD"
    expect(cost).to_contain_text("openai/gpt-oss-120b")
    told = [float(text.strip("$")) for text in cost.locator(".cost-facts dd").all_inner_texts()]
    assert told == pytest.approx([demo_call["costs"][vendor] for vendor in ("stt", "llm", "tts")], abs=0.0006)
    page.get_by_role("link", name=demo_call["booking_id"]).first.click()
    page.wait_for_url(f"**/bookings/{demo_call['booking_id']}")
    expect(page.locator("main")).to_contain_text("12 Baker Street")
