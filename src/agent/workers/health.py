"""What several workers say of themselves on `/health`, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.ops.lag import LagMonitor
from agent.ops.live_page import vendors_together
from agent.ops.strangers import Strangers


def together(told: Iterable[Mapping[str, Any]], strangers: Strangers, lag: LagMonitor) -> dict[str, Any]:
    """Latenesses are the worst of any, the supervisor among them; vendors' breakers too; counters are added up."""
    parts = list(told)
    turned_away: dict[str, dict[str, int]] = {}
    pairs = [(port, reason, count) for (port, reason), count in strangers.counters.items()]
    for port, reason, count in (*pairs, *(pair for part in parts for pair in part["turned_away"])):
        reasons = turned_away.setdefault(port, {})
        reasons[reason] = reasons.get(reason, 0) + count
    return {
        "loop_lag_ms": max((round(lag.loop_lag_ms, 1), *(part["loop_lag_ms"] for part in parts))),
        "media_lateness_ms": max((part["media_lateness_ms"] for part in parts), default=0.0),
        "vendors": vendors_together(part["vendors"] for part in parts),
        "turned_away": turned_away,
        "media": _sum(part["media"] for part in parts),
    }


def _sum(counters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers are added, in nested ones too; of what is a maximum or a priority the largest counts."""
    total: dict[str, Any] = {}
    for each in counters:
        for name, value in each.items():
            if isinstance(value, Mapping):
                total[name] = _sum((total.get(name, {}), value))
            elif "max" in name or name == "fifo_priority":
                total[name] = max(total.get(name, value), value)
            else:
                total[name] = total.get(name, 0) + value
    return total
