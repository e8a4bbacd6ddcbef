"""What `/metrics` shows beside calls and turns, each part by a function of its own: admission, ports, the media core,
vendors, the back office, the process.

All of it is counted elsewhere and read when Prometheus asks. Labels are of few values, and never a caller's to choose.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric

import fastaudio
from agent.ops import recording
from agent.ops.admission import REASONS, Admission
from agent.ops.lag import LagMonitor
from agent.ops.metric_families import FAMILIES
from agent.providers.breaker import KINDS, BreakerState
from agent.telephony.hosts import Hosts, HostState
from fastaudio._core import HISTOGRAM_BOUNDS_US

if TYPE_CHECKING:
    from agent.call.services import Services
    from agent.office.running import BackOffice
    from agent.ops.live_page import Process
    from agent.ops.strangers import Strangers
    from agent.providers.breaker import Breakers
    from agent.telephony import Registry

STATES: Final = {BreakerState.CLOSED: 0, BreakerState.TRYING: 1, BreakerState.OPEN: 2}
MEDIA: Final = (
    "accepted", "started", "ticks", "frames_in", "frames_out", "stalls", "caught_up", "skipped", "events_lost",
)  # fmt: skip
"""Of the media core's counters."""
LATENESS_US: Final = (
    64, 128, 256, 512, 1024, 2048, 5120, 10240, 20480, 40960, 81920, 163840, 327680, 1310720, 5242880,
)  # fmt: skip
"""Of the media core's bounds, those that are shown: a frame is 20 ms, and 80 ms are a stall."""
LLM: Final = (
    "replies", "requests", "errors", "fallbacks", "hedges", "hedges_won", "silent", "went_on", "whole_calls", "rested",
    "sent_anew", "refused_calls",
)  # fmt: skip
"""Of the chain's counters (`providers/llm_chain.py`)."""
TTS: Final = ("connected", "contexts", "limited", "silent", "late", "garbage", "unknown")
CONTEXT: Final = ("fetched", "retried", "defaulted")
REGISTRY: Final = (
    "announced", "claimed", "claimed_file", "unannounced", "expired", "withdrawn", "full", "duplicate",
    "verdicts_expired", "verdicts_unknown", "verdicts_late", "claimed_here_announced_elsewhere", "claimed_elsewhere",
    "verdicts_elsewhere", "verdicts_kept_here", "unreadable",
)  # fmt: skip
REDIS: Final = ("asked", "failed", "passed_over", "came_back")
RECORDS: Final = ("kept", "known", "failed", "left", "imported", "expired", "broken")
RECORDINGS: Final = ("whole", "cut", "failed")
KEPT: Final = 8


