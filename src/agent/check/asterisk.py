"""Asterisk: its version, its modules, the dialplan, and whether that leads to this agent."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from agent.check.asterisk_line import NoAsterisk, ask_asterisk
from agent.check.asterisk_version import parse_version
from agent.check.finding import Finding, Findings, error, ok, skipped, warning
from agent.check.subject import Host, Subject
from agent.ops.settings import Settings
from agent.setup import asterisk_files

CONTEXTS = ("voice-agent", "voice-agent-fallback", "voice-agent-transfer", "voice-agent-menu", "voice-agent-over")
MODULES = (
    "res_audiosocket", "app_audiosocket", "app_exec", "app_stack",
    "func_logic", "func_strings", "func_channel", "func_timeout",
)  # fmt: skip
"""What asterisk/voice-agent.conf needs, whichever way it asks."""
BY_AGI = ("res_agi", "res_speech")
BY_HTTP = ("func_curl", "res_curl", "func_uri", "func_callerid")
WIDEBAND = ("app_dial", "chan_audiosocket", "codec_resample")
_MODULE = re.compile(r"^(\w+)\.so\s.*?\s(Not Running|Running)\b", re.MULTILINE)
_GLOBAL = re.compile(r"^\s*(VOICE_AGENT_\w+)=(.*?)\s*$", re.MULTILINE)
_ABSENT = "no existence of"
_HEADER = re.compile(r"^\s*\[([\w-]+)\]", re.MULTILINE)
_INCLUDE = re.compile(r'^\s*#(?:try)?include\s+["<]?([^\s">]+)', re.MULTILINE)
MOST_FILES = 200
_AGI_DIRECTORY = re.compile(r"AGI Scripts directory:\s*(\S+)")
MANAGER_MEND = "check on Asterisk's machine as root; or give AMI_USER `write = call,command` for as long as you check"


async def asterisk(subject: Subject) -> Findings:
    """Everything that one connection to its command line tells."""
    commands = [
        "core show version",
        "module show",
        "dialplan show globals",
        "core show settings",
        *(f"dialplan show {context}" for context in CONTEXTS),
    ]
    try:
        answers = await ask_asterisk(subject, commands)
    except NoAsterisk as problem:
        if subject.settings.ami_host and "Permission denied" in str(problem):
            yield warning("asterisk", f"{problem}: transfers work, and nothing more may be asked", MANAGER_MEND)
        elif subject.settings.ami_host:
            yield error("asterisk", str(problem), f"{problem.mend}; transfers by AMI do not work either")
        else:
            yield warning("asterisk", str(problem), problem.mend)
        for finding in _files(subject.host):
            yield finding
        return
    version, modules, global_variables, settings, *contexts = answers.texts
    if answers.trouble:
        yield (
            ok("ami", "AMI lets AMI_USER in, for transfers alone, as it should")
            if "Permission denied" in answers.trouble
            else error("ami", answers.trouble, "see AMI_HOST, AMI_USER and AMI_SECRET: transfers by AMI do not work")
        )
    elif answers.way == "AMI":
        yield ok("ami", "AMI lets AMI_USER in")
    variables = dict(_GLOBAL.findall(global_variables))
    yield _version(version, answers.way, variables)
    for finding in _modules(modules, variables):
        yield finding
    for finding in _dialplan(dict(zip(CONTEXTS, contexts, strict=True)), subject.host):
        yield finding
    elsewhere = answers.way == "AMI" and not is_ours(subject.settings.ami_host)
    for finding in _where(variables, subject.settings, elsewhere=elsewhere):
        yield finding
    if script := variables.get("VOICE_AGENT_SCRIPT", ""):
        directory = _AGI_DIRECTORY.search(settings)
        yield _script(Path(directory[1]) / script if directory else None, script)
        yield _metadata(variables, subject.settings)


def _version(text: str, way: str, variables: Mapping[str, str]) -> Finding:
    version = parse_version(text)
    if version is None:
        return warning(
            "asterisk-version", f"Asterisk does not say its version by {way}", "asterisk -rx 'core show version'"
        )
    told = f"Asterisk {version.text}, asked by {way}"
    if version.behaviour == "none":
        return error(
            "asterisk-version", f"{told}: it has no AudioSocket", "update to Asterisk 20.19, 22.9, 23.3 or newer"
        )
    if variables.get("VOICE_AGENT_CODEC") and not version.wideband:
        return error(
            "asterisk-version",
            f"{told}: it cannot carry calls at 16 kHz (VOICE_AGENT_CODEC)",
            "update to 20.17, 21.12, 22.7 or 23.1, or leave VOICE_AGENT_CODEC and SAMPLE_RATE=16000 out",
        )
    if version.lacks:
        return warning(
            "asterisk-version",
            f"{told} ({version.behaviour}): {'; '.join(version.lacks)}",
            "update to 20.19, 22.9, 23.3 or newer; docs/install-asterisk.md has what each can do",
        )
    return ok("asterisk-version", f"{told} ({version.behaviour})")


def _modules(text: str, variables: Mapping[str, str]) -> list[Finding]:
    states = dict(_MODULE.findall(text))
    wanted = [*MODULES]
    if variables.get("VOICE_AGENT_SCRIPT") or not variables.get("VOICE_AGENT_HTTP_PORT"):
        wanted += BY_AGI
    else:
        wanted += BY_HTTP
    if variables.get("VOICE_AGENT_CODEC"):
        wanted += WIDEBAND
    if not states:
        return [warning("asterisk-modules", "Asterisk does not say which modules run", "asterisk -rx 'module show'")]
    missing = [name for name in wanted if states.get(name) != "Running"]
    if not missing:
        return [ok("asterisk-modules", f"{len(wanted)} modules that the dialplan needs run")]
    return [
        error(
            "asterisk-modules",
            f"{name} is not loaded",
            f"asterisk -rx 'module load {name}.so'; in modules.conf let no noload name it"
            + ("" if name in states else "; where that finds none, install the package that has it"),
        )
        for name in missing
    ]


def _dialplan(contexts: Mapping[str, str], host: Host) -> list[Finding]:
    missing = [name for name, text in contexts.items() if _ABSENT in text or f"'{name}'" not in text]
    if "voice-agent" in missing:
        return [_unincluded(host)]
    findings = []
    if missing:
        findings.append(
            error(
                "dialplan",
                f"the contexts {', '.join(missing)} are missing",
                "voice-agent init copies voice-agent-site.conf and shows the line that includes it; then "
                "asterisk -rx 'dialplan reload'",
            )
        )
    else:
        findings.append(ok("dialplan", f"the contexts {', '.join(contexts)} are there"))
    if "TryExec(AudioSocket" not in contexts["voice-agent"]:
        findings.append(
            warning(
                "dialplan-own",
                "the context voice-agent is not the one that is shipped",
                "see that it asks start before Answer() and next after AudioSocket(): asterisk/README.md",
            )
        )
    elif (stale := _stale(host)) is not None:
        findings.append(stale)
    return findings


def _unincluded(host: Host) -> Finding:
    """The context is not there: why, as far as the files tell."""
    file = host.asterisk_etc / "voice-agent.conf"
    if not file.exists():
        return error(
            "dialplan",
            "the dialplan has no context voice-agent",
            "voice-agent init copies voice-agent.conf and voice-agent-site.conf and shows the lines that include them; "
            "then asterisk -rx 'dialplan reload'",
        )
    return error(
        "dialplan",
        f"{file} is there, and the dialplan has no context voice-agent",
        "write `#include voice-agent.conf` and `#include voice-agent-site.conf` into extensions.conf, and "
        "asterisk -rx 'dialplan reload'",
    )


def _stale(host: Host) -> Finding | None:
    try:
        installed = (host.asterisk_etc / "voice-agent.conf").read_bytes()
        shipped = asterisk_files() / "voice-agent.conf"
        if installed == shipped.read_bytes():
            return None
    except OSError:  # it lies elsewhere, or may not be read: nothing to say
        return None
    return warning(
        "dialplan-version",
        f"{host.asterisk_etc / 'voice-agent.conf'} is not that of this version",
        f"cp {shipped} {host.asterisk_etc}/; asterisk -rx 'dialplan reload'",
    )


def _where(variables: Mapping[str, str], settings: Settings, *, elsewhere: bool) -> list[Finding]:
    """Whether the dialplan asks where the agent listens; `elsewhere`: Asterisk is on another machine."""
    findings = []
    host = variables.get("VOICE_AGENT_HOST") or "127.0.0.1"
    http_port = variables.get("VOICE_AGENT_HTTP_PORT", "")
    ports = {"VOICE_AGENT_AUDIO_PORT": ("9099", "LISTEN_PORT", settings.listen_port)}
    if http_port:
        ports["VOICE_AGENT_HTTP_PORT"] = ("", "HTTP_PORT", settings.http_port)
    else:
        ports["VOICE_AGENT_AGI_PORT"] = ("4573", "FASTAGI_PORT", settings.fastagi_port)
    # A balancer stands where no address of this machine is: its ports are its own.
    bad = error if is_ours(host) else warning
    told = [host]
    for name, (default, setting, port) in ports.items():
        value = variables.get(name) or default
        told.append(value)
        if value != str(port):
            findings.append(
                bad(
                    "dialplan-ports",
                    f"the dialplan's {name} is {value}, and {setting} is {port}",
                    f"set {name}={port} in [globals] of extensions.conf, and asterisk -rx 'dialplan reload'",
                )
            )
    if elsewhere and _is_loopback(host):
        findings.append(
            error(
                "dialplan-host",
                f"the dialplan's VOICE_AGENT_HOST is {host}: Asterisk's own machine, where no agent is",
                "set VOICE_AGENT_HOST to this machine's address in [globals] of extensions.conf",
            )
        )
    elif not _reaches(host, settings.listen_host):
        findings.append(
            bad(
                "dialplan-host",
                f"the dialplan's VOICE_AGENT_HOST is {host}, and the agent listens on {settings.listen_host}",
                f"set VOICE_AGENT_HOST={settings.listen_host} in [globals], or LISTEN_HOST to {host}, unless a load "
                "balancer is there",
            )
        )
    wide = variables.get("VOICE_AGENT_CODEC", "") == "slin16"
    if wide != (settings.sample_rate == 16000):
        findings.append(
            error(
                "dialplan-rate",
                f"the dialplan's VOICE_AGENT_CODEC is {variables.get('VOICE_AGENT_CODEC') or 'not set'}, and "
                f"SAMPLE_RATE is {settings.sample_rate}: callers are not heard",
                "set VOICE_AGENT_CODEC=slin16 and SAMPLE_RATE=16000, or neither",
            )
        )
    return findings or [ok("dialplan-agent", f"the dialplan asks at {told[0]}, ports {' and '.join(told[1:])}")]


def _reaches(host: str, listens_on: str) -> bool:
    """Whether `host`, as the dialplan has it, leads to `listens_on`."""
    if listens_on in ("0.0.0.0", "::"):
        return is_ours(host)
    return bool(_addresses(host) & _addresses(listens_on))


def _addresses(host: str) -> set[str]:
    try:
        return {str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _is_loopback(host: str) -> bool:
    return any(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in _addresses(host))


def is_ours(host: str) -> bool:
    """Whether it is an address of this machine."""
    for address in _addresses(host):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            return True
    return False


def _script(path: Path | None, name: str) -> Finding:
    if path is None or not path.parent.is_dir():
        return skipped("agi-script", f"{name} is on Asterisk's machine", "there it must be in astagidir, mode 0755")
    if not path.is_file():
        return error("agi-script", f"{path} is not there", f"install -m 755 {_shipped(name)} {path}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o111:
        return error("agi-script", f"{path} cannot be run (mode {mode:04o})", f"chmod 755 {path}")
    if mode & 0o002:
        return error("agi-script", f"anybody may change {path}, which Asterisk runs", f"chmod 755 {path}")
    return ok("agi-script", f"{path}, mode {mode:04o}")


def _shipped(name: str) -> str:
    try:
        return str(asterisk_files() / name)
    except OSError:
        return name


def _metadata(variables: Mapping[str, str], settings: Settings) -> Finding:
    theirs = variables.get("VOICE_AGENT_METADATA") or "/var/lib/voice-agent/metadata"
    if Path(theirs) != settings.metadata:
        return error(
            "agi-metadata",
            f"the script leaves its files in {theirs}, and the agent looks in {settings.metadata}",
            f"set VOICE_AGENT_METADATA={settings.metadata} in [globals], or METADATA_DIR={theirs}",
        )
    if not settings.metadata.is_dir():
        return error(
            "agi-metadata",
            f"{theirs} is not there: the script announces calls in vain",
            f"install -d -m 2770 -g voice-agent-calls {theirs}: asterisk/README.md",
        )
    return ok("agi-metadata", f"the script and the agent share {theirs}")


def _files(host: Host) -> list[Finding]:
    """What can be said without Asterisk's own word."""
    etc = host.asterisk_etc
    if not etc.is_dir() or not os.access(etc, os.R_OK | os.X_OK):
        return [skipped("dialplan", f"not looked at: {etc} is not there, or may not be read")]
    if missing := set(CONTEXTS) - _contexts(etc):
        return [
            error(
                "dialplan",
                f"the files of {etc} lead to no context {', '.join(sorted(missing))}",
                "voice-agent init copies the files and shows the #include lines for extensions.conf; then "
                "asterisk -rx 'dialplan reload'",
            )
        ]
    return [_stale(host) or ok("dialplan", f"the files of {etc} have the contexts {', '.join(CONTEXTS)}")]


def _contexts(etc: Path) -> set[str]:
    """The contexts of extensions.conf, with what it includes and what that includes."""
    to_read = ["extensions.conf", "extensions_custom.conf"]
    seen: set[str] = set()
    found: set[str] = set()
    while to_read:
        name = to_read.pop()
        if name in seen or len(seen) > MOST_FILES:
            continue
        seen.add(name)
        try:
            text = (etc / name).read_text(errors="replace")
        except OSError:
            continue
        found |= set(_HEADER.findall(text))
        to_read += _INCLUDE.findall(text)
    return found
