"""Redis and HAProxy of the tests' own, on free ports of 127.0.0.1: started, killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

START_S = 10.0


class MissingProgramError(RuntimeError):
    """A program is not installed; the text says which package has it."""


def program(name: str, package: str) -> str:
    """Where a program lies. Raises `MissingProgramError`."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """A TCP port that nobody has, just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the process listens there. Raises `RuntimeError` where it ends instead, or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port} ({process.poll()}): {log.read_text()[-2000:]}")


class RedisServer:
    """A Redis that keeps nothing on the disk, with a password."""

    password = "redis-secret-password"

    def __init__(self, home: Path) -> None:
        """Start it. Raises `MissingProgramError`."""
        self._program = program("redis-server", "redis-server")
        self._home = home
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """As in `REDIS_URL`."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, on its port."""
        options = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--requirepass", self.password)
        with (self._home / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--port", str(self.port), *options], cwd=self._home, stdout=log, stderr=log
            )
        await_port(self.port, self._process, self._home / "redis.log")

    def stand_still(self, still: bool) -> None:
        """Answer nobody, with every connection open; and go on."""
        self._process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def kill(self) -> None:
        """End at once; whatever was there is lost."""
        self._process.kill()
        self._process.wait()


class HaProxy:
    """An HAProxy with a configuration file of the test's."""

    def __init__(self, configuration: Path, port: int) -> None:
        """Start it; `port` is one of its ports of HTTP. Raises `MissingProgramError`."""
        self._command = [program("haproxy", "haproxy"), "-db", "-f", str(configuration)]
        self._log = configuration.parent / "haproxy.log"
        self._port = port
        self._before: list[subprocess.Popen[bytes]] = []
        self._start()

    def _start(self, *options: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self._command, *options], stdout=log, stderr=log)
        await_port(self._port, self._process, self._log)

    def reload(self) -> None:
        """Read the configuration anew: another process listens, and this one carries the connections that it has."""
        self._before.append(self._process)
        self._start("-sf", str(self._process.pid))

    @classmethod
    def check(cls, configuration: Path) -> str:
        """What `haproxy -c` says against a configuration; empty where nothing."""
        command = [program("haproxy", "haproxy"), "-c", "-q", "-f", str(configuration)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip() or ("" if done.returncode == 0 else f"exit status {done.returncode}")

    def stop(self) -> None:
        """End at once, with every connection."""
        for process in (*self._before, self._process):
            process.kill()
            process.wait()

    def statuses(self, control: Path) -> dict[tuple[str, str], str]:
        """What it takes each host for, by backend and name: UP, NOLB (no new connections), DOWN."""
        rows = (line.split(",") for line in self.ask(control, "show stat").splitlines() if not line.startswith("#"))
        return {(row[0], row[1]): row[17].split()[0] for row in rows if len(row) > 17 and row[17]}

    def ask(self, control: Path, command: str) -> str:
        """What it answers on its control socket."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5.0)
            line.connect(str(control))
            line.sendall(command.encode() + b"\n")
            answer = b""
            while piece := line.recv(65536):
                answer += piece
        return answer.decode()
