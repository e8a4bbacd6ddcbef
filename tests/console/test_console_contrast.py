"""The design's colours, by WCAG 2.2: text 4.5 to 1 on what it stands on, borders of fields and marks 3 to 1."""

from __future__ import annotations

import re

import pytest

from agent.office.console.static_files import FOLDER

SHEET = (FOLDER / "console.css").read_text()
GROUNDS = ("ground", "surface", "raised", "sunken")
TEXT = [(ink, ground) for ink in ("text", "muted", "accent", "accent-strong", "bad") for ground in GROUNDS]
TEXT += [(ink, f"{ink}-soft") for ink in ("good", "warn", "bad", "info", "caller", "agent")]
TEXT += [("accent-strong", "accent-soft"), ("text", "accent-soft"), ("muted", "accent-soft")]
TEXT += [("on-accent", "accent"), ("on-accent", "accent-strong")]
TEXT += [(ink, "surface") for ink in ("good", "warn", "info", "caller", "agent")]
MARKS = [(mark, ground) for mark in ("line-strong", "focus") for ground in GROUNDS]
MARKS += [(f"series-{number}", "surface") for number in range(1, 7)]
MARKS += [("accent", "sunken"), ("caller", "sunken")]


def tokens(theme: str) -> dict[str, str]:
    """The colours of a theme, by name."""
    start = SHEET.index(':root[data-theme="dark"] {' if theme == "dark" else ":root {")
    block = SHEET[start : SHEET.index("}", start)]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb"."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_is_the_one_of_the_recommendation() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_both_themes_have_the_same_colours() -> None:
    assert tokens("dark").keys() == tokens("light").keys()
    assert {name for pair in (*TEXT, *MARKS) for name in pair} <= tokens("light").keys()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(theme: str) -> None:
    colours = tokens(theme)
    too_low = {
        f"{ink} on {ground}": round(found, 2)
        for ink, ground in TEXT
        if (found := contrast(colours[ink], colours[ground])) < 4.5
    }
    assert not too_low


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_can_be_seen(theme: str) -> None:
    colours = tokens(theme)
    too_low = {
        f"{mark} on {ground}": round(found, 2)
        for mark, ground in MARKS
        if (found := contrast(colours[mark], colours[ground])) < 3
    }
    assert not too_low
