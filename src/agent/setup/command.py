"""`voice-agent init`: what is to be done on this host is shown, then done, and then what is left to do by hand."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from agent.setup import account, env_file
from agent.setup.dialplan import Dialplan
from agent.setup.files import asterisk_files
from agent.setup.host import Host
from agent.setup.plan import Action, PlanError, Step, Wanted, Written, below, carried_out, changes, planned, read
from agent.setup.unit import is_systemd_here, this_program, unreachable

KEYS = {
    "DEEPGRAM_API_KEY": ("Deepgram", "console.deepgram.com"),
    "GROQ_API_KEY": ("Groq", "console.groq.com/keys"),
    "CARTESIA_API_KEY": ("Cartesia", "play.cartesia.ai/keys"),
}
"""The vendors' keys: whose, and where one gets it."""
_WORDS: dict[Action, tuple[str, str]] = {
    "create": ("new", "green"),
    "update": ("changes", "yellow"),
    "same": ("as it is", "dim"),
    "kept": ("yours, kept", "cyan"),
    "replace": ("replaced", "red"),
}
PRIVATE = 0o600
TRY = "exten => 9901,1,Goto(voice-agent,s,1)"


@dataclass(frozen=True, slots=True)
class Choices:
    """What was asked for. `keys`: by name; one that is not there is left to be filled in."""

    host: Host
    keys: Mapping[str, str] = field(default_factory=dict)
    dialplan: Dialplan | None = None
    force: bool = False
    dry_run: bool = False


def init(choices: Choices, console: Console, agree: Callable[[], bool] = lambda: True) -> int:
    """Show it, do it once `agree` says so, and say what comes next: 0, or 1 when nothing was done.

    Raises `PlanError` for a file that cannot be read or written, and `ValueError` for a path or a key that cannot stand
    where it is to.
    """
    host = choices.host
    written = Written(below(host.prefix, host.written))
    before = host.existing_settings()
    settings = _settings(choices, before)
    values = env_file.values_of(settings.text)
    files = [settings, host.unit(values)]
    left_out = ""
    if choices.dialplan is not None:
        left_out = _why_not(choices)
        files += [] if left_out else choices.dialplan.files()
        ports = (int(values.get("LISTEN_PORT") or 9099), int(values.get("FASTAGI_PORT") or 4573))
        choices = replace(choices, dialplan=replace(choices.dialplan, ports=ports))
    steps = planned(files, host.prefix, written, force=choices.force)
    _show(choices, steps, before, console)
    if left_out:
        console.print(f"\n[yellow]![/] {escape(left_out)}")
    for line in _warnings(choices, before, values):
        console.print(f"[yellow]![/] {escape(line)}")
    if choices.dry_run:
        _show_differences(steps, console)
        console.print("\nNothing was written: --dry-run.")
        return 0
    loose = _is_loose(host)
    if not any(step.writes for step in steps) and not _needs_user(host) and not loose:
        console.print("\nNothing has to change.")
    elif not agree():
        console.print("\nNothing was written.")
        return 1
    _carry_out(choices, steps, written, console)
    _next_steps(choices, values, left_out, console)
    return 0


def _settings(choices: Choices, before: str | None) -> Wanted:
    host = choices.host
    wanted = {name: choices.keys.get(name, "") for name in KEYS} | host.defaults
    if before is None:
        text = env_file.fresh(wanted, f"systemctl {'' if host.system else '--user '}reload {host.service}")
    else:
        given = {name: value for name, value in wanted.items() if value}
        text = env_file.completed(before, given)
        if choices.force:
            text = env_file.replaced(text, {name: value for name, value in choices.keys.items() if value})
    return Wanted(host.env_file, text, "settings and keys", PRIVATE, ours=True, merged=True)


def _why_not(choices: Choices) -> str:
    """Why no files go to Asterisk; empty if they do."""
    assert choices.dialplan is not None
    directory = below(choices.host.prefix, choices.dialplan.directory)
    if not choices.host.is_live:
        return ""
    if not directory.is_dir():
        return f"{directory} is not there: nothing is written for Asterisk"
    try:
        probe = directory / ".voice-agent-init"
        probe.touch()
        probe.unlink()
    except OSError:
        return f"{directory} may not be written by you: nothing is written for Asterisk"
    return ""


