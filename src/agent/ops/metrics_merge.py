"""The metrics of several workers as one page.

Counters and histograms are added up, and so are gauges of which the sum says something (`metric_families.py`); any
other gauge, and all that a process tells of itself (`process_…`, `python_…`), keeps the worker's name as a label.

What is added up never goes back: a worker that has ended has had its calls, and the one that is started in its place
begins at nothing. So a `Merger` keeps what each worker counted that is gone, as of its last page. What it counted
between that page and its end is lost: a worker that is drained is to be asked once more before it goes (`note`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from prometheus_client.utils import floatToGoString as number

from agent.ops.metric_families import FAMILIES

STARTED: Final = "process_start_time_seconds"
"""Whose value tells one process from the next one that has its number."""
OF_A_PROCESS: Final = ("process_", "python_")
ADDED: Final = frozenset(family.whole_name for family in FAMILIES.values() if family.kind == "gauge" and family.added)

Samples: TypeAlias = dict[str, dict[str, float]]
"""Values by family, then by name and labels as they stand on the page."""


def merged(pages: Mapping[str, bytes]) -> bytes:
    """The pages of workers, by their names, as one; of workers that were there before nothing is known."""
    return Merger().page(pages)


class Merger:
    """Keeps what workers counted that are gone. Its memory is that of a page for each worker, and one more."""

    def __init__(self) -> None:
        self._gone: Samples = {}
        self._last: dict[str, _Page] = {}
        self._heads: dict[str, list[str]] = {}
        """By family: its HELP and TYPE."""

    def page(self, pages: Mapping[str, bytes]) -> bytes:
        """All of them as one, in Prometheus's text format.

        A worker that is not among `pages`, because it is gone or did not answer, counts with what it told last; its
        gauges are left out.
        """
        for worker, text in pages.items():
            self.note(worker, text)
        return "".join(self._lines(pages.keys())).encode()

    def note(self, worker: str, text: bytes) -> None:
        """What a worker tells: for the last words of one that is about to end."""
        page = _read(text.decode(), worker)
        last = self._last.get(worker)
        if last is not None and page.started != last.started:
            _add(self._gone, last.added)
        self._last[worker] = page
        self._heads = page.heads | self._heads

    def _lines(self, present: Collection[str]) -> Iterator[str]:
        sums: Samples = {family: {} for family in self._heads}
        _add(sums, self._gone)
        for worker, page in self._last.items():
            _add(sums, page.added)
            if worker in present:
                _add(sums, page.now)
        for family, samples in sums.items():
            if samples:
                yield from self._heads[family]
            for sample, value in samples.items():
                yield f"{sample} {number(value)}\n"  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class _Page:
    """One worker's page."""

    heads: dict[str, list[str]] = field(default_factory=dict)
    added: Samples = field(default_factory=dict)
    """What stays when the worker is gone."""
    now: Samples = field(default_factory=dict)
    started: float = 0.0


def _read(text: str, worker: str) -> _Page:
    """Take a page apart. It is of our own making: no time stamps, and the lines of a family together."""
    page = _Page()
    label = f'worker="{worker}"'
    head: list[str] = []
    into: dict[str, float] = {}
    labelled = False
    for line in text.splitlines(keepends=True):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            head.append(line)
            page.heads[name] = head
            stays = kind in ("counter", "histogram") and not name.startswith(OF_A_PROCESS)
            labelled = not stays and name not in ADDED
            into = (page.added if stays else page.now).setdefault(name, {})
            head = []
        elif line.startswith("#"):
            head.append(line)
        else:
            sample, _, value = line.rstrip().rpartition(" ")
            if sample == STARTED:
                page.started = float(value)
            into[_with(sample, label) if labelled else sample] = float(value)
    return page


def _with(sample: str, label: str) -> str:
    """The sample with one more label."""
    name, brace, rest = sample.partition("{")
    return f"{name}{{{label},{rest}" if brace else f"{name}{{{label}}}"


def _add(sums: Samples, more: Samples) -> None:
    for family, samples in more.items():
        into = sums.setdefault(family, {})
        for sample, value in samples.items():
            into[sample] = into.get(sample, 0.0) + value
