"""The four ports: free, or the running agent's own; and who may connect to them."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

from agent import __version__
from agent.check.finding import Finding, Findings, error, ok, warning
from agent.check.subject import Subject
from agent.ops.settings import Settings

_LISTENING = "0A"


async def ports(subject: Subject) -> Findings:
    """Each can be listened on, or is the running agent's."""
    settings = subject.settings
    running = await subject.running()
    wanted = [
        ("audiosocket", "LISTEN_PORT", settings.listen_host, settings.listen_port),
        ("fastagi", "FASTAGI_PORT", settings.listen_host, settings.fastagi_port),
        ("http", "HTTP_PORT", settings.listen_host, settings.http_port),
    ]
    if settings.console:
        wanted.append(("console", "CONSOLE_PORT", settings.console_host, settings.console_port))
    for name, setting, host, port in wanted:
        yield _port(f"port-{name}", setting, host, port, subject.host.proc, agent_runs=running is not None)
    same: dict[int, str] = {}
    for _, setting, _, port in wanted:
        if port and port in same:
            yield error("port-twice", f"{same[port]} and {setting} are both {port}", f"give {setting} another one")
        same[port] = setting
    yield _agent(settings, running)


def _port(name: str, setting: str, host: str, port: int, proc: Path, *, agent_runs: bool) -> Finding:
    where = f"{setting} {port} on {host}"
    if not port:
        return warning(name, f"{setting} is 0: a free port, another one at each start", f"give {setting} a number")
    problem = _bind(host, port)
    if problem == 0:
        if agent_runs:
            return error(
                name, f"{where} is free, though an agent runs", "restart it: it was started with other settings"
            )
        return ok(name, f"{where} is free")
    if problem == errno.EADDRINUSE:
        pid, program = owner_of(port, proc)
        who = f"{program} (process {pid})" if pid else "another process"
        if agent_runs and (not pid or "voice-agent" in program or "python" in program):
            return ok(name, f"{where} is the running agent's")
        if program == "voice-agent":
            return error(
                name,
                f"{where} is taken by {who}, which does not answer at HTTP_PORT",
                "that agent has another HTTP_PORT, or hangs: see its log, and restart it with these settings",
            )
        return error(
            name, f"{where} is taken by {who}", f"end it, or set {setting} to a free port (ss -ltnp shows all)"
        )
    if problem == errno.EADDRNOTAVAIL:
        variable = "CONSOLE_HOST" if setting == "CONSOLE_PORT" else "LISTEN_HOST"
        return error(name, f"{host} is no address of this host", f"set {variable} to one of `ip -brief address`")
    if problem == errno.EACCES:
        return error(name, f"{where}: ports below 1024 are the system's", f"set {setting} above 1024")
    return error(name, f"{where}: {os.strerror(problem)}", f"choose another {setting}")


def _bind(host: str, port: int) -> int:
    """0 when it can be listened on, else the error's number."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as problem:
            return problem.errno or errno.EIO
    return 0


def owner_of(port: int, proc: Path = Path("/proc")) -> tuple[int, str]:
    """Who listens on a TCP port: its process and program; 0 when that may not be known to this user."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return 0, ""
    for process in proc.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if any(os.readlink(file) in inodes for file in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                names = [Path(word.decode(errors="replace")).name for word in words[:2] if word]
                script = next((name for name in names if name == "voice-agent"), "")
                return int(process.name), script or (names[0] if names else process.name)
        except OSError:
            continue
    return 0, ""


def _agent(settings: Settings, running: dict[str, Any] | None) -> Finding:
    if running is None:
        return ok("agent", "no agent runs with these settings yet")
    told = f"an agent runs: {running['calls']} calls of at most {running['max_calls']}"
    restart = "restart it when no call suffers by it: systemctl restart voice-agent drains calls first"
    if running.get("status") == "hung":
        return error(
            "agent", f"{told}; its media thread hangs, and no caller hears anything", "systemctl restart voice-agent"
        )
    if running.get("status") == "stopping":
        return warning("agent", f"{told}; it is stopping", "wait, and start it again")
    if running.get("version", __version__) != __version__:
        return warning("agent", f"{told}, of version {running['version']}; installed is {__version__}", restart)
    if running.get("settings", settings.fingerprint) != settings.fingerprint:
        return warning(
            "agent",
            f"{told}; it was started with other settings than these",
            "systemctl reload voice-agent (or kill -HUP), and check again; if it stays so, restart it",
        )
    return ok("agent", f"{told}, with these settings")


async def peers(subject: Subject) -> Findings:
    """Who may connect fits where the agent listens."""
    settings = subject.settings
    local = _is_loopback(settings.listen_host)
    networks = [ipaddress.ip_network(network, strict=False) for network in settings.allowed_peers]
    others = [network for network in networks if not network.is_loopback]
    if not local and not others:
        yield warning(
            "allowed-peers",
            f"it listens on {settings.listen_host} and lets only this machine in: an Asterisk elsewhere is turned away",
            "put Asterisk's address into ALLOWED_PEERS, or set LISTEN_HOST=127.0.0.1",
        )
    elif local and others:
        yield warning(
            "allowed-peers",
            f"ALLOWED_PEERS names others, and it listens on {settings.listen_host}, where only this machine comes",
            "set LISTEN_HOST to this host's address on their network",
        )
    elif wide := [network for network in others if network.num_addresses > 1 << 16 and not network.is_private]:
        yield warning(
            "allowed-peers",
            f"{wide[0]} may connect: AudioSocket and FastAGI know no passwords",
            "name Asterisk's address alone",
        )
    else:
        yield ok("allowed-peers", f"{settings.listen_host} takes {', '.join(settings.allowed_peers)}")
    keys = settings.context_api_key.get_secret_value() and settings.booking_api_key.get_secret_value()
    if others and not keys:
        yield warning(
            "office-keys",
            "others may ask the back office, and CONTEXT_API_KEY or BOOKING_API_KEY is missing",
            "set both to a long random text",
        )
    if settings.console and not _is_loopback(settings.console_host) and not settings.console_url.startswith("https"):
        yield warning(
            "console-host",
            f"the console is on {settings.console_host} without TLS: passwords cross the network in the clear",
            "put it behind a proxy with TLS and set CONSOLE_URL=https://…, or CONSOLE_HOST=127.0.0.1",
        )


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
