"""The pages of several workers as one: sums are sums, histograms stay monotone, and nothing goes back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.ops.metrics_merge import STARTED, Merger, merged

BOUNDS = (0.1, 1.0, 5.0)
WORKERS = ("1", "2", "3")
LABELS = st.sampled_from(["plain", "with space", 'with "quotes"', "back\\slash", "line\nfeed", "{brace}", "ü"])


class Worker:
    """What one process counts, by the client that the agent has."""

    def __init__(self, started: float) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("voice_agent_calls", "Calls", ["outcome"], registry=self.registry)
        self.running = Gauge("voice_agent_calls_running", "Running", registry=self.registry)
        self.lag = Gauge("voice_agent_loop_lag_seconds", "Lag", registry=self.registry)
        self.stages = Histogram(
            "voice_agent_turn_stage_seconds", "Stages", ["stage"], registry=self.registry, buckets=BOUNDS
        )
        Gauge(STARTED, "Start", registry=self.registry).set(started)

    def page(self) -> bytes:
        return generate_latest(self.registry)


Deed = tuple[str, str, str, float]
"""Of which worker: ("call", outcome), ("turn", stage, seconds), ("running", count), ("restart",), ("look",)."""
DEEDS: st.SearchStrategy[list[Deed]] = st.lists(
    st.tuples(
        st.sampled_from(WORKERS),
        st.sampled_from(["call", "call", "turn", "turn", "running", "restart", "look"]),
        LABELS,
        st.floats(0, 10),
    ),
    max_size=40,
)


def samples(page: bytes) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), sample.value


@given(DEEDS)
def test_what_is_added_up_is_the_sum_and_never_goes_back(deeds: list[Deed]) -> None:
    started = iter(range(1, 1000))
    workers = {name: Worker(next(started)) for name in WORKERS}
    merger = Merger()
    calls: defaultdict[str, int] = defaultdict(int)
    turns: defaultdict[str, list[float]] = defaultdict(list)
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for name, what, label, value in [*deeds, ("1", "look", "", 0.0)]:
        worker = workers[name]
        match what:
            case "call":
                worker.calls.labels(label).inc()
                calls[label] += 1
            case "turn":
                worker.stages.labels(label).observe(value)
                turns[label].append(value)
            case "running":
                worker.running.set(int(value))
                worker.lag.set(value)
            case "restart":
                merger.note(name, worker.page())
                workers[name] = Worker(next(started))
            case "look":
                page = merger.page({each: workers[each].page() for each in WORKERS})
                found = {(sample, labels): number for sample, labels, number in samples(page)}
                counted = {
                    key: number for key, number in found.items() if key[0].endswith(("_total", "_count", "_bucket"))
                }
                assert all(counted[key] >= number for key, number in before.items())
                before = counted
                check(found, workers, calls, turns)


def check(
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float],
    workers: dict[str, Worker],
    calls: dict[str, int],
    turns: dict[str, list[float]],
) -> None:
    for outcome, number in calls.items():
        assert found["voice_agent_calls_total", (("outcome", outcome),)] == number
    for stage, seconds in turns.items():
        of_stage = (("stage", stage),)
        assert found["voice_agent_turn_stage_seconds_count", of_stage] == len(seconds)
        assert math.isclose(found["voice_agent_turn_stage_seconds_sum", of_stage], math.fsum(seconds), abs_tol=1e-9)
        rising = [
            found["voice_agent_turn_stage_seconds_bucket", (("le", bound), ("stage", stage))]
            for bound in (*map(str, BOUNDS), "+Inf")
        ]
        assert rising == sorted(rising)
        assert rising[-1] == len(seconds)
        assert rising[0] == sum(value <= BOUNDS[0] for value in seconds)
    running = sum(next(iter(worker.running.collect())).samples[0].value for worker in workers.values())
    assert found["voice_agent_calls_running", ()] == running
    for name, worker in workers.items():
        lag = next(iter(worker.lag.collect())).samples[0].value
        assert found["voice_agent_loop_lag_seconds", (("worker", name),)] == lag


def test_a_worker_that_died_without_a_word_counts_with_its_last_page() -> None:
    merger = Merger()
    first = Worker(1.0)
    first.calls.labels("booked").inc(3)
    first.running.set(2)
    merger.page({"1": first.page()})
    first.calls.labels("booked").inc()  # nobody will hear of it
    gone = dict(((name, labels), value) for name, labels, value in samples(merger.page({})))
    assert gone["voice_agent_calls_total", (("outcome", "booked"),)] == 3
    assert ("voice_agent_calls_running", ()) not in gone, "a worker that does not answer has no gauges"
    second = Worker(2.0)
    second.calls.labels("booked").inc()
    now = dict(((name, labels), value) for name, labels, value in samples(merger.page({"1": second.page()})))
    assert now["voice_agent_calls_total", (("outcome", "booked"),)] == 4
    assert now["voice_agent_calls_running", ()] == 0


def test_one_page_stays_what_it_is() -> None:
    worker = Worker(1.0)
    worker.calls.labels("booked").inc(7)
    worker.stages.labels("whole").observe(0.3)
    alone = {
        (name, tuple(pair for pair in labels if pair[0] != "worker"), value)
        for name, labels, value in samples(merged({"1": worker.page()}))
    }
    assert alone == set(samples(worker.page()))
    assert merged({}) == b""
