"""What `voice-agent top` makes of a page: order, filter, cells and lines, without a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from agent.ops.live_page import last_digits, vendors_together
from agent.top.once import table
from agent.top.view import BY_TIME, COLUMNS, SORTS, WORKER, bar, chosen, columns_of, decibels, details, head, widths

NOW = 1_795_464_000_000


def a_call(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "uuid": f"00000000-0000-4000-8000-00000000000{number}", "worker": 0, "company": "Thames Plumbing",
        "caller": f"…12{number}", "line": "…123", "started": NOW - 1000 * (60 + number), "doing": "listening",
        "steps": ["Greeting", "Quote", "Postcode"], "step": 1, "turns": 3, "latency_ms": 400 + number,
        "listeners": 0, "levels": [0, 3000], **changes,
    }  # fmt: skip


def a_page(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "now": NOW, "uptime_s": 4000, "status": "ok", "max_calls": 100, "announced": 1,
        "today": {"minutes": 143.2, "spending": 3.214}, "refused": {"lag": 2, "calls": 0}, "turned_away": {"peer": 3},
        "outbox": {"waiting": 2, "sending": 0, "accepted": 9, "uncertain": 1, "refused": 0, "dropped": 0},
        "vendors": {"stt nova-3": {"state": "closed", "rest_s": 0.0}, "tts cartesia": {"state": "open", "rest_s": 4.2}},
        "workers": [
            {"number": 0, "pid": 7, "state": "serving", "calls": 1, "loop_lag_ms": 2.0, "media_lateness_ms": 1.0}
        ],
        "calls": list(calls), **changes,
    }  # fmt: skip


def test_the_order_is_what_was_asked_for_and_equals_keep_theirs() -> None:
    calls = [a_call(1), a_call(2, company="acme", latency_ms=None), a_call(3, turns=9), a_call(4, worker=2)]

    def order(name: str, backwards: bool = False) -> list[int]:
        by = next(column for column in SORTS if column.name == name)
        return [int(call["uuid"][-1]) for call in chosen(calls, "", by, backwards)]

    assert order("Time") == [4, 3, 2, 1], "who has been there for longest comes first"
    assert order("Time", backwards=True) == [1, 2, 3, 4]
    assert order("Answer") == [4, 3, 1, 2]
    assert order("Turns")[0] == 3
    assert order("Company")[0] == 2
    assert order("W", backwards=True)[0] == 4


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", [4, 3, 2, 1]), ("PLUMB", [4, 3, 1]), ("122", [2]), ("…123 quote", [3]), ("w2", [4]), ("thinking", [2]),
        ("x", []),
    ],
)  # fmt: skip
def test_all_the_words_must_be_there(wanted: str, found: list[int]) -> None:
    calls = [a_call(1), a_call(2, company="acme", doing="thinking"), a_call(3), a_call(4, worker=2)]
    assert [int(call["uuid"][-1]) for call in chosen(calls, wanted, BY_TIME)] == found


@pytest.mark.parametrize("room", [78, 100, 200])
def test_columns_fill_the_room_and_cells_their_columns(room: int) -> None:
    columns = (*COLUMNS, WORKER)
    chosen_widths = widths(columns, room)
    assert sum(chosen_widths) + len(columns) == room
    long = a_call(1, company="A company with a very long name indeed, and sons" * 9, steps=["s" * 300], step=0, turns=7)
    for call in (a_call(1), long, a_call(2, latency_ms=None, levels=None, company="", caller="", steps=[])):
        for column, width in zip(columns, chosen_widths, strict=True):
            cell = column.fit(column.cell(call, NOW), width)
            assert cell.cell_len <= width
            assert "\n" not in cell.plain
            if column.right:
                assert cell.cell_len == width


def test_levels_are_small_bars() -> None:
    assert [decibels(level) for level in (0, 1, 33, 32768)] == [-60, -60, pytest.approx(-59.9, abs=0.1), 0]
    assert [bar(level) for level in (0, 32768)] == ["    ", "████"]
    assert len({bar(level) for level in (100, 400, 1600, 6400, 25600)}) == 5
    assert all(len(bar(level, 16)) == 16 for level in range(0, 32769, 331))


def test_the_lines_above_say_what_is_wrong() -> None:
    text = head(a_page(a_call(1)), "http://h:1").plain
    for words in (
        "1 of 100 + 1 announced", "143 min, cost 3.21", "● stt nova-3", "○ tts cartesia rests 4 s",
        "2 waiting, 1 uncertain", "refused 2 lag", "turned away 3 peer", "http://h:1", "up 1:06:40",
    ):  # fmt: skip
        assert words in text
    assert "workers" not in text
    two = [a_page()["workers"][0] | {"number": n, "state": state} for n, state in ((1, "serving"), (2, "gone"))]
    page = a_page(a_call(1), workers=two)
    assert "2 1 calls gone" in head(page, "").plain
    assert (columns_of(page)[-1], columns_of(a_page())[-1].name) == (WORKER, "Levels")


def test_details_have_everything_that_is_told() -> None:
    text = details(a_call(1, listeners=2), NOW, [300, 1400]).plain
    for words in ("…121", "line …123", "1:01", "✓ Greeting", "▶ Quote", "· Postcode", "401 ms", "listening in 2", "▂▄"):
        assert words in text
    assert "has none" in details(a_call(1, steps=[], step=0, latency_ms=None), NOW).plain


def test_a_plain_table_has_a_line_for_each_call() -> None:
    lines = table(a_page(a_call(1), a_call(2, company="", latency_ms=None)), "http://h:1", "")
    above = [line for line in lines if line.startswith("# ")]
    assert lines[: len(above)] == above
    rows = [line.split() for line in lines[len(above) :]]
    assert rows[0][0] == "UUID"
    assert rows[1] == [a_call(2)["uuid"], "0", "-", "…122", "listening", "Quote", "62", "-", "3"]
    assert rows[2][2:4] == ["Thames", "Plumbing"]
    assert len(table(a_page(a_call(1), a_call(2)), "", "…122")) == len(lines) - 1


def test_of_a_number_three_digits_are_told_at_most() -> None:
    numbers = ["+447700900123", "2001", "101", "7", "", "anonymous", "+44 7700 900124"]
    assert [last_digits(number) for number in numbers] == ["…123", "…01", "…1", "…", "", "…", "…124"]


def test_of_several_processes_the_worst_counts() -> None:
    together = vendors_together(
        [
            {"llm": {"state": "closed", "rest_s": 0.0, "failed": 1}, "tts": {"state": "trying", "rest_s": 0.0}},
            {"llm": {"state": "open", "rest_s": 3.0, "failed": 2, "succeeded": 5}},
        ]
    )
    assert together == {
        "llm": {"state": "open", "rest_s": 3.0, "failed": 3, "succeeded": 5},
        "tts": {"state": "trying", "rest_s": 0.0},
    }
