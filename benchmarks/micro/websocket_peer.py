"""The vendor's side of `bench_websocket.py`, a process of its own: answers each binary message with a text message.

`python -m benchmarks.micro.websocket_peer [CERTIFICATE]` prints its port. With a certificate (PEM) it speaks TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

WORD = {"word": "leaking", "start": 17.56, "end": 17.72, "confidence": 0.987, "punctuated_word": "leaking"}
BEST = {"transcript": "x" * 80, "words": [WORD] * 20}
ANSWER = orjson.dumps({"type": "Results", "channel": {"alternatives": [BEST]}})
"""About 2 KB, as a result of Deepgram's with its words is."""


class Answering(WSListener):
    """One connection."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.TEXT, ANSWER)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()


async def serve(certificate: str | None) -> None:
    """Serve until the process is ended."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await ws_create_server(lambda _request: Answering(), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
