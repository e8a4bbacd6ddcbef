"""A root directory with Debian's Asterisk 22 in it, made once and kept.

Debian 12 packages no Asterisk; forky does. `debootstrap` unpacks it with its dependencies into a directory of its
own, which takes about a minute and half a gigabyte, and touches nothing of the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = "asterisk,asterisk-modules,asterisk-core-sounds-en-gsm"
SUITES = ("forky", "sid")
"""Debian releases that are tried, in this order: sid has what forky has lost."""

SCRIPT = Path("/usr/share/debootstrap/scripts/sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt")
REPOSITORY = Path(__file__).resolve().parents[2]


class RigError(Exception):
    """The rig cannot be made or run here; the text says what is missing and what to do."""


def default_directory() -> Path:
    """Where the root is kept: `VOICE_AGENT_ASTERISK_ROOT`, else `.cache/asterisk-root` of the repository."""
    named = os.environ.get("VOICE_AGENT_ASTERISK_ROOT")
    return Path(named) if named else REPOSITORY / ".cache" / "asterisk-root"


def ensure_root(directory: Path | None = None) -> Path:
    """The root, made first if it is not there; several processes may ask at once.

    Raises `RigError` when it cannot be made: not root, no debootstrap, no Debian mirror in the apt sources.
    """
    directory = directory or default_directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_suffix(".lock")):
        if not (directory / "usr/sbin/asterisk").exists():
            _make(directory)
    return directory


def _make(directory: Path) -> None:
    if os.geteuid() != 0:
        raise RigError("the rig needs root: debootstrap and chroot do")
    if shutil.which("debootstrap") is None or not SCRIPT.exists():
        raise RigError("debootstrap is missing: apt-get install debootstrap")
    if not KEYRING.exists():
        raise RigError("Debian's keys are missing: apt-get install debian-archive-keyring")
    mirror = debian_mirror(SOURCES)
    partial = directory.with_suffix(".partial")
    log = directory.with_suffix(".log")
    for suite in SUITES:
        shutil.rmtree(partial, ignore_errors=True)
        print(f"making a root with Asterisk from Debian {suite} in {directory}: about a minute", file=sys.stderr)
        command = ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", f"--include={PACKAGES}"]
        with log.open("wb") as output:
            made = subprocess.run(
                [*command, suite, str(partial), mirror, str(SCRIPT)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if made.returncode == 0 and (partial / "usr/sbin/asterisk").exists():
            shutil.rmtree(partial / "var/cache/apt", ignore_errors=True)
            # Asterisk looks its own host name up, which `AsteriskRig` makes this one.
            (partial / "etc/hosts").write_text("127.0.0.1 localhost\n")
            partial.rename(directory)
            return
    raise RigError(f"debootstrap failed for {' and '.join(SUITES)}: its last words are in {log}")


def debian_mirror(sources: Path) -> str:
    """The Debian archive that this machine's apt uses, from both formats of its sources.

    Raises `RigError` when there is none, for example on another distribution.
    """
    for path in [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        for uri, suites, components in _one_line(text) if path.suffix == ".list" else _deb822(text):
            main = "main" in components and not any("security" in suite for suite in suites)
            if main and re.fullmatch(r"https?://\S+/debian/?", uri):
                return uri
    raise RigError(f"no Debian archive (http, component main) is among the apt sources in {sources}")


def _one_line(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line.strip())
        if match:
            yield match[1], [match[2]], match[3].split()


def _deb822(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"^([A-Za-z-]+):((?:.*)(?:\n[ \t]+.*)*)", stanza, re.MULTILINE)
        }
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            for uri in fields.get("uris", []):
                yield uri, fields.get("suites", []), fields.get("components", [])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
