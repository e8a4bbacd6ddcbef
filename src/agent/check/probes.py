"""All probes, in the order in which they are shown. A new one is a line here."""

from __future__ import annotations

from collections.abc import Collection

from agent.check import (
    apis,
    asterisk,
    cartesia,
    clock,
    deepgram,
    directories,
    install,
    language_models,
    limits,
    office,
    ports,
    scheduling,
    self_call,
    settings_file,
    storage,
)
from agent.check.finding import Probe

GROUPS = {
    "install": "Installation",
    "settings": "Settings",
    "files": "Files",
    "ports": "Ports",
    "vendors": "Vendors",
    "apis": "Business APIs",
    "office": "Back office and storage",
    "host": "Host",
    "asterisk": "Asterisk",
    "call": "A call to itself",
}

PROBES = (
    Probe("install", "python", install.python, needs_settings=False),
    Probe("install", "wheel", install.wheel, needs_settings=False),
    Probe("settings", "env-file", settings_file.env_file, needs_settings=False),
    Probe("settings", "settings", settings_file.settings, needs_settings=False),
    Probe("files", "directories", directories.directories),
    Probe("files", "disk", directories.disk),
    Probe("ports", "ports", ports.ports),
    Probe("ports", "peers", ports.peers),
    Probe("vendors", "deepgram", deepgram.deepgram, online=True),
    Probe("vendors", "llm", language_models.language_models, online=True),
    Probe("vendors", "cartesia", cartesia.cartesia, online=True),
    Probe("apis", "apis", apis.apis, online=True),
    Probe("office", "database", office.database),
    Probe("office", "outbox", office.outbox),
    Probe("office", "retention", office.retention),
    Probe("office", "recordings-s3", storage.bucket),
    Probe("office", "redis", storage.redis),
    Probe("host", "clock", clock.synchronised, needs_settings=False),
    Probe("host", "clock-offset", clock.offset, online=True),
    Probe("host", "files", limits.files),
    Probe("host", "threads", limits.threads),
    Probe("host", "memory", limits.memory),
    Probe("host", "processors", limits.processors),
    Probe("host", "scheduling", scheduling.scheduling, needs_settings=False),
    Probe("host", "lateness", scheduling.lateness, limit_s=4.0, stage=0, needs_settings=False),
    Probe("asterisk", "asterisk", asterisk.asterisk),
    Probe("call", "call", self_call.self_call, limit_s=10.0, stage=2),
)


def chosen(only: Collection[str], skip: Collection[str]) -> list[Probe]:
    """Those of the groups in `only` (all where it is empty), without those in `skip`. Raises ValueError naming a group
    that is none.
    """
    for name in (*only, *skip):
        if name not in GROUPS:
            raise ValueError(f"{name!r} is no group; there are {', '.join(GROUPS)}")
    return [probe for probe in PROBES if (not only or probe.group in only) and probe.group not in skip]
