"""Plots as SVG: ticks, places, what is told to those who do not see them, and nothing that a text could break."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from agent.office.console.plots import HEIGHT, TOP, Plot, Series, change, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("highest", "whole_only", "expected"),
    [
        (0, True, [0, 1]),
        (1, True, [0, 1]),
        (3, True, [0, 1, 2, 3]),
        (7, True, [0, 2, 4, 6, 8]),
        (10, True, [0, 5, 10]),
        (42, True, [0, 20, 40, 60]),
        (1234, True, [0, 500, 1000, 1500]),
        (0.3, False, [0, 0.1, 0.2, 0.3]),
        (0.0007, False, [0, 0.0002, 0.0004, 0.0006, 0.0008]),
        (float("nan"), True, [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_highest(highest: float, whole_only: bool, expected: list[float]) -> None:
    assert ticks(highest, whole_only=whole_only) == expected


def parsed(plot: Plot) -> ElementTree.Element:
    """As a browser reads it within a page: an HTML parser knows the namespace by itself."""
    return ElementTree.fromstring(str(plot.svg()).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_bars_stand_on_each_other() -> None:
    plot = Plot(
        "calls", "Calls", "Calls a day", ["1", "2"], [Series("booked", [2, 0], "1"), Series("other", [2, 4], "2")]
    )
    bars = parsed(plot).findall(f".//{SVG}rect[@rx]")
    places = [(bar.get("class"), float(bar.get("y", "")), float(bar.get("height", ""))) for bar in bars]
    half = HEIGHT / 2
    assert places == [
        ("pile fill-1", TOP + half, half),
        ("pile fill-2", TOP, half - 1),
        ("pile fill-2", TOP, HEIGHT),
    ]
    widths = [float(bar.get("width", "").removesuffix("%")) for bar in bars]
    begins = [float(bar.get("x", "").removesuffix("%")) for bar in bars]
    assert all(begin >= 0 and begin + width <= 100 for begin, width in zip(begins, widths, strict=True))


def test_a_line_breaks_where_nothing_was_measured() -> None:
    values = [100, 200, None, 300, None, 400, 500]
    plot = Plot("wait", "Wait", "", [str(day) for day in range(7)], [Series("median", values)], kind="lines")
    drawn = parsed(plot)
    lines = [path for path in drawn.findall(f".//{SVG}path") if "series" in path.get("class", "")]
    assert [len(path.get("d", "").split("L")) for path in lines] == [2, 2]
    assert len(drawn.findall(f".//{SVG}circle[@class='dot lone fill-1']")) == 1, "one day alone is a dot"


def test_it_is_told_in_words_and_as_a_table() -> None:
    plot = Plot(
        "cost",
        "Cost",
        "What each day cost",
        ["1 Jun", "2 Jun"],
        [Series("cost", [1.5, None])],
        words=lambda value: f"£{value:.2f}",
        long_days=["Monday 1 June", "Tuesday 2 June"],
    )
    drawn = parsed(plot)
    assert drawn.get("role") == "img"
    ids = drawn.get("aria-labelledby", "").split()
    named = [element.text for ref in ids for element in drawn.iter() if element.get("id") == ref]
    assert named == ["Cost", "What each day cost"]
    assert plot.rows() == [("Monday 1 June", ["£1.50"]), ("Tuesday 2 June", ["–"])]
    titles = [title.text for title in drawn.findall(f".//{SVG}g/{SVG}title")]
    assert titles == ["Monday 1 June: cost £1.50", "Tuesday 2 June: nothing"]


def test_texts_are_escaped_and_nothing_is_styled_in_place() -> None:
    plot = Plot("x", "<b>&", '"><script>', ["<i>"], [Series("<u>", [1])])
    drawn = str(plot.svg())
    for bad in ("<b>", "<script", "<i>", "<u>", "style="):
        assert bad not in drawn
    parsed(plot)


def test_days_are_named_from_the_last_one_back() -> None:
    days = [str(day) for day in range(30)]
    drawn = parsed(Plot("x", "x", "x", days, [Series("x", [1] * 30)]))
    names = {
        text.text: text.get("class", "") for text in drawn.findall(f".//{SVG}text") if "name" in text.get("class", "")
    }
    assert "29" in names
    assert "few" in names["29"]
    assert 3 <= sum("few" in style for style in names.values()) <= 6
    assert len(names) <= 10


def test_nothing_to_see_is_empty() -> None:
    assert Plot("x", "x", "x", ["a"], [Series("x", [0]), Series("y", [None])]).empty
    assert not Plot("x", "x", "x", ["a"], [Series("x", [0.1])]).empty


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [(12, 10, "+20 %"), (5, 10, "−50 %"), (10, 10, "±0 %"), (1, 0, ""), (None, 3, ""), (3, None, ""), (0, 4, "−100 %")],
)
def test_a_change_in_words(now: float | None, before: float | None, expected: str) -> None:
    assert change(now, before) == expected
