"""Every setting of the agent, from the environment and an env file, checked before the first call."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.ops.setting_types import (
    Address,
    Endpoint,
    LogLevel,
    Networks,
    PublicUrl,
    RecordingFormat,
    Region,
    SecretUrl,
    Spoken,
    TimeZone,
)
from agent.ops.settings_hosts import HostsSettings
from agent.ops.settings_notices import NoticeSettings
from agent.ops.settings_s3 import S3Settings
from agent.ops.settings_tracing import TracingSettings
from agent.ops.settings_vendors import VendorSettings
from agent.ops.settings_workers import WorkerSettings

UNLIMITED: Mapping[str, Any] = {"max_loop_lag_ms": 0, "max_media_lateness_ms": 0, "calls_per_caller_hour": 0}
"""For an agent that is tried out: one caller rings it again and again, on a host that has more to do."""


class SettingsError(ValueError):
    """A setting is missing or wrong; the text names each, with what would be right."""


def default_data_dir() -> Path:
    """Where data lies unless told otherwise: the service's directory as root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/voice-agent")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "voice-agent"


class Settings(
    VendorSettings, NoticeSettings, HostsSettings, S3Settings, TracingSettings, WorkerSettings, BaseSettings
):
    """The agent's settings; a field's name in capitals is its name in the environment."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    # Business APIs: whole endpoints. Empty means the built-in back office.
    context_api_url: Endpoint = Field("", description="POST did_context; empty: the built-in back office")
    booking_api_url: Endpoint = Field("", description="POST create_booking; empty: the built-in back office")
    availability_api_url: Endpoint = Field("", description="POST check_availability; empty: the built-in back office")
    context_api_key: SecretStr = Field(SecretStr(""), description="X-API-Key of the context API")
    booking_api_key: SecretStr = Field(SecretStr(""), description="X-API-Key of the booking and availability APIs")
    api_requests_per_minute: int = Field(
        6000, ge=1, description="what one address may ask of the built-in back office's APIs with one key, a minute"
    )
    booking_api_idempotent: bool | None = Field(
        None,
        description="`true` where a booking sent twice with one `Idempotency-Key` is made once, so that it may be sent "
        "again after a lost answer; `false` where not. Unless given: `true` for the built-in back office, else `false`",
    )
    outbox_retention_days: float = Field(
        30.0, ge=0.0, description="how long bookings that are done with stay in the outbox, days"
    )
    alert_webhook_url: SecretUrl = Field(
        SecretStr(""), description="POST told of bookings that need a person; empty: only the log and the metrics tell"
    )

    # Where the agent listens.
    listen_host: Address = Field("127.0.0.1", description="address of AudioSocket, FastAGI and HTTP")
    listen_port: int = Field(9099, ge=0, le=65535, description="AudioSocket's TCP port")
    fastagi_port: int = Field(4573, ge=0, le=65535, description="FastAGI's TCP port")
    http_port: int = Field(9098, ge=0, le=65535, description="port of health and back office")
    allowed_peers: Networks = Field(
        ("127.0.0.0/8", "::1/128"), description="networks that may connect, comma-separated"
    )
    console: bool = Field(True, description="whether `serve` and `office` serve the console")
    console_host: Address = Field("127.0.0.1", description="address of the console")
    console_port: int = Field(9096, ge=0, le=65535, description="the console's TCP port; 0 picks a free one")
    console_url: PublicUrl = Field(
        "",
        description="where people reach the console, such as https://phones.example.com: its host is then a name of "
        "the console, links lead there, and with https cookies go by https alone; empty: CONSOLE_HOST and CONSOLE_PORT",
    )
    console_proxies: Networks = Field(
        (), description="reverse proxies in front of the console, whose X-Forwarded-For is believed; comma-separated"
    )
    unknown_uuid: Literal["accept", "refuse"] = Field(
        "accept", description="what becomes of a call that neither FastAGI nor a metadata file announced"
    )

    # Transfers by AMI.
    ami_host: str = Field(
        "", description="Asterisk's manager interface, where transfers are to be asked for by it; empty: never"
    )
    ami_port: int = Field(5038, ge=1, le=65535, description="AMI's TCP port")
    ami_user: str = Field("", description="a user of manager.conf with `write = call`")
    ami_secret: SecretStr = Field(SecretStr(""), description="that user's secret", validate_default=True)

    # Limits.
    max_calls: int = Field(100, ge=1, le=5000, description="calls at once")
    max_call_seconds: int = Field(1800, ge=10, description="the longest call, s")
    max_loop_lag_ms: int = Field(
        100, ge=0, description="new calls wait while the event loop is later than this (P95 over 5 s), ms; 0: no limit"
    )
    max_media_lateness_ms: int = Field(
        60, ge=0, description="new calls wait while frames are later than this (P99 over 5 s), ms; 0: no limit"
    )
    deepgram_max_streams: int = Field(
        0, ge=0, description="streams at once that your Deepgram plan has (pay as you go: 150); 0: not known, no limit"
    )
    cartesia_max_contexts: int = Field(
        0,
        ge=0,
        description="contexts at once that your Cartesia plan has (Pro 3, Startup 5, Scale 15): one serves 4 calls; "
        "0: not known, no limit",
    )
    groq_max_rpm: int = Field(
        0, ge=0, description="requests a minute that your LLM plan has: at 90 % no new calls; 0: not known, no limit"
    )
    calls_per_caller_hour: int = Field(
        20, ge=0, description="calls of one number within an hour, the next one hears a goodbye; 0: no limit"
    )
    max_minutes_per_day: int = Field(
        0, ge=0, description="minutes of all calls of a day, after which callers hear a goodbye; 0: no limit"
    )
    max_spending_per_day: float = Field(
        0.0, ge=0.0, description="the same by the vendors' estimated cost, in the currency of the prices; 0: no limit"
    )
    prices_file: Path | None = Field(
        None, description="your own prices, a TOML file that is read over the packaged list prices"
    )
    stop_grace_seconds: int = Field(
        30, ge=0, le=3600, description="how long running calls may go on when the agent is to stop, s"
    )

    # Data.
    data_dir: Path = Field(default_factory=default_data_dir, description="where everything is kept")
    recordings_dir: Path | None = Field(None, description="stereo recordings; DATA_DIR/recordings")
    records_dir: Path | None = Field(None, description="one JSON document a call; DATA_DIR/calls")
    metadata_dir: Path | None = Field(None, description="call metadata of the AGI script; DATA_DIR/metadata")
    database_url: str = Field("", repr=False, description="SQLAlchemy URL; DATA_DIR/office.sqlite3")
    record_calls: bool = Field(True, description="whether calls are recorded")
    recording_format: RecordingFormat = Field(
        "wav",
        description="`wav`, `flac` (the same samples in less than half the space) or `opus` (a sixth, with losses); "
        "the last two need the extra `recording`",
    )
    recording_notice: Spoken = Field(
        "",
        max_length=500,
        description="said before the greeting where a call is recorded and its company has no notice of its own, in "
        "the language of your greetings; empty: nothing",
    )
    retention_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="days after which transcripts, recordings, numbers and names of calls are erased; 0: never",
    )

    # Conversation.
    conversation: str = Field(
        "home_services",
        description="what the agent says and does: `home_services`, `dentist`, or a directory of files",
    )
    conversations_dir: Path | None = Field(None, description="directories of conversations that companies may name")
    prompt_file: Path | None = Field(None, description="a system prompt instead of the conversation's `prompt.md`")
    turn_patience: float = Field(
        1.0,
        ge=0.5,
        le=3.0,
        description="how long the caller's silence must be before the agent answers, times the standard "
        "(240 ms after a yes to 1500 ms in mid-phrase)",
    )
    silence_seconds: int = Field(
        7, ge=3, le=60, description="silence after which the agent asks whether the caller is still there, s"
    )
    early_answers: int = Field(
        2,
        ge=0,
        le=5,
        description="answers that may be thought of early in a turn of the caller; 0: only when it is over",
    )
    default_timezone: TimeZone = Field("Europe/London", description="time zone of a company that names none")
    default_region: Region = Field("GB", min_length=2, max_length=2, description="region of numbers without +")

    # Barge-in.
    barge_in_detector: Literal["adaptive", "silero", "rms", "webrtc", "rms+webrtc"] = Field(
        "adaptive", description="what decides that the caller speaks; `silero` needs the extra of that name"
    )
    barge_in_rms: int = Field(
        500,
        ge=50,
        le=8000,
        description="level of speech, of 32768, for `rms` and `rms+webrtc`; of no account for the others",
    )
    barge_in_ms: int = Field(300, ge=100, le=1000, description="speech that interrupts, ms")
    playback_lead_frames: int = Field(2, ge=0, le=3, description="frames sent ahead while speaking")

    media_priority: int = Field(
        0,
        ge=0,
        le=99,
        description="SCHED_FIFO priority of the media thread, up to the unit's LimitRTPRIO= (20); 0: none",
    )

    log_level: LogLevel = Field("info", description="how much is logged")
    log_format: Literal["auto", "text", "journal"] = Field(
        "auto",
        description="`journal`: entries with fields, straight to journald; `text`: lines; `auto`: the first where "
        "systemd runs the agent",
    )
    log_transcripts: bool = Field(False, description="whether what was said may reach the log")

    @field_validator("ami_secret")
    @classmethod
    def _ami_user(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("ami_host") and not (info.data.get("ami_user") and value.get_secret_value()):
            raise ValueError("AMI_HOST needs AMI_USER and AMI_SECRET: those of a user in manager.conf")
        return value

    _read_from: Path | None = PrivateAttr(None)

    @property
    def environment(self) -> Mapping[str, str]:
        """The env file and the environment, which wins: where a conversation's tools find their secrets."""
        in_file = dotenv_values(self._read_from) if self._read_from is not None else {}
        return {name: value for name, value in in_file.items() if value is not None} | dict(os.environ)

    @property
    def recordings(self) -> Path:
        """Directory of the stereo recordings."""
        return self.recordings_dir or self.data_dir / "recordings"

    @property
    def records(self) -> Path:
        """Directory of the call records."""
        return self.records_dir or self.data_dir / "calls"

    @property
    def prompts(self) -> Path:
        """Directory of what `voice-agent prompts` has recorded."""
        return self.data_dir / "prompts"

    @property
    def greetings(self) -> Path:
        """Directory of the greetings that were made."""
        return self.data_dir / "greetings"

    @property
    def metadata(self) -> Path:
        """Directory where the AGI script leaves call metadata."""
        return self.metadata_dir or self.data_dir / "metadata"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the back office."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'office.sqlite3'}"

    @property
    def zone(self) -> ZoneInfo:
        """Time zone of a company that names none."""
        return ZoneInfo(self.default_timezone)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key and password, for what must never show them."""
        values = (getattr(self, name) for name in type(self).model_fields)
        keys = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        password = urlsplit(self.database_url).password or ""
        return tuple(secret for secret in (*keys, password, self.redis_password) if secret)

    @property
    def fingerprint(self) -> str:
        """Tells whether two processes have the same settings. Keys and the database's URL are no part of it."""
        secret = {name for name in type(self).model_fields if isinstance(getattr(self, name), SecretStr)}
        text = self.model_dump_json(exclude={*secret, "database_url"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def require_keys(self) -> None:
        """Raise `SettingsError` unless each vendor's key is there."""
        missing = [
            f"{name.upper()} is missing: put {what} into the environment or the env file"
            for name, what in (
                ("deepgram_api_key", "the key from console.deepgram.com"),
                ("groq_api_key", "the key from console.groq.com"),
                ("cartesia_api_key", "the key from play.cartesia.ai"),
            )
            if not getattr(self, name).get_secret_value()
        ]
        if self.llm_fallback_url and not self.llm_fallback_model:
            missing.append("LLM_FALLBACK_MODEL is missing: name a model that is served at LLM_FALLBACK_URL")
        if missing:
            raise SettingsError("\n".join(missing))


def load_settings(env_file: Path | None = None, **overrides: object) -> Settings:
    """Read the settings from the environment and `env_file`; `overrides` win over both.

    Raises `SettingsError` when the file is missing or readable by others (its mode must be 0600), or when a
    value is wrong.
    """
    if env_file is not None:
        try:
            mode = env_file.stat().st_mode
        except OSError as error:
            raise SettingsError(f"cannot read the env file {env_file}: {error.strerror}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise SettingsError(
                f"the env file {env_file} holds keys and may be read by others "
                f"(mode {stat.S_IMODE(mode):04o}): run chmod 600 {env_file}"
            )
        _check_names(env_file)
    try:
        settings = Settings(_env_file=env_file, **overrides)  # type: ignore[arg-type,call-arg]
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"]).upper()
            field = Settings.model_fields.get(name.lower())
            about = f" ({field.description})" if field and field.description else ""
            lines.append(f"{name}{about}: {problem['msg']}")
        raise SettingsError("\n".join(lines)) from error
    settings._read_from = env_file
    return settings


def _check_names(env_file: Path) -> None:
    """Refuse a misspelt setting: it would be left out in silence. Names that resemble none are somebody else's."""
    known = [name.upper() for name in Settings.model_fields]
    wrong = [
        f"{name} in {env_file} is no setting; is {alike[0]} meant?"
        for name in dotenv_values(env_file)
        if name.upper() not in known and (alike := difflib.get_close_matches(name.upper(), known, 1, 0.8))
    ]
    if wrong:
        raise SettingsError("\n".join(wrong))
