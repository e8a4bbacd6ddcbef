"""Draw docs/img/top.svg: `voice-agent top` on calls that are made up. `python docs/make_top.py` writes it anew."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from agent.top.app import Top
from agent.top.source import LiveSource

PICTURE = Path(__file__).parent / "img" / "top.svg"
NOW = 1_795_464_000_000
PLUMBER = ("Greeting", "Problem", "Quote", "Postcode", "Address", "Name", "Booking", "Confirmation")
DENTIST = ("Greeting", "Reason", "Date", "Name", "Booking")
CALLS = (
    ("Thames Plumbing", "…123", "speaking", PLUMBER, 3, 72, 412, 7, (40, 5200), 1),
    ("Thames Plumbing", "…451", "listening", PLUMBER, 5, 141, 380, 15, (3900, 0), 2),
    ("Northern Heating", "…907", "thinking", PLUMBER, 2, 38, 655, 4, (120, 0), 1),
    ("Bright Smile Dental", "…018", "held", DENTIST, 2, 64, 1240, 6, (4100, 900), 2),
    ("Bright Smile Dental", "", "greeting", DENTIST, 0, 3, None, 1, (0, 6100), 1),
)


def page() -> dict[str, Any]:
    """What an agent with two workers might answer."""
    calls = [
        {
            "uuid": f"4f6d2a1{number}-3b1e-4c59-9a57-2f0f6f1d8a0{number}", "worker": worker, "company": company,
            "caller": caller, "line": "…123", "started": NOW - 1000 * seconds, "doing": doing, "steps": list(steps),
            "step": step, "turns": turns, "latency_ms": latency_ms, "listeners": 0, "levels": list(levels),
        }
        for number, (company, caller, doing, steps, step, seconds, latency_ms, turns, levels, worker) in
        enumerate(CALLS)
    ]  # fmt: skip
    workers = [
        {"number": number, "pid": number, "state": "serving", "calls": calls_, "loop_lag_ms": 2, "media_lateness_ms": 1}
        for number, calls_ in ((1, 3), (2, 2))
    ]
    vendors = {
        "stt nova-3": {"state": "closed", "rest_s": 0}, "llm openai/gpt-oss-120b": {"state": "closed", "rest_s": 0},
        "tts cartesia": {"state": "open", "rest_s": 4},
    }  # fmt: skip
    return {
        "now": NOW, "uptime_s": 11_524, "status": "ok", "max_calls": 200, "announced": 1,
        "today": {"minutes": 143.0, "spending": 5.21}, "refused": {"abuse_caller": 2}, "turned_away": {"peer": 3},
        "outbox": {"waiting": 1}, "vendors": vendors, "workers": workers, "calls": calls,
    }  # fmt: skip


class MadeUp(LiveSource):
    """An agent that is always the same."""

    async def look(self) -> dict[str, Any]:
        """The page."""
        return page()


async def draw() -> str:
    """The picture, the same each time."""
    top = Top(MadeUp("http://127.0.0.1:9098"))
    async with top.run_test(size=(100, 24)) as pilot:
        await pilot.pause(0.3)
        await pilot.press("enter")
        await pilot.pause(0.2)
        picture = top.export_screenshot()
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # a picture loads nothing from elsewhere
    return re.sub(r"terminal-\d+", "top", picture)


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(draw()))
    print(PICTURE)
