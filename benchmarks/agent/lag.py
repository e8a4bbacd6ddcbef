"""How late an event loop runs what is due; run as a program, an empty one for comparison.

Run as `python -m benchmarks.agent.lag`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.agent.child import serve_questions

EVERY_S = 0.02


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share (0..1) of all does not exceed; 0 without any."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Lag:
    """Looks in every 20 ms, on an absolute schedule, and notes how late that was. Belongs to the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late_ms: list[float] = []
        self._due = self._loop.time() + EVERY_S
        self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._due
        self._late_ms.append(1000 * late)
        self._due += EVERY_S * (1 + late // EVERY_S)  # what was slept through is one late look, not many
        self._loop.call_at(self._due, self._look)

    def mark(self) -> None:
        """Count from now on."""
        self._late_ms.clear()

    def tell(self) -> dict[str, float]:
        """Lateness since the mark, ms."""
        late = self._late_ms
        return {
            "p50_ms": round(quantile(late, 0.5), 3),
            "p99_ms": round(quantile(late, 0.99), 3),
            "max_ms": round(max(late, default=0.0), 3),
        }


async def main() -> None:
    """Do nothing else."""
    lag = Lag()

    async def answer(question: str) -> dict[str, Any]:
        if question == "mark":
            lag.mark()
        return {"lag": lag.tell()}

    await serve_questions({}, answer)


if __name__ == "__main__":
    asyncio.run(main())
