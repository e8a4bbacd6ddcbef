"""A PostgreSQL of the tests' own: made from nothing in a temporary directory, and gone with them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root: the first of these that there is runs it then."""
START_S = 60.0
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}


class NoPostgresError(RuntimeError):
    """PostgreSQL cannot be had on this machine; the text says why."""


def find_programs() -> Path:
    """Return the directory of `initdb` and `postgres`. Raises `NoPostgresError`."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        raise NoPostgresError("PostgreSQL is not installed: apt-get install postgresql")
    return versions[-1].parent


class PostgresServer:
    """A running server on 127.0.0.1, empty but for its template. Raises `NoPostgresError`."""

    def __init__(self, *, fast: bool = True) -> None:
        """`fast` gives up what survives a power cut."""
        self._options = FAST if fast else {}
        self._programs = find_programs()
        self._as_user = _as_somebody_else() if os.geteuid() == 0 else []
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def new_database(self, template: str = "template1") -> str:
        """Make a database and return its URL; a copy of `template`, which nobody may be connected to."""
        self._made += 1
        name = f"office_{self._made}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def drop_database(self, url: str) -> None:
        """Take a database away, whoever is connected to it."""
        self._sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def stop(self) -> None:
        """End the server at once and take everything away."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            self._process.wait(START_S)
        shutil.rmtree(self._home, ignore_errors=True)

    def _start(self) -> None:
        data = self._home / "data"
        if self._as_user:
            user = pwd.getpwnam(next(name for name in USERS if _exists(name)))
            os.chown(self._home, user.pw_uid, user.pw_gid)
        self._run(
            *("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        options = [f"-c{name}={value}" for name, value in self._options.items()]
        command = [*self._as_user, str(self._programs / "postgres"), "-D", str(data), "-k", str(self._home)]
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-h", "127.0.0.1", "-p", str(self._port), *options],
                stdout=log,
                stderr=log,
                cwd=self._home,
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._sql("SELECT 1")
                return
            except NoPostgresError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise NoPostgresError((self._home / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def _sql(self, statement: str) -> None:
        server = ("-h", str(self._home), "-p", str(self._port), "-U", "postgres", "-d", "postgres")
        self._run("psql", *server, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self._home, check=False)
        if done.returncode:
            raise NoPostgresError(f"{program}: {done.stderr.decode(errors='replace')[-2000:]}")


def _as_somebody_else() -> list[str]:
    setpriv = shutil.which("setpriv")
    user = next((name for name in USERS if _exists(name)), None)
    if setpriv is None or user is None:
        raise NoPostgresError("PostgreSQL does not run as root: setpriv or a user such as nobody is missing")
    entry = pwd.getpwnam(user)
    return [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
