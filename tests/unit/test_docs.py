"""The documentation says what the code says: settings, links, and the Python that readers copy."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

import fastaudio
from tests import docs_scripts

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", textwrap.dedent(code))
        for page in PAGES
        for number, (kind, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
        if kind == language
    ]


def test_docs_settings_page_is_what_the_settings_are() -> None:
    module = docs_scripts.load("make_settings")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/make_settings.py"


def test_docs_monitoring_page_is_what_metrics_and_alerts_are() -> None:
    module = docs_scripts.load("make_monitoring")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/make_monitoring.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_docs_have_no_page_that_readme_does_not_lead_to() -> None:
    linked = {Path(target.partition("#")[0]).name for target in LINK.findall(PAGES[0].read_text(encoding="utf-8"))}
    assert not [page.name for page in PAGES[1:] if page.name not in linked]


@pytest.mark.parametrize("code", [code for _, code in blocks("python")], ids=[name for name, _ in blocks("python")])
def test_docs_python_compiles_and_names_what_fastaudio_has(code: str) -> None:
    tree = ast.parse(code)
    compile(tree, "<documentation>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fastaudio"
    }
    assert not [name for name in used if not hasattr(fastaudio, name)]


def test_docs_readme_has_python_that_can_be_copied() -> None:
    assert any(name.startswith("README") for name, _ in blocks("python"))


def test_docs_env_names_are_settings() -> None:
    """Every NAME=value in an env block is a setting, so that a copied file does what it says."""
    known = {name.upper() for name in docs_scripts.load("make_settings").Settings.model_fields}
    names = {name for _, code in blocks("env") for name in re.findall(r"^([A-Z_]+)=", code, re.MULTILINE)}
    assert names
    assert not names - known


def test_docs_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "img").glob("*.png"))
    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
