"""Where on this host everything goes: for the whole system, or for one user."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.setup.plan import Wanted, below, read
from agent.setup.unit import STATE, service_unit, this_program

NAME = "voice-agent"
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_PORTS = {"LISTEN_PORT": 9099, "FASTAGI_PORT": 4573, "HTTP_PORT": 9098, "CONSOLE_PORT": 9096}
_PORT_STEP = 100
DIRECTORIES = ("DATA_DIR", "RECORDINGS_DIR", "RECORDS_DIR", "METADATA_DIR")
"""Settings that name a directory in which the agent writes."""


@dataclass(frozen=True, slots=True)
class Host:
    """`prefix`: everything is written below it. `instance`: one of several agents of the system; empty: the first."""

    system: bool = True
    prefix: Path = Path("/")
    instance: str = ""
    home: Path = Path("~")

    def __post_init__(self) -> None:
        if self.instance and not _INSTANCE.fullmatch(self.instance):
            raise ValueError(f"{self.instance!r} is no name of an instance: lower-case letters, digits, - and _")
        if self.instance == NAME:
            raise ValueError(f"{NAME} is the agent without an instance's name: choose another")
        if self.instance and not self.system:
            raise ValueError("instances are services of the system: leave --user out")

    @property
    def is_live(self) -> bool:
        """Whether this is about the running host, and not about a directory that will be one."""
        return self.prefix == Path("/")

    @property
    def config(self) -> Path:
        """Directory of the env file."""
        if self.system:
            return Path("/etc") / NAME
        return Path(os.environ.get("XDG_CONFIG_HOME") or self.home / ".config") / NAME

    @property
    def env_file(self) -> Path:
        """The env file."""
        return self.config / f"{self.instance or NAME}.env"

    @property
    def written(self) -> Path:
        """Where it is kept what init wrote."""
        return self.config / "init.json"

    @property
    def service(self) -> str:
        """The name that systemctl takes."""
        return f"{NAME}@{self.instance}" if self.instance else NAME

    @property
    def defaults(self) -> dict[str, str]:
        """What a new env file says beside the keys."""
        if not self.system:
            return {}
        if not self.instance:
            return {"DATA_DIR": str(STATE)}
        others = [path for path in below(self.prefix, self.config).glob("*.env") if path.name != self.env_file.name]
        ports = {name: str(port + _PORT_STEP * max(1, len(others))) for name, port in _PORTS.items()}
        return {"DATA_DIR": str(STATE / self.instance), **ports}

    def unit(self, settings: Mapping[str, str], program: str = "") -> Wanted:
        """The systemd unit. `settings`: what the env file says."""
        program = program or this_program()
        directories = [Path(settings[name]) for name in DIRECTORIES if settings.get(name, "").startswith("/")]
        if not self.system:
            base = self.config.parent / "systemd" / "user"
            text = service_unit(f"{NAME}-user.service", program, str(self.env_file))
            return Wanted(base / f"{NAME}.service", text, "the service of this user")
        name = f"{NAME}@.service" if self.instance else f"{NAME}.service"
        env_file = str(self.config / "%i.env") if self.instance else str(self.env_file)
        text = service_unit(name, program, env_file, directories)
        return Wanted(Path("/etc/systemd/system") / name, text, "the service")

    def existing_settings(self) -> str | None:
        """The text of the env file that is there; None without one. Raises `PlanError` where it may not be read."""
        return read(below(self.prefix, self.env_file))
