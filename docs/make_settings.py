"""Writes docs/settings.md from the agent's settings: `python docs/make_settings.py`, or `--check` to compare only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from agent.ops.settings import Settings

PAGE = Path(__file__).parent / "settings.md"
INTRODUCTION = """\
# Settings

<!-- Made from src/agent/ops/settings*.py: edit there, then run `python docs/make_settings.py`. -->

Settings come from the environment and from an env file (`voice-agent serve --env-file FILE`, or
`VOICE_AGENT_ENV_FILE`), one `NAME=value` a line. The environment wins. The file holds keys, so its mode must be 0600:
the agent refuses to start otherwise, and says why. A value that is missing or wrong is named, with what would be right,
before the first call. An empty value counts as none: an empty variable of the environment leaves what the file says,
and an empty value there is the default.
"""
SECTIONS = {
    "deepgram_api_key": "Vendors",
    "context_api_url": "Business APIs",
    "call_webhook_url": "Webhooks and mails",
    "listen_host": "Where the agent listens",
    "ami_host": "Transfers by AMI",
    "max_calls": "Limits",
    "workers": "Several processes",
    "data_dir": "Data",
    "redis_url": "Several hosts",
    "recordings_s3_bucket": "Recordings in S3",
    "conversation": "Conversation",
    "barge_in_detector": "Barge-in and playback",
    "log_level": "Logging",
    "otel_exporter_otlp_endpoint": "Traces",
}
"""The first setting of each section, and the section's title, in the order of the page."""
COMPUTED = {"data_dir": "`/var/lib/voice-agent` as root, else `~/.local/share/voice-agent`"}
REQUIRED = frozenset({"deepgram_api_key", "groq_api_key", "cartesia_api_key"})


def default_of(name: str, field: FieldInfo) -> str:
    """The default as it would be written in the env file."""
    if name in REQUIRED:
        return "**needed**"
    if name in COMPUTED:
        return COMPUTED[name]
    value: Any = field.get_default(call_default_factory=False)
    if value is None or value == "" or (isinstance(value, SecretStr) and not value.get_secret_value()):
        return ""
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def values_of(field: FieldInfo) -> str:
    """What a setting may be, where that is not plain from its default."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if field.annotation in (bool, bool | None):
        return "`true`, `false`"
    least = next((rule.ge for rule in field.metadata if isinstance(rule, Ge)), None)
    most = next((rule.le for rule in field.metadata if isinstance(rule, Le)), None)
    if least is not None:
        return f"{least} to {most}" if most is not None else f"from {least}"
    lengths = [rule for rule in field.metadata if isinstance(rule, MinLen | MaxLen)]
    return f"{lengths[0].min_length} letters" if lengths and isinstance(lengths[0], MinLen) else ""


def page() -> str:
    """The whole page. Raises `ValueError` when a section begins with a setting that is not there."""
    unknown = SECTIONS.keys() - Settings.model_fields.keys()
    if unknown:
        raise ValueError(f"docs/make_settings.py: no such settings: {', '.join(sorted(unknown))}")
    sections: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
    title = ""
    for name, field in Settings.model_fields.items():
        title = SECTIONS.get(name, title)
        cells = (f"`{name.upper()}`", default_of(name, field), values_of(field), field.description or "")
        sections[title].append("| " + " | ".join(cells) + " |\n")
    head = "| setting | default | values | what it is |\n|---|---|---|---|\n"
    return INTRODUCTION + "".join(f"\n## {title}\n\n{head}{''.join(rows)}" for title, rows in sections.items())


def main() -> int:
    """Write the page, or with `--check` tell whether it is up to date."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/settings.md is out of date: run python docs/make_settings.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
