"""PyPI asterisk-ai-voice-agent through its own transport, set up as its own program does; run by its own Python.

    python -m benchmarks.servers.voice_agent [--vad]

Without `--vad` it reads and plays only. With it, what it reads goes through the package's own voice activity path; its
recogniser has no key and so no client, hence nothing leaves the machine. It begins with five frames of silence in a
burst, before the measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from itertools import cycle

from asterisk_ai_voice_agent.transport import AudioSocketTransport

from benchmarks.servers.tone import FRAMES, run

if WITH_VAD := "--vad" in sys.argv:
    import webrtcvad
    from asterisk_ai_voice_agent.stt import StreamingSTT


async def tone() -> AsyncIterator[bytes]:
    for frame in cycle(FRAMES):
        yield frame


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = AudioSocketTransport(reader, writer)
    stt = None
    if WITH_VAD:
        stt = StreamingSTT("whisper", "whisper-1", "en")
        stt._vad = webrtcvad.Vad(2)  # what start() makes, which would ask for a key
    if not await transport.handshake():
        return
    talking = asyncio.create_task(transport.play(tone(), lambda: False))
    with contextlib.suppress(ConnectionError):
        while (chunk := await transport.read_audio()) is not None:
            if stt is not None and chunk:
                await stt.feed(chunk)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    await transport.close()


if __name__ == "__main__":
    run(serve)
