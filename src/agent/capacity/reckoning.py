"""`voice-agent capacity`: what a traffic needs, as a table, and whether a simulation of it agrees."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from agent.capacity.plan import Fleet, Need, Traffic, asterisk_bits_s, plan
from agent.capacity.simulation import Outcome, Scenario, simulate
from agent.ops.prices import PriceTable

LIMITS = (
    ("Deepgram, pay as you go, North America", "streams", 150),
    ("Cartesia Free", "contexts", 2),
    ("Cartesia Pro", "contexts", 3),
    ("Cartesia Startup", "contexts", 5),
    ("Cartesia Scale", "contexts", 15),
    ("Groq Free, gpt-oss", "requests", 30),
    ("Groq Developer, gpt-oss", "requests", 1000),
    ("Groq Developer, gpt-oss", "tokens", 250_000),
)
"""What plans allow, as far as it was published in November 2026: docs/capacity.md has the sources."""
MOST_CALLS = 1_000_000
"""Of a simulation, which then takes half a minute or so: a shorter time of a large fleet is looked at."""


@dataclass(frozen=True, slots=True)
class Hazards:
    """What happens to the hosts of a simulation, and for how long it is looked at."""

    hours: float = 24.0
    days_between_losses: float = 30.0
    """Of one host; 0: none is lost."""
    drain_minutes: float = 60.0
    """Between two hosts that are drained in turn; 0: none is."""


def show(need: Need, traffic: Traffic, fleet: Fleet, prices: PriceTable, console: Console) -> None:
    """The table of a plan, and which vendors' plans are too small for it."""
    table = Table("what", "how much", box=None, header_style="bold")
    table.columns[1].justify = "right"
    a_call = asterisk_bits_s() / 1000
    minute = sum(need.cost_a_minute.values())
    parts = ", ".join(f"{vendor} {cost:.4f}" for vendor, cost in need.cost_a_minute.items())
    for what, value in (
        ("calls at once, on average (erlangs)", f"{need.erlangs:,.1f}"),
        (f"lines, for {100 * traffic.blocking:g} % that find none", f"{need.lines:,}"),
        (f"hosts of {fleet.calls_a_host} calls, {fleet.hosts_lost} of which may be gone", f"{need.hosts:,}"),
        ("streams of the STT", f"{need.streams:,}"),
        ("contexts of the TTS (exceeded for 0.1 % of the time)", f"{need.contexts:,}"),
        ("requests to the LLM, a minute", f"{need.requests_a_minute:,.0f}"),
        ("tokens that the LLM's limit counts, a minute", f"{need.tokens_a_minute:,.0f}"),
        (f"network to Asterisk, each way ({a_call:.0f} kbit/s a call)", f"{need.asterisk_mbit_s:,.1f} Mbit/s"),
        ("network to the vendors", f"{need.vendors_up_mbit_s:,.1f} Mbit/s"),
        ("network from the vendors", f"{need.vendors_down_mbit_s:,.1f} Mbit/s"),
        ("recordings, WAV", f"{need.recordings_gb_an_hour:,.1f} GB an hour"),
        (f"vendors, a minute of a call ({parts})", f"{minute:.4f} {prices.currency}"),
        ("vendors, in the busiest hour", f"{need.cost_an_hour:,.2f} {prices.currency}"),
    ):  # fmt: skip
        table.add_row(what, value)
    console.print(table, highlight=False)
    asked = {
        "streams": float(need.streams),
        "contexts": float(need.contexts),
        "requests": need.requests_a_minute,
        "tokens": need.tokens_a_minute,
    }
    for name, what, most in LIMITS:
        if asked[what] > most:
            unit = f"{what} a minute" if what in ("requests", "tokens") else what
            console.print(f"beyond {name}: {most:,} {unit}", highlight=False)


def check(
    need: Need,
    traffic: Traffic,
    fleet: Fleet,
    hazards: Hazards,
    console: Console,
) -> Outcome:
    """Let the traffic come to the hosts of the plan, and say what becomes of it."""
    mean_s = 60 * traffic.minutes
    warmup_s = 6 * mean_s  # from an empty fleet: what is missing then is a quarter of a percent
    a_second = traffic.calls_an_hour / 3600
    seconds = min(3600 * hazards.hours, MOST_CALLS / max(a_second, 1e-9)) + warmup_s
    scenario = Scenario(
        hosts=need.hosts,
        calls_a_host=fleet.calls_a_host,
        calls_a_second=a_second,
        mean_s=mean_s,
        seconds=seconds,
        warmup_s=warmup_s,
        lengths="lognormal",
        mean_between_losses_s=86400 * hazards.days_between_losses,
        drain_every_s=60 * hazards.drain_minutes,
    )
    began = time.monotonic()
    with console.status("simulating"):
        outcome = simulate(scenario)
    counted_h = (seconds - warmup_s) / 3600
    console.print(
        f"simulated {counted_h:.1f} h, {outcome.offered:,} calls on {need.hosts:,} hosts in "
        f"{time.monotonic() - began:.1f} s: {100 * outcome.blocked:.3f} ± {200 * outcome.error:.3f} % turned away, "
        f"at most {outcome.peak:,} at once; "
        f"{outcome.losses:,} hosts lost with {outcome.lost:,} calls",
        highlight=False,
    )
    if outcome.drains_s:
        drains = sorted(outcome.drains_s)
        console.print(
            f"{len(drains)} hosts drained in {drains[len(drains) // 2] / 60:.1f} min at the median, "
            f"{drains[-1] / 60:.1f} at most",
            highlight=False,
        )
    return outcome


def reckon(traffic: Traffic, fleet: Fleet, prices: PriceTable, console: Console) -> Need:
    """The plan of a traffic, shown."""
    need = plan(traffic, fleet, prices)
    show(need, traffic, fleet, prices, console)
    return need
