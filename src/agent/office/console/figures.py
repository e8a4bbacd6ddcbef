"""Numbers that matter: what a span of days brought beside the one before it, in figures and in plots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from aiohttp import web

from agent.office.console import formats
from agent.office.console.access import needs, user_of
from agent.office.console.asked import address, day_of, whole_of
from agent.office.console.parts import parts_of
from agent.office.console.plots import Plot, Series, change
from agent.office.console.render import render_long, zone_of
from agent.office.figures import MOST_DAYS, DayNumbers

PERIODS = {7: "7 days", 30: "30 days", 90: "90 days", 365: "12 months"}
USUAL = 30
MOST_BARS = 100
"""With more days than these, a week is one."""
VENDORS: Mapping[str, tuple[str, str]] = {
    "stt": ("Hearing", "3"),
    "llm": ("Thinking", "4"),
    "tts": ("Speaking", "2"),
    "context": ("Who is rung", "5"),
    "booking": ("Booking", "6"),
}
"""How the makers of errors are called, and their colours."""
Better = Literal["more", "less", ""]


@dataclass(frozen=True, slots=True)
class Stat:
    """One figure, what it is beside, and whether its change is for the better."""

    name: str
    figure: str
    about: str = ""
    change: str = ""
    kind: str = ""
    """Of the change: good, bad or nothing."""


def add_pages(app: web.Application) -> None:
    """Add the page."""
    app.router.add_get("/figures", page)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """The numbers of a span of days."""
    parts, user = parts_of(request), user_of(request)
    names = await parts.store.companies.names(user.scope)
    zones = await parts.store.companies.zones(user.scope)
    company_id = whole_of(request, "company")
    zone = zone_of(zones.get(company_id or 0, ""), parts.settings.zone)
    today = datetime.now(zone).date()
    first, last, period = _span(request, today)
    length = (last - first).days + 1
    scope = user.scope.narrowed(company_id)
    numbers = await parts.store.figures.between(first, last, scope)
    before = await parts.store.figures.total(first - timedelta(days=length), first - timedelta(days=1), scope)
    filters: dict[str, object] = {"company": company_id or ""}
    chosen = filters | ({"days": period} if period else {"from": first, "to": last})
    return await render_long(
        request,
        "figures.html",
        names=names,
        filters=filters,
        chosen=chosen,
        period=period,
        periods=PERIODS,
        first=first,
        last=last,
        today=today,
        length=length,
        total=numbers.total,
        before=before,
        stats=stats(numbers.total, before),
        plots=plots(numbers.days, numbers.total.currency),
        vendors=VENDORS,
        address=address,
        narrowed=bool(company_id or not period),
    )


def _span(request: web.Request, today: date) -> tuple[date, date, int | None]:
    """The first day, the last one, and which of `PERIODS` that is."""
    first, last = day_of(request, "from"), day_of(request, "to")
    if first or last:
        last = last or today
        first = min(first or last - timedelta(days=USUAL - 1), last)
        return max(first, last - timedelta(days=MOST_DAYS - 1)), last, None
    asked = whole_of(request, "days")
    period = asked if asked in PERIODS else USUAL
    return today - timedelta(days=period - 1), today, period


def stats(now: DayNumbers, before: DayNumbers) -> list[Stat]:
    """The figures of a span beside those of the one before it."""

    def of(
        name: str,
        told: Callable[[DayNumbers], str],
        value: Callable[[DayNumbers], float | None],
        about: str = "",
        better: Better = "",
    ) -> Stat:
        difference = change(value(now), value(before))
        worse = "−" if better == "more" else "+"
        kind = (
            ""
            if not better or not difference or difference.startswith("±")
            else "bad"
            if difference.startswith(worse)
            else "good"
        )
        return Stat(name, told(now), about, difference, kind)

    errors = sum(now.errors.values())
    return [
        of("Calls", lambda n: formats.number(n.calls), lambda n: n.calls, f"{formats.number(now.turns)} turns"),
        of(
            "Answered",
            lambda n: formats.percent(n.answered, n.calls),
            lambda n: _share(n.answered, n.calls),
            f"{formats.number(now.calls - now.answered)} failed or turned away",
            "more",
        ),
        of(
            "Booked",
            lambda n: formats.percent(n.booked, n.answered),
            lambda n: _share(n.booked, n.answered),
            f"{formats.number(now.booked)} of those answered",
            "more",
        ),
        of(
            "Put through",
            lambda n: formats.percent(n.transferred, n.answered),
            lambda n: _share(n.transferred, n.answered),
            f"{formats.number(now.transferred)} to a person",
        ),
        of(
            "Wait",
            lambda n: formats.milliseconds(n.median_ms),
            lambda n: n.median_ms,
            f"median; 95 % within {formats.milliseconds(now.p95_ms)}",
            "less",
        ),
        of(
            "Interruptions",
            lambda n: formats.number(n.barge_ins),
            lambda n: _share(n.barge_ins, n.calls),
            f"{_a_call(now.barge_ins, now.calls, '.1f')} a call",
        ),
        of("Talking", lambda n: f"{formats.number(n.seconds / 60)} min", lambda n: n.seconds,
           f"{formats.duration(now.seconds / now.calls) if now.calls else '–'} a call"),
        of(
            "Cost",
            lambda n: formats.money(n.cost, n.currency) if n.costs else "–",
            # Of another currency there is no telling.
            lambda n: n.cost if n.currency == now.currency else None,
            "estimated, by your prices" if now.costs else "no prices",
        ),
        of(
            "Cost a call",
            lambda n: formats.money(n.cost / n.calls, n.currency) if n.costs and n.calls else "–",
            lambda n: _share(n.cost, n.calls) if n.currency == now.currency else None,
            f"{formats.money(60 * now.cost / now.seconds, now.currency)} a minute" if now.costs and now.seconds else "",
            "less",
        ),
        of("Errors", lambda n: formats.number(errors if n is now else sum(n.errors.values())),
           lambda n: sum(n.errors.values()), "of vendors", "less"),
    ]  # fmt: skip


def plots(days: Mapping[date, DayNumbers], currency: str) -> list[Plot]:
    """The plots over a span: calls, waits, cost, minutes and errors."""
    weekly = len(days) > MOST_BARS
    columns = _weeks(days) if weekly else list(days.items())
    each = [numbers for _, numbers in columns]
    a = "a week" if weekly else "a day"
    years = {day.year for day, _ in columns}

    def named(day: date) -> str:
        return f"{day.day} {day:%b}"

    def named_long(day: date) -> str:
        text = f"{day.day} {day:%B}{f' {day.year}' if len(years) > 1 else ''}"
        return f"Week of {text}" if weekly else f"{day:%A} {text}"

    def plot(
        name: str,
        title: str,
        summary: str,
        series: Sequence[Series],
        kind: Literal["bars", "lines"] = "bars",
        words: Callable[[float], str] = formats.number,
        *,
        tick_words: Callable[[float], str] | None = None,
        whole_ticks: bool = True,
    ) -> Plot:
        short = [named(day) for day, _ in columns]
        long = [named_long(day) for day, _ in columns]
        return Plot(name, title, summary, short, series, kind, words, whole_ticks, tick_words, long)

    calls = sum(n.calls for n in each)
    busiest = max(columns, key=lambda column: column[1].calls, default=None)
    busiest_words = f" The busiest: {named_long(busiest[0])}, {busiest[1].calls}." if busiest and calls else ""
    return [
        plot(
            "calls",
            f"Calls {a}",
            f"{calls} calls by what came of them.{busiest_words}",
            [
                Series("booked", [n.booked for n in each], "1"),
                Series("put through", [n.transferred for n in each], "3"),
                Series("neither", [n.answered - n.booked - n.transferred for n in each], "rest"),
                Series("failed or turned away", [n.calls - n.answered for n in each], "6"),
            ],
        ),
        plot(
            "wait",
            "Wait for an answer",
            "From the end of a caller’s words to the first of the agent’s: the median, and what 95 % stay within.",
            [Series("median", [n.median_ms for n in each], "1"), Series("95 %", [n.p95_ms for n in each], "2")],
            "lines",
            formats.milliseconds,
        ),
        plot(
            "cost",
            f"Cost {a}",
            "What speech, thinking and voice cost, by the prices in the settings.",
            [Series("cost", [n.costs.get(currency, 0.0) for n in each], "4")],
            words=lambda amount: formats.money(amount, currency),
            tick_words=lambda amount: re.sub(r"(\.\d\d)0\b", r"\1", formats.money(amount, currency)),
            whole_ticks=False,
        ),
        plot(
            "minutes",
            f"Minutes {a}",
            "How long callers were on the line.",
            [Series("minutes", [n.seconds / 60 for n in each], "3")],
        ),
        plot(
            "errors",
            f"Errors {a}",
            "Errors of vendors, by what they were doing. Most are mended before a caller notices.",
            [Series(who.lower(), [n.errors.get(key, 0) for n in each], style) for key, (who, style) in VENDORS.items()],
        ),
    ]  # fmt: skip


def together(several: Iterable[DayNumbers]) -> DayNumbers:
    """What was counted in several days, or other spans that do not overlap."""
    outcomes: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    latencies: Counter[int] = Counter()
    costs: dict[str, float] = {}
    calls = turns = barge_ins = 0
    seconds = 0.0
    for numbers in several:
        calls, turns, barge_ins = calls + numbers.calls, turns + numbers.turns, barge_ins + numbers.barge_ins
        seconds += numbers.seconds
        outcomes.update(numbers.outcomes)
        errors.update(numbers.errors)
        latencies.update(numbers.latencies)
        for currency, cost in numbers.costs.items():
            costs[currency] = costs.get(currency, 0.0) + cost
    return DayNumbers(calls, outcomes, seconds, turns, barge_ins, errors, costs, latencies)


def _weeks(days: Mapping[date, DayNumbers]) -> list[tuple[date, DayNumbers]]:
    """Seven days together, from the last one back: the first week may be shorter."""
    all_days = list(days)
    weeks = []
    for end in range(len(all_days), 0, -7):
        week = all_days[max(0, end - 7) : end]
        weeks.append((week[0], together(days[day] for day in week)))
    return weeks[::-1]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _a_call(value: float, calls: int, form: str) -> str:
    return format(value / calls, form) if calls else "–"
