"""Writes the tables of docs/monitoring.md from the metrics and the alert rules: `python docs/make_monitoring.py`, or
`--check` to compare only. The text around them is edited there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from agent.ops.metric_families import SECTIONS, Family

DOCS = Path(__file__).parent
PAGE = DOCS / "monitoring.md"
RULES = DOCS.parent / "deploy" / "prometheus" / "voice-agent.rules.yml"
TABLE = re.compile(r"(<!-- (\w+): made by docs/make_monitoring.py -->\n).*?(<!-- end -->)", re.DOTALL)
"""The place of a table, by its name."""
LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


def metrics() -> str:
    """The tables of metrics."""
    lines: list[str] = []
    for title, families in SECTIONS.items():
        lines += [f"### {title}", "", "| metric | kind | what it tells | labels |", "|---|---|---|---|"]
        lines += [row(family) for family in families]
        if title == "The process":
            lines += [f"| `{name}` | {kind} | {text} | |" for name, kind, text in of_the_client()]
        lines.append("")
    return "\n".join(lines)


def row(family: Family) -> str:
    """One metric."""
    kind = family.kind if family.added else f"{family.kind}, of each worker"
    labels = ", ".join(f"`{label}`" for label in family.labels)
    values = ": ".join(part for part in (labels, family.values) if part)
    return f"| `{family.whole_name}` | {kind} | {family.text} | {values} |"


def of_the_client() -> list[tuple[str, str, str]]:
    """What Prometheus's own client tells of a process: name, kind and text."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return [
        (f"{family.name}_total" if family.type == "counter" else family.name, f"{family.type}, of each worker",
         family.documentation.rstrip("."))
        for family in registry.collect()
    ]  # fmt: skip


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"] if "alert" in rule]


def alerts() -> str:
    """The table of alerts."""
    lines = ["| alert | severity | after | what it means | what to do |", "|---|---|---|---|---|"]
    for rule in rules():
        notes = rule["annotations"]
        more = notes["troubleshooting"].removeprefix("docs/")
        what = f"{notes['action']} [More]({more})"
        means = LABEL.sub(lambda label: f"*{label[1]}*", notes["summary"])
        cells = (f"`{rule['alert']}`", rule["labels"]["severity"], rule.get("for", "at once"), means, what)
        lines.append("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |")
    return "\n".join(lines)


def page() -> str:
    """The whole page. Raises `ValueError` when the text has no place for a table."""
    tables = {"metrics": metrics(), "alerts": alerts()}
    text, found = TABLE.subn(
        lambda place: f"{place[1]}{tables.pop(place[2]).strip()}\n{place[3]}", PAGE.read_text(encoding="utf-8")
    )
    if tables:
        raise ValueError(f"{PAGE.name} has {found} tables, and none for {', '.join(tables)}")
    return text


def main() -> int:
    """Write the page, or with `--check` tell whether it is up to date."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/monitoring.md is out of date: run python docs/make_monitoring.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
