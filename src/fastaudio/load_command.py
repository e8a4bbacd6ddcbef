"""The command `python -m fastaudio load`: options, a line of progress, a table or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from fastaudio import load

CARRIED, NOT_CARRIED, INVALID = 0, 1, 3
"""Exit status; 2 is for a command line that makes no sense."""


def host_and_port(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT` or `[IPV6]:PORT`."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `load`."""
    parser.add_argument("server", type=host_and_port, metavar="HOST:PORT", help="an AudioSocket server")
    parser.add_argument("--calls", type=int, default=1, help="at once (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="to measure (default %(default)s)")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before that (default %(default)s)")
    parser.add_argument("--rate", type=int, default=8000, choices=load.RATES, help="samples a second of the callers")
    parser.add_argument("--packet-ms", type=int, default=20, help="audio in a message, 10..60 (default %(default)s)")
    parser.add_argument("--talk", type=int, default=60, metavar="PERCENT", help="time that callers speak (default 60)")
    parser.add_argument("--turn-ms", type=int, default=0, metavar="MS", help="converse: speak so long, then listen")
    parser.add_argument("--ramp", type=int, default=500, metavar="CALLS", help="new calls a second (default 500)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Run `load`; returns the exit status.

    0: every call was carried to the end. 1: the server could not be reached, ended calls, or said nothing. 3: the
    generator itself was the bottleneck, so that the figures say nothing about the server.
    """
    host, port = options.server
    shows = sys.stderr.isatty()
    try:
        report = load.run(
            host,
            port,
            calls=options.calls,
            seconds=options.seconds,
            warmup=options.warmup,
            rate=options.rate,
            packet_ms=options.packet_ms,
            talk_percent=options.talk,
            turn_ms=options.turn_ms,
            calls_a_second=options.ramp,
            on_progress=_show if shows else None,
        )
    except (load.LoadError, ValueError) as error:
        print(f"load: {error}", file=sys.stderr)
        return NOT_CARRIED if isinstance(error, load.LoadError) else 2
    except KeyboardInterrupt:
        print("\nload: stopped", file=sys.stderr)
        return 130
    finally:
        if shows:
            print(file=sys.stderr)
    if options.json:
        verdict = {"valid": report.valid, "objections": report.objections, "carried": report.carried}
        print(json.dumps(asdict(report) | verdict))
    else:
        print(describe(report))
    for objection in report.objections:
        print(f"INVALID: {objection}", file=sys.stderr)
    if not report.valid:
        return INVALID
    return CARRIED if report.carried else NOT_CARRIED


def describe(report: load.Report) -> str:
    """Return the report as lines to read."""
    ended = ", ".join(f"{count} {reason}" for reason, count in report.ended.items()) or "none"
    expected = report.calls * report.seconds * 50
    return "\n".join(
        f"{name:<16}{text}"
        for name, text in (
            ("calls", f"{report.calls}; ended early: {ended}; heard nothing: {report.silent}"),
            (
                "received",
                f"{report.frames} messages in {report.seconds:g} s ({expected:.0f} would be 50 a second each)",
            ),
            (
                "gap",
                f"p50 {report.gap_p50_ms:.2f}  p99 {report.gap_p99_ms:.2f}  p99.9 {report.gap_p999_ms:.2f}  "
                f"max {report.gap_max_ms:.2f} ms; {report.gaps_over_40_ms} over 40 ms",
            ),
            ("rate error", f"median {report.rate_ppm_median:+.0f}  worst call {report.rate_ppm_worst:+.0f} ppm"),
            ("slip", f"median {report.slip_median_ms:.0f}  worst call {report.slip_worst_ms:.0f} ms"),
            *(
                [
                    (
                        "conversation",
                        f"{report.turns} turns, {report.answers} answers after p50 {report.answer_p50_ms:.0f}  "
                        f"p99 {report.answer_p99_ms:.0f}  max {report.answer_max_ms:.0f} ms; "
                        f"{report.unanswered} unanswered, {report.overlaps} answered too early",
                    )
                ]
                if report.turns
                else []
            ),
            (
                "generator",
                f"late by p50 {report.lag_p50_ms:.3f}  p99 {report.lag_p99_ms:.3f}  max {report.lag_max_ms:.2f} ms; "
                f"{report.cpu_percent:.0f} % of a core; {report.merged} arrivals without a time of their own",
            ),
        )
    )


def _show(progress: load.Progress) -> None:
    text = f"{progress.phase}: {progress.connected} calls, {progress.messages} messages"
    print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)
