"""What a day's calls have taken: minutes, and what the vendors will ask for them, kept over restarts.

The cost is the sum of what calls use, as they use it (`providers/metering.py`), at the prices of `ops/prices.py`. It
serves to stop a bad day, not to check an invoice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson

from agent.ops.private import write_private

log = logging.getLogger(__name__)


class Usage:
    """Today's minutes and cost. A day is one of the time zone `zone`; `path` keeps the sums."""

    def __init__(self, path: Path, zone: ZoneInfo, *, now: Callable[[ZoneInfo], datetime] = datetime.now) -> None:
        """Go on from what the file says, if it is of today. One that cannot be read is logged, and counts as none."""
        self._path = path
        self._zone = zone
        self._now = now
        self._saved: bytes = b""
        self._day = self._today()
        self._minutes = self._cost = 0.0
        try:
            kept = orjson.loads(path.read_bytes())
            if kept["day"] == self._day:
                self._minutes, self._cost = float(kept["minutes"]), float(kept["cost"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("what was used today is not known and counts as nothing: cannot read %s (%s)", path, error)

    @property
    def minutes(self) -> float:
        """Of calls, today."""
        self._turn_page()
        return self._minutes

    @property
    def cost(self) -> float:
        """Estimated, today."""
        self._turn_page()
        return self._cost

    def add(self, *, minutes: float = 0.0, cost: float = 0.0) -> None:
        """So much more was used."""
        self._turn_page()
        self._minutes += minutes
        self._cost += cost

    def save(self) -> None:
        """Write the sums if they have changed, whole or not at all. Raises OSError."""
        text = orjson.dumps({"day": self._day, "minutes": round(self._minutes, 3), "cost": round(self._cost, 6)})
        if text == self._saved:
            return
        temporary = self._path.with_suffix(".tmp")
        write_private(temporary, text)
        temporary.replace(self._path)
        self._saved = text

    def keep(self) -> None:
        """Write the sums; a disk that does not take them is logged."""
        try:
            self.save()
        except OSError as error:
            log.error("cannot keep what was used today in %s: %s", self._path, error.strerror)

    def _turn_page(self) -> None:
        if (today := self._today()) != self._day:
            self._day = today
            self._minutes = self._cost = 0.0

    def _today(self) -> str:
        return self._now(self._zone).date().isoformat()