class Summed:
    """Counters of objects that are made anew with new settings, as if there were one: it never goes back.

    The eight newest are read each time; those before them are taken to count no more.
    """

    def __init__(self) -> None:
        self._base: Counter[str] = Counter()
        self._sources: deque[Callable[[], Mapping[str, int]]] = deque()

    def add(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """One more, which goes on counting."""
        self._sources.append(counters)
        while len(self._sources) > KEPT:
            self._base.update(self._sources.popleft()())

    def total(self) -> Counter[str]:
        """Of all of them."""
        total = self._base.copy()
        for counters in self._sources:
            total.update(counters())
        return total


class VendorCounts:
    """What the vendors' clients count, over all reloads of the settings."""

    def __init__(self) -> None:
        self.llm, self.tts, self.ami = Summed(), Summed(), Summed()

    def add(self, services: Services) -> None:
        """Clients that were just made."""
        llm, tts, manager = services.llm, services.tts, services.manager
        self.llm.add(lambda: getattr(llm, "counters", {}))
        self.tts.add(lambda: getattr(tts, "counters", {}))
        if manager is not None:
            self.ami.add(lambda: manager.counters)


def of_admission(admission: Admission, registry: Registry) -> Iterator[Metric]:
    """Which calls are taken, and the limits."""
    settings, usage = admission.settings, admission.usage
    yield FAMILIES["calls_refused"].counted({reason: admission.counters[reason] for reason in REASONS})
    yield FAMILIES["calls_announced"].counted(registry.announced)
    yield FAMILIES["registry"].counted(dict.fromkeys(REGISTRY, 0) | dict(registry.counters))
    yield FAMILIES["stopping"].counted(int(admission.stopping))
    yield FAMILIES["max_calls"].counted(settings.max_calls)
    yield FAMILIES["limit"].counted(
        {
            "stt_streams": settings.deepgram_max_streams,
            "tts_contexts": settings.cartesia_max_contexts,
            "llm_requests": settings.groq_max_rpm,
            "caller_calls": settings.calls_per_caller_hour,
            "day_seconds": settings.max_minutes_per_day * 60,
            "day_cost": settings.max_spending_per_day,
        }
    )
    yield FAMILIES["today_seconds"].counted(usage.minutes * 60)
    yield FAMILIES["today_cost"].counted(usage.cost)


def of_hosts(hosts: Hosts | None) -> Iterator[Metric]:
    """The Redis that several hosts share, and the others; nothing but zeros where there is none."""
    elsewhere = HostState() if hosts is None else hosts.elsewhere
    yield FAMILIES["redis_there"].counted(int(hosts is not None and hosts.there))
    yield FAMILIES["redis_requests"].counted(dict.fromkeys(REDIS, 0) | ({} if hosts is None else dict(hosts.counters)))
    yield FAMILIES["hosts_elsewhere"].counted(0 if hosts is None or not hosts.there else len(hosts.others))
    yield FAMILIES["calls_elsewhere"].counted(elsewhere.calls)
    yield FAMILIES["places_elsewhere"].counted(elsewhere.places)


def of_ports(strangers: Strangers, fastagi: Mapping[str, int], http: Mapping[str, int]) -> Iterator[Metric]:
    """Who was turned away, and what the dialplan asked; both by the counters of its servers."""
    yield from of_strangers(strangers)
    yield FAMILIES["fastagi_requests"].counted(fastagi)
    yield FAMILIES["http_requests"].counted(http)


def of_strangers(strangers: Strangers) -> Iterator[Metric]:
    """Who was turned away."""
    yield FAMILIES["turned_away"].counted(dict(strangers.counters))


def of_workers(processes: Iterable[Process], ends: Mapping[str, int]) -> Iterator[Metric]:
    """The processes that have calls."""
    states = Counter(process.state for process in processes)
    yield FAMILIES["workers"].counted({state: states[state] for state in ("starting", "serving", "draining")})
    yield FAMILIES["worker_ends"].counted({how: ends.get(how, 0) for how in ("died", "rolled")})


def of_media(engine: fastaudio.Engine) -> Iterator[Metric]:
    """The media core."""
    media = engine.counters()
    yield FAMILIES["media"].counted({name: media[name] for name in MEDIA})
    yield FAMILIES["connections_ended"].counted(media["ended"])
    buckets, total = _lateness(engine.lateness().counts)
    yield FAMILIES["media_tick_lateness_seconds"].distribution(buckets, total)


def of_lag(lag: LagMonitor) -> Iterator[Metric]:
    """How late this process is."""
    yield FAMILIES["loop_lag_seconds"].counted(lag.loop_lag_ms / 1000)
    yield FAMILIES["media_lateness_seconds"].counted(lag.media_lateness_ms / 1000)


def of_vendors(breakers: Breakers, counts: VendorCounts) -> Iterator[Metric]:
    """The vendors' breakers and clients."""
    known = breakers.all()
    yield FAMILIES["vendor_state"].counted({breaker.name: STATES[breaker.state] for breaker in known})
    whats = ("succeeded", "failed", "opened", "turned_away")
    yield FAMILIES["vendor_requests"].counted({(one.name, what): one.counters[what] for one in known for what in whats})
    yield FAMILIES["vendor_errors"].counted({(one.name, kind): one.errors[kind] for one in known for kind in KINDS})
    for name, summed, shown in (("llm", counts.llm, LLM), ("tts", counts.tts, TTS)):
        total = summed.total()
        yield FAMILIES[name].counted({what: total[what] for what in shown})
    yield FAMILIES["ami_transfers"].counted(counts.ami.total())


def of_contexts(requests: Mapping[str, int]) -> Iterator[Metric]:
    """Questions to the context API."""
    yield FAMILIES["context_requests"].counted({what: requests.get(what, 0) for what in CONTEXT})


def of_use(used: Mapping[tuple[str, str, str], float], spent: Mapping[tuple[str, str], float]) -> Iterator[Metric]:
    """What was used of vendors; by model, of which there are as many as the settings name."""
    yield FAMILIES["vendor_use"].counted(used)
    yield FAMILIES["vendor_cost"].counted(spent)


def of_office(office: BackOffice) -> Iterator[Metric]:
    """The back office's database, and the records on their way into it."""
    from agent.office.query_times import QUERY_TIMES  # a process without a database does without its library

    yield from QUERY_TIMES.tell()
    records = office.keeper.counters + office.housekeeping.counters
    yield FAMILIES["records"].counted({what: records[what] for what in RECORDS})
    if (uploads := office.uploads) is not None:
        yield FAMILIES["recording_uploads"].counted({what: uploads.counters[what] for what in ("uploaded", "failed")})
        yield FAMILIES["recordings_waiting"].counted(uploads.waiting)


def of_calls(mishaps: Mapping[str, int], listened_lost_ms: int) -> Iterator[Metric]:
    """What happened in calls, and their recordings."""
    yield FAMILIES["mishaps"].counted(mishaps)
    yield FAMILIES["recordings"].counted({result: recording.COUNTED[result] for result in RECORDINGS})
    yield FAMILIES["recording_bytes"].counted(recording.COUNTED["bytes"])
    lost = {"recording": recording.COUNTED["lost_ms"] / 1000, "listening": listened_lost_ms / 1000}
    yield FAMILIES["capture_lost_seconds"].counted(lost)


def _lateness(counts: Iterable[int]) -> tuple[list[tuple[str, float]], float]:
    """The media core's buckets as Prometheus has them, and their sum, s, each tick taken to be as late as its bound."""
    buckets: list[tuple[str, float]] = []
    upto = 0
    total_us = 0.0
    for bound, count in zip(HISTOGRAM_BOUNDS_US, counts, strict=True):
        upto += count
        total_us += count * bound
        if bound in LATENESS_US:
            buckets.append((str(bound / 1e6), upto))
    return [*buckets, ("+Inf", upto)], total_us / 1e6
