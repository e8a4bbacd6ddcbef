"""`voice-agent load` and `voice-agent capacity`: how many calls a host carries, and how many hosts a traffic needs."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from agent.cli_shared import fail, fail_for_want_of

LOCAL = "127.0.0.1:9099"


def load(
    address: Annotated[
        str, typer.Argument(metavar="[HOST:PORT]", help=f"AudioSocket of the agent to ring, such as {LOCAL}")
    ] = "",
    own: Annotated[
        bool, typer.Option("--own", help="ring an agent that the command starts, on emulated vendors; costs nothing")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before ringing an agent that may cost money")] = False,
    first: Annotated[int, typer.Option("--from", min=1, max=10000, help="calls of the first step")] = 10,
    most: Annotated[int, typer.Option(min=1, max=10000, help="never more calls at once than these")] = 200,
    seconds: Annotated[float, typer.Option(min=3, max=3600, help="of each step, measured")] = 15.0,
    calls_a_second: Annotated[int, typer.Option(min=1, max=500, help="how fast the calls of a step come")] = 10,
    gap_ms: Annotated[float, typer.Option(min=0, help="worst gap between two messages of audio, P99; 0: any")] = 60.0,
    answer_ms: Annotated[float, typer.Option(min=0, help="longest wait for an answer, median; 0: any")] = 1500.0,
    unanswered: Annotated[float, typer.Option(min=0, max=100, help="% of turns without an answer; 0: any")] = 2.0,
    loop_lag_ms: Annotated[float, typer.Option(min=0, help="latest event loop, P95 by /metrics; 0: any")] = 100.0,
    media_late_ms: Annotated[float, typer.Option(min=0, help="latest frames, P99 by /metrics; 0: any")] = 60.0,
    fastagi_port: Annotated[
        int, typer.Option(min=0, max=65535, help="the agent's FastAGI port; 0: do not announce the calls")
    ] = 4573,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="the agent's HTTP port, for /metrics; 0: do not ask")
    ] = 9098,
    did: Annotated[str, typer.Option(help="the number that is dialled")] = "+442079460123",
    workers: Annotated[int, typer.Option(min=1, max=256, help="of --own: worker processes")] = 1,
    png: Annotated[Path | None, typer.Option(help="file for the curve")] = Path("load.png"),
) -> None:
    """Ring an agent with more and more calls at once until it does not keep up, and say how many this host carries.

    The callers converse: each speaks, hears the answer, and speaks again. Ctrl-C ends it with what is known by then;
    exit 1 when not even the first step was carried. When the callers themselves are the bottleneck, it says so.

    An agent on real vendors pays for every minute of these calls, so that one asks before it rings.
    """
    try:
        from rich.console import Console

        from agent.capacity.command import Plan, load_own, load_running, minutes_of
        from agent.capacity.own import OwnAgentFailed
        from agent.capacity.ramp import Quality, Ramp
        from agent.capacity.target import Target, is_this_host, processes_listening
    except ImportError as error:
        fail_for_want_of(error, "the callers need")

    if own == bool(address):
        fail(f"say whom to ring: an address such as {LOCAL}, or --own")
    if first > most:
        fail(f"--from {first} is more than --most {most}")
    console = Console()
    quality = Quality(gap_ms, answer_ms, unanswered, loop_lag_ms, media_late_ms)
    ramp, plan = Ramp(first, most, quality), Plan(seconds, calls_a_second, did)
    if own:
        try:
            raise typer.Exit(load_own(ramp, plan, console, png, workers))
        except OwnAgentFailed as error:
            fail(str(error))
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        fail(f"an address is HOST:PORT, such as {LOCAL}, not {address!r}")
    host = host.removeprefix("[").removesuffix("]")
    if not yes:
        minutes = minutes_of(ramp, plan)
        typer.secho(
            f"This rings the agent at {address} with up to {most} calls at once, {minutes:.0f} minutes of calls in "
            f"all. If it has keys of real vendors, they charge for them: about {minutes * _cost_a_minute():.2f} "
            "USD at list prices. Callers who ring meanwhile may be turned away.",
            fg=typer.colors.YELLOW,
            err=True,
        )
        fail("say --yes to do it, or --own to try an agent on emulated vendors instead")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        fail(f"nobody answers at {address}: {error.strerror or error}")
    pids = processes_listening(int(port)) if is_this_host(host) else ()
    target = Target(host, int(port), fastagi_port, http_port, pids)
    raise typer.Exit(load_running(ramp, target, plan, console, png))


def _cost_a_minute() -> float:
    from agent.capacity.costs import cost_a_minute
    from agent.ops.prices import load_prices

    return sum(cost_a_minute(load_prices(None)).values())


def capacity(
    calls_an_hour: Annotated[float, typer.Option(min=0.1, max=1e8, help="calls that come in the busiest hour")] = 600.0,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="mean length of a call")] = 2.5,
    blocking: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="share of calls that may find no line, such as 0.01")
    ] = 0.01,
    calls_a_host: Annotated[
        int, typer.Option(min=1, max=10000, help="MAX_CALLS of a host: `voice-agent load` finds what it carries")
    ] = 100,
    hosts_lost: Annotated[int, typer.Option(min=0, max=1000, help="hosts that may be gone or draining")] = 1,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="let the traffic come to these hosts, some of which fail")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.1, max=1000, help="that are simulated")] = 24.0,
    days_between_losses: Annotated[
        float, typer.Option(min=0, help="between two losses of one host; 0: none is lost")
    ] = 30.0,
    drain_minutes: Annotated[
        float, typer.Option(min=0, help="between two hosts that are drained in turn; 0: none is")
    ] = 60.0,
    prices_file: Annotated[
        Path | None, typer.Option(envvar="PRICES_FILE", help="prices of your own, as PRICES_FILE has them")
    ] = None,
) -> None:
    """Reckon how many hosts, streams, contexts and requests a minute a traffic needs, and what it costs.

    Lines by the Erlang B formula; --simulate shows what hosts that fail and are drained make of it.
    """
    from rich.console import Console

    from agent.capacity.plan import Fleet, Traffic
    from agent.capacity.reckoning import Hazards, check, reckon
    from agent.ops.prices import load_prices

    try:
        prices = load_prices(prices_file)
    except ValueError as error:
        fail(str(error))
    console = Console()
    traffic, fleet = Traffic(calls_an_hour, minutes, blocking), Fleet(calls_a_host, hosts_lost)
    need = reckon(traffic, fleet, prices, console)
    if simulate:
        check(need, traffic, fleet, Hazards(hours, days_between_losses, drain_minutes), console)
