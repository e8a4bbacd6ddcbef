"""The env file and every setting in it."""

from __future__ import annotations

import difflib
import stat

from dotenv import dotenv_values

from agent.check.finding import Findings, error, ok, warning
from agent.check.subject import Subject
from agent.conversations import ConversationError
from agent.ops.prices import load_prices
from agent.ops.settings import Settings, SettingsError

ALIKE = 0.55
"""The agent refuses to start over a name that is very like a setting's; here one that is a little like one is told."""
OF_THE_PROCESS = (
    *("PATH", "HOME", "LANG", "LC_", "TZ", "PYTHON", "VOICE_AGENT_", "OTEL_"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT", "AWS_"),
)
"""Names that are no settings and that a service's env file may well have."""


async def env_file(subject: Subject) -> Findings:
    """It is there, and for its owner alone; its names are settings."""
    file = subject.env_file
    if file is None:
        yield ok("env-file", "no env file: the settings are those of the environment")
        return
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        values = dotenv_values(file)
    except OSError as problem:
        yield error("env-file", f"{file}: {problem.strerror}", f"make {file}, or give another one with --env-file")
        return
    if mode & 0o077:
        yield error("env-file", f"{file} holds keys and may be read by others (mode {mode:04o})", f"chmod 600 {file}")
    else:
        yield ok("env-file", f"{file}, mode {mode:04o}")
    if subject.settings_ is not None and (data := subject.settings.data_dir).is_dir():
        theirs, ours = data.stat().st_uid, file.stat().st_uid
        if theirs != ours:
            yield warning(
                "env-file-owner",
                f"{file} and {data} belong to two users: only one of them can run the agent",
                f"chown --reference={data} {file}",
            )
    known = [name.upper() for name in Settings.model_fields]
    secrets = subject.tool_secrets if subject.settings_ is not None else frozenset()
    for name in values:
        upper = name.upper()
        if upper in known or upper in secrets or upper.startswith(OF_THE_PROCESS):
            continue
        if any(mistake.startswith(f"{name} in ") for mistake in subject.mistakes):
            continue
        near = difflib.get_close_matches(upper, known, 1, ALIKE)
        advice = f"is {near[0]} meant?" if near else "see docs/settings.md for the names"
        yield warning("unknown-setting", f"{name} in {file} is no setting, and nothing heeds it", advice)


async def settings(subject: Subject) -> Findings:
    """All valid, keys there, and the files that they name can be read."""
    for mistake in subject.mistakes:
        if " is no setting; " in mistake:
            text, _, advice = mistake.partition("; ")
            yield error("unknown-setting", text, advice)
        elif "may be read by others" not in mistake and "cannot read the env file" not in mistake:
            yield error("settings", mistake, "mend it in the env file: docs/settings.md has each setting")
    if subject.settings_ is None:
        return
    chosen = subject.settings
    if not subject.mistakes:
        set_ = len(chosen.model_fields_set)
        yield ok("settings", f"{set_} settings given, {len(Settings.model_fields) - set_} as they are by default")
    try:
        chosen.require_keys()
    except SettingsError as missing:
        for line in str(missing).splitlines():
            what, _, how = line.partition(": ")
            yield error("keys", what, how)
    else:
        yield ok("keys", "Deepgram's, the LLM's and Cartesia's keys are there")
    try:
        loaded = subject.load_conversations()
        load_prices(chosen.prices_file)
    except ConversationError as problem:
        for line in str(problem).splitlines():
            yield error("conversation", line, "voice-agent conversation shows it; docs/conversation.md says how")
    except (ValueError, OSError) as problem:
        yield error("prices", f"PRICES_FILE: {problem}", "mend the file, or leave PRICES_FILE out")
    else:
        default = loaded.default
        tools = ", ".join(tool["function"]["name"] for tool in default.tools.schemas())
        yield ok("conversation", f"{default.name} in {default.language}, with {tools}")
    if chosen.default_region == "GB" and "default_region" not in chosen.model_fields_set:
        zone = chosen.default_timezone
        if zone != "Europe/London":
            yield warning(
                "region",
                f"DEFAULT_TIMEZONE is {zone}, and numbers without + are read as British",
                "set DEFAULT_REGION to your country, such as DE: else no number of yours finds its company",
            )
