"""Whether there is room, when other hosts have some, and vendors' plans are for the calls of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from agent.ops.admission import Admission, Refusal
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.ops.usage import Usage
from agent.telephony import CallInfo
from agent.telephony.hosts import Hosts, HostState


class Link:
    """A Redis that is there or away."""

    def __init__(self) -> None:
        self.there = True


class Bench:
    """One of two hosts: what the other one says is set by hand."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.calls = 0
        self.late = False
        self.link = Link()
        self.hosts = Hosts(self.link, lambda: self.admission.state, prefix="test")  # type: ignore[arg-type]
        self.hosts.coming = 1  # the one that asks
        self.admission = Admission(
            load_settings(**settings),
            occupied=lambda: self.calls,
            too_late=lambda: self.late,
            usage=Usage(folder / "usage.json", ZoneInfo("UTC")),
            hosts=self.hosts,
        )

    def other(self, **state: float) -> None:
        self.hosts.others["other"] = HostState(**state)  # type: ignore[arg-type]

    def why(self) -> str:
        refusal = self.admission.may_begin(CallInfo(uuid4()))
        return refusal.reason if refusal is not None else ""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_host_that_is_full_late_or_stopping_says_yes_while_another_has_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_calls=2)
    bench.other(calls=1, places=1)
    for how in ("full", "late", "stopping"):
        bench.calls = 2 if how == "full" else 0
        bench.late = how == "late"
        bench.admission.stopping = how == "stopping"
        assert bench.admission.state.places == 0
        assert bench.why() == "", how
        bench.hosts.coming = 2
        assert bench.why() == {"full": "calls", "late": "lag", "stopping": "stopping"}[how] or how == "full"
        bench.hosts.coming = 1
        assert bench.admission.no_room(more=1) is not None, "what /ready asks: this host takes none"


def test_each_call_that_is_coming_has_a_place_of_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_calls=2)
    bench.other(calls=0, places=1)
    bench.calls = 1
    for coming, why in ((1, ""), (2, ""), (3, "calls")):
        bench.hosts.coming = coming
        assert bench.why() == why, coming


def test_a_host_by_itself_goes_by_what_it_has(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_calls=2)
    bench.other(calls=0, places=9)
    bench.link.there = False
    bench.calls = 3
    assert bench.why() == "calls"
    bench.calls = 2
    assert bench.why() == ""


@pytest.mark.parametrize(
    ("settings", "state", "reason"),
    [
        ({"deepgram_max_streams": 10}, {"calls": 7, "places": 9}, "stt_streams"),
        ({"cartesia_max_contexts": 3}, {"calls": 9, "places": 9}, "tts_contexts"),
        ({"groq_max_rpm": 100}, {"llm_requests": 90, "places": 9}, "llm_requests"),
        ({"max_minutes_per_day": 10}, {"minutes": 10.0, "places": 9}, "minutes"),
        ({"max_spending_per_day": 10}, {"cost": 10.0, "places": 9}, "spending"),
    ],
)
def test_what_vendors_and_the_day_allow_is_for_all_hosts(
    tmp_path: Path, settings: dict[str, Any], state: dict[str, float], reason: str
) -> None:
    bench = Bench(tmp_path, **settings)
    bench.calls, bench.hosts.coming = 3, 1
    assert bench.why() == ""
    bench.other(**state)
    assert bench.why() == reason
    bench.link.there = False
    assert bench.why() == "", "a host by itself knows of its own alone"


def test_a_host_is_ready_for_the_last_call_that_a_vendor_allows(tmp_path: Path) -> None:
    """Or the balancer would have nowhere to send a call to that was told to come."""
    bench = Bench(tmp_path, deepgram_max_streams=10)
    bench.other(calls=6, places=9)
    bench.calls = 3
    assert bench.why() == ""
    assert bench.admission.no_room(more=1) is None
    bench.calls = 4
    assert bench.admission.no_room(more=1) == Refusal("stt_streams")


@pytest.mark.parametrize(
    "url",
    ["http://host:6379", "redis://", "redis://:secret-password@host:port/0", "rediss:///0", "host:6379", "unix://"],
)
def test_a_url_that_is_none_of_redis_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="write redis://") as refused:
        load_settings(redis_url=url)
    assert "secret-password" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://:secret-password@host:6379/0", "rediss://user:p@host/1", "unix:///run/redis"])
def test_the_password_of_redis_is_a_secret(url: str) -> None:
    settings = load_settings(redis_url=url)
    assert "secret-password" not in repr(settings)
    assert settings.redis_password in ("", *settings.secrets)
