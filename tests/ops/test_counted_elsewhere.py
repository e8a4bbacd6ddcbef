"""What `/metrics` reads of other parts: statements to the database, vendors' failures by kind, clients made anew."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from agent.office.database import close_engine, create_engine
from agent.office.query_times import BOUNDS_S, QUERY_TIMES, QueryTimes
from agent.ops.gauges import KEPT, Summed
from agent.ops.process import of_process
from agent.providers.base import ProviderError
from agent.providers.breaker import KINDS, Breaker


async def test_statements_are_counted_and_so_are_those_that_fail(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path / 'office.sqlite3'}")
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))  # the transaction begins with a statement of its own
        counted, failed = sum(QUERY_TIMES.counts), QUERY_TIMES.errors
        await connection.execute(text("SELECT 1"))
        assert (sum(QUERY_TIMES.counts), QUERY_TIMES.errors) == (counted + 1, failed)
        with pytest.raises(OperationalError):
            await connection.execute(text("SELECT nothing FROM nowhere"))
        assert QUERY_TIMES.errors == failed + 1
    await close_engine(engine)


def test_a_statement_is_in_the_buckets_that_are_not_below_it() -> None:
    times = QueryTimes()
    for seconds in (0.0005, 0.001, 0.3, 9.0):
        times.took(seconds)
    histogram, _ = times.tell()
    buckets = {sample.labels["le"]: sample.value for sample in histogram.samples if sample.name.endswith("_bucket")}
    assert (buckets["0.001"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (2, 2, 3, 4)
    assert len(buckets) == len(BOUNDS_S) + 1
    assert next(sample.value for sample in histogram.samples if sample.name.endswith("_sum")) == pytest.approx(9.3015)


def test_a_vendors_failures_are_told_apart() -> None:
    breaker = Breaker("llm")
    for status, retry_after_s in ((429, 0.0), (503, 2.0), (401, 0.0), (500, 0.0), (1006, 0.0), (0, 0.0)):
        breaker.failed(ProviderError("LLM", "no", status=status, retry_after_s=retry_after_s))
    assert breaker.errors == {"limit": 2, "refused": 1, "server": 1, "closed": 1, "no_answer": 1}
    assert set(breaker.errors) == set(KINDS)


def test_clients_that_are_made_anew_count_on() -> None:
    """With each reload of the settings there is one more, and those before it have calls for a while."""
    summed = Summed()
    clients = [Counter({"requests": 1}) for _ in range(KEPT + 3)]
    before = 0
    for number, client in enumerate(clients, 1):
        summed.add(lambda client=client: client)  # type: ignore[misc]
        assert summed.total()["requests"] == number
    clients[-1]["requests"] += 5
    clients[-KEPT]["requests"] += 5
    before = summed.total()["requests"]
    assert before == KEPT + 3 + 10
    assert len(summed._sources) == KEPT, "a reload a minute takes no more and more memory"


def test_the_process_knows_its_threads() -> None:
    def shares() -> dict[str, float]:
        cpu = next(iter(of_process()))
        return {sample.labels["thread"]: sample.value for sample in cpu.samples}

    assert shares().keys() == {"media", "main", "others"}
    assert shares()["main"] > 0
    before = shares()["others"]
    busy = threading.Thread(target=lambda: sum(range(10_000_000)))
    busy.start()
    busy.join()
    after = shares()["others"]
    assert after > before + 0.02, "a thread that has ended counts on: the kernel has forgotten it"
    assert shares()["others"] >= after
    _, threads, build = of_process()
    assert threads.samples[0].value >= 1
    assert build.samples[0].value == 1
