"""A word to systemd: sd_notify(3), for a unit with `Type=notify`. Without a manager that listens, nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(*lines: str) -> None:
    """Send these assignments, such as `READY=1`, to the socket that systemd has named; never raises for it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), address)


def ready() -> None:
    """Calls are taken, with the settings as they are."""
    notify("READY=1", "STATUS=taking calls")


def reloading() -> None:
    """Settings are read again; `ready` follows."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(seconds: float) -> None:
    """No more calls are taken, and it may take so long until the last one is over."""
    notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", "STATUS=waiting for the last calls")