def _is_loose(host: Host) -> bool:
    path = below(host.prefix, host.env_file)
    return path.is_file() and bool(path.stat().st_mode & 0o077)


def _needs_user(host: Host) -> bool:
    return host.system and host.is_live and not account.is_there()


def _show(choices: Choices, steps: Sequence[Step], before: str | None, console: Console) -> None:
    host = choices.host
    console.print(f"[bold]voice-agent init[/] for {'the system' if host.system else 'this user'}", highlight=False)
    if not host.is_live:
        console.print(f"below {host.prefix}", highlight=False)
    console.print()
    rows: list[tuple[Action, str, str]] = []
    if _needs_user(host):
        rows.append(("create", f"user {account.USER}", "who the service runs as"))
    rows += [(step.action, str(below(host.prefix, step.wanted.path)), _about(step, before)) for step in steps]
    width = max(len(path) for _, path, _ in rows)
    for action, path, about in rows:
        word, colour = _WORDS[action]
        console.print(f"[{colour}]{word:<12}[/]{escape(path):<{width}}  [dim]{escape(about)}[/]", soft_wrap=True)


def _show_differences(steps: Sequence[Step], console: Console) -> None:
    """What would be other lines in files that are there; of the env file, only which settings: it holds keys."""
    for step in steps:
        if step.before is None or step.action == "same" or step.wanted.mode == PRIVATE:
            continue
        old, new = step.before.splitlines(), step.wanted.text.splitlines()
        names = (f"{step.wanted.path} as it is", f"{step.wanted.path} of this version")
        console.print()
        for line in difflib.unified_diff(old, new, *names, n=1, lineterm=""):
            colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
            console.print(f"[{colour}]{escape(line)}[/]", soft_wrap=True)


def _about(step: Step, before: str | None) -> str:
    about = step.wanted.what
    if step.wanted.merged and step.writes and before is not None:
        names = changes(env_file.values_of(before), env_file.values_of(step.wanted.text))
        return f"{about}: {', '.join(names)}"
    if step.action == "kept":
        return f"{about if step.wanted.once else 'it was edited'}; --force writes it anew, and keeps a copy"
    return about


def _warnings(choices: Choices, before: str | None, values: Mapping[str, str]) -> list[str]:
    host = choices.host
    lines = []
    if before is not None and not choices.force:
        has = env_file.values_of(before)
        for name, value in choices.keys.items():
            if value and has.get(name) not in (None, "", value):
                lines.append(f"{name} in {host.env_file} is another one, and stays: --force takes the new one")
    if _is_loose(host):
        lines.append(f"{host.env_file} may be read by others: its mode becomes 0600")
    if host.system and (closed := unreachable(this_program())) is not None:
        lines.append(
            f"the service's user may not enter {closed}, where this installation is: install it in /opt/voice-agent "
            "and run its init"
        )
    missing = [name for name in KEYS if not values.get(name)]
    if missing:
        lines.append(f"no key yet: {', '.join(missing)}")
    return lines


