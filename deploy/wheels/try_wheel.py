"""What must work after `pip install` of a wheel: run by the Python of a clean environment, in an empty directory.

It calls `python -m fastaudio echo` as Asterisk would and hears itself, runs `voice-agent --version`, and looks for the
files that `voice-agent init` hands out.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
FRAME, FRAMES = 320, 100


def main() -> int:
    """Try everything; what fails raises."""
    import agent
    import fastaudio

    for package in (agent, fastaudio):
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(sys.prefix), f"{package.__name__} is not the wheel's"
    said = subprocess.run([BIN / "voice-agent", "--version"], check=True, text=True, capture_output=True).stdout
    print(f"Python {sys.version.split()[0]}: {said.strip()}")
    files()
    echo()
    agent_call()
    return 0


def files() -> None:
    """The dialplan and the units are there."""
    from agent.setup import asterisk_files, systemd_files

    for directory, names in (
        (asterisk_files(), ("voice-agent.conf", "voice-agent-site.conf", "extensions_custom.conf", "voice-agent.agi")),
        (systemd_files(), ("voice-agent.service", "voice-agent@.service", "voice-agent-user.service")),
    ):
        assert directory.is_relative_to(sys.prefix), directory
        for name in names:
            assert (directory / name).stat().st_size > 200, name
    print("the files for Asterisk and systemd are there")


def echo() -> None:
    """Call an echo server: the noise that goes out comes back, frame by frame."""
    server = subprocess.Popen(
        [sys.executable, "-m", "fastaudio", "echo", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        found = re.search(r":(\d+);", server.stdout.readline())
        assert found is not None, "the echo server does not listen"
        frames = [random.Random(number).randbytes(FRAME) for number in range(FRAMES)]
        heard = call(int(found[1]), frames)
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0, "the echo server did not end well"
    came_back = sum(frame in heard for frame in frames)
    assert came_back > 0.9 * FRAMES, f"only {came_back} of {FRAMES} frames came back"
    print(f"a call to itself: {came_back} of {FRAMES} frames came back as they were sent")


def agent_call() -> None:
    """Call the agent, whose vendors are away: it answers all the same, with words that the wheel has."""
    nobody = "127.0.0.1:1"
    settings = {
        "DEEPGRAM_URL": f"ws://{nobody}", "GROQ_URL": f"http://{nobody}", "CARTESIA_URL": f"ws://{nobody}",
        "DEEPGRAM_API_KEY": "nobody's key", "GROQ_API_KEY": "nobody's key", "CARTESIA_API_KEY": "nobody's key",
        "LISTEN_PORT": "0", "FASTAGI_PORT": "0", "HTTP_PORT": "0", "CONSOLE": "false", "STOP_GRACE_SECONDS": "1",
        "DATA_DIR": str(Path("data").absolute()),
    }  # fmt: skip
    file = Path("agent.env")
    file.touch(0o600)
    file.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    server = subprocess.Popen(
        [BIN / "voice-agent", "serve", "--env-file", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        found = re.search(r"AudioSocket on \S+:(\d+)", server.stdout.readline())
        assert found is not None, "the agent does not listen"
        heard = call(int(found[1]), [bytes(FRAME)] * 300)
    finally:
        server.send_signal(signal.SIGTERM)
        log = server.communicate(timeout=40)[1]
    assert server.returncode == 0, f"the agent did not end well: {log}"
    speech = sum(abs(sample) > 500 for (sample,) in struct.iter_unpack("<h", heard)) / 8000
    assert speech > 0.2, f"the agent said nothing: {log}"
    print("a call to the agent, with its vendors away: it speaks")


def call(port: int, frames: Sequence[bytes]) -> bytes:
    """Send these, one every 20 ms, by AudioSocket, and silence for half a second more; what came back."""
    heard = rest = b""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall(struct.pack("!BH", 0x01, 16) + uuid.uuid4().bytes)
        line.setblocking(False)
        start = time.monotonic()
        for number, frame in enumerate([*frames, *[bytes(FRAME)] * 25]):
            try:
                line.sendall(struct.pack("!BH", 0x10, FRAME) + frame)
            except OSError:  # the other side has hung up
                break
            time.sleep(max(0.0, start + 0.02 * (number + 1) - time.monotonic()))
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                rest += line.recv(1 << 16)
            while len(rest) >= 3 and len(rest) >= 3 + (size := struct.unpack("!H", rest[1:3])[0]):
                heard += rest[3 : 3 + size] if rest[0] == 0x10 else b""
                rest = rest[3 + size :]
    return heard


if __name__ == "__main__":
    sys.exit(main())
