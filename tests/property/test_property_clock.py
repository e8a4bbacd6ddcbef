"""The schedule under any lateness: no drift, and each period is owed exactly once."""

from hypothesis import given
from hypothesis import strategies as st

from fastaudio import _core, _reference

TICK_NS = 20_000_000
late = st.one_of(st.integers(0, 2_000_000), st.integers(0, 90_000_000), st.integers(0, 5_000_000_000))


@given(
    base_ns=st.integers(-(10**12), 10**15),
    ahead_ns=st.integers(-(10**9), 10**9),
    steps=st.lists(st.one_of(late, st.integers(-TICK_NS, -1)), max_size=60),
)
def test_no_drift_and_nothing_owed_twice(base_ns: int, ahead_ns: int, steps: list[int]) -> None:
    now_ns = base_ns + ahead_ns
    clocks = [module.Clock(base_ns, now_ns) for module in (_core, _reference)]
    compiled = clocks[0]
    first = compiled.due_ns
    assert now_ns < first <= now_ns + TICK_NS
    total = 0
    for step in steps:
        now_ns = max(now_ns, compiled.due_ns + step)
        due_ns = compiled.due_ns
        answers = [clock.take(now_ns) for clock in clocks]
        assert answers[0] == answers[1]
        periods, stalled, late_ns = answers[0]
        total += periods
        assert late_ns == now_ns - due_ns
        assert stalled == (late_ns >= 80_000_000)
        assert (periods == 0) == (late_ns < 0)
        # Deadlines come from deadlines: the grid never moves and `total` periods have passed on it.
        assert compiled.due_ns == clocks[1].due_ns == first + total * TICK_NS
        assert now_ns < compiled.due_ns <= now_ns + max(TICK_NS, -late_ns)