def _carry_out(choices: Choices, steps: Sequence[Step], written: Written, console: Console) -> None:
    host = choices.host

    def own(path: Path) -> None:
        if host.system and host.is_live:
            account.own(path)

    try:
        if _needs_user(host):
            account.make_user()
        if host.system and host.is_live:
            account.make_state_directory()
        backups = carried_out(steps, host.prefix, written, own)
        settings = below(host.prefix, host.env_file)
        settings.chmod(PRIVATE)
        own(settings)
    except OSError as error:
        raise PlanError(f"cannot write {error.filename or 'a file'}: {error.strerror or error}") from error
    for path, backup in backups.items():
        console.print(f"[dim]{escape(str(path))} as it was: {escape(str(backup))}[/]", soft_wrap=True)
    if host.is_live and is_systemd_here():
        command = ["systemctl", *([] if host.system else ["--user"]), "daemon-reload"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            console.print(f"[yellow]![/] {' '.join(command)}: {escape(done.stderr.strip())}", soft_wrap=True)


def _next_steps(choices: Choices, values: Mapping[str, str], left_out: str, console: Console) -> None:
    host, steps = choices.host, list[tuple[str, list[str]]]()
    program = this_program()
    missing = [name for name in KEYS if not values.get(name)]
    if missing:
        whose = "; ".join(f"{name}: {KEYS[name][1]}" for name in missing)
        steps.append((f"Put the missing keys into {host.env_file} ({whose})", []))
    if choices.dialplan is not None:
        steps += _dialplan_steps(choices.dialplan, host, left_out)
    if host.instance:
        asks = [
            f"same => n,Set(VOICE_AGENT_AUDIO_PORT={values.get('LISTEN_PORT')})",
            f"same => n,Set(VOICE_AGENT_AGI_PORT={values.get('FASTAGI_PORT')})",
        ]
        steps.append(("For calls that are this agent's, set before Goto(voice-agent,...) in the dialplan:", asks))
    systemctl = "systemctl" if host.system else "systemctl --user"
    journal = f"journalctl -u {host.service}" if host.system else f"journalctl --user -u {host.service}"
    check = f"{program} check --env-file {host.env_file}"
    steps.append(("See whether everything is right: keys, ports, Asterisk, a call to itself", [check]))
    start = [f"{systemctl} enable --now {host.service}"]
    steps.append(("Start it, now and with the machine", start if host.system else [*start, "loginctl enable-linger"]))
    steps.append(("See what it says; at the first start, the link that opens the console", [f"{journal} -f"]))
    console.print("\n[bold]What comes next[/]")
    for number, (text, lines) in enumerate(steps, 1):
        console.print(f"\n{number}. {escape(text)}", highlight=False, soft_wrap=True)
        for line in lines:
            console.print(f"     [bold cyan]{escape(line)}[/]" if line else "", highlight=False, soft_wrap=True)


def _dialplan_steps(dialplan: Dialplan, host: Host, left_out: str) -> list[tuple[str, list[str]]]:
    """What is to be done in Asterisk's own files, which init does not touch."""
    custom = dialplan.directory / ("extensions_custom.conf" if dialplan.is_freepbx else "extensions.conf")
    try:
        text = (read(below(host.prefix, custom)) or "") if not left_out else ""
    except PlanError:
        text = ""
    includes, globals_ = dialplan.missing(text)
    steps = []
    if left_out:
        names = [asterisk_files() / line.split()[1] for line in dialplan.includes]
        if dialplan.is_freepbx:
            names = [asterisk_files() / "voice-agent.conf"]
        copies = [f"cp {name} {dialplan.directory}/" for name in names]
        if dialplan.is_freepbx:
            ours = dialplan.directory / "voice-agent-freepbx.conf"
            copies.append(f"cp {asterisk_files() / 'extensions_custom.conf'} {ours}")
        steps.append(("On Asterisk's machine, as root, copy these files", copies))
    if includes:
        steps.append((f"Add to {custom}, below everything else:", includes))
    if globals_:
        theirs = " with your phones" if not dialplan.people and not dialplan.is_freepbx else ""
        in_file = dialplan.directory / ("globals_custom.conf" if dialplan.is_freepbx else "extensions.conf")
        steps.append((f"Add to {in_file}{'' if dialplan.is_freepbx else ', below [globals]'}{theirs}:", globals_))
    if dialplan.is_freepbx:
        where = "In FreePBX: Admin > Custom Destinations, target voice-agent-freepbx,s,1; choose it as a destination"
    else:
        where = f"Let your trunk's calls in: in pjsip.conf, its endpoint has context=voice-agent-{dialplan.calls}"
        if not dialplan.is_tried(text):
            steps.append(("To have a number to try: where your phones' extensions are, add", [TRY]))
    steps += [(where, []), ("Have Asterisk read it", ["asterisk -rx 'dialplan reload'"])]
    if dialplan.calls == "some" and not dialplan.numbers:
        steps.insert(0, (f"Put your numbers into {dialplan.directory / 'voice-agent-site.conf'}", []))
    return steps
