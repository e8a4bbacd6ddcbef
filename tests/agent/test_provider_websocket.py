"""The WebSocket interface, the same over each client: messages, limits, pings, and every way in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from agent.providers import websocket, websocket_picows, websocket_plain
from agent.providers.base import ProviderError
from agent.providers.websocket import ClientName, Socket, SocketClosed, open_socket
from benchmarks.agent.certificate import make_certificate

KEY = "a-secret-key"
Handler = Callable[[ServerConnection], Awaitable[None]]
Answer = Callable[[ServerConnection, Request], Response | None]


@pytest.fixture(params=["websockets", "picows"])
def client(request: pytest.FixtureRequest) -> ClientName:
    name: ClientName = request.param
    return name


@pytest.fixture
def set_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets times of the interface, such as `CLOSE_S`, wherever they are known."""

    def change(**seconds: float) -> None:
        for module in (websocket_plain, websocket_picows):
            for name, value in seconds.items():
                monkeypatch.setattr(module, name, value)

    return change


@asynccontextmanager
async def a_server(
    handler: Handler, answer: Answer | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    async with serve(
        handler, "127.0.0.1", 0, process_request=answer, compression=None, close_timeout=0.5, ssl=tls, max_size=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/path?token=x"


@asynccontextmanager
async def a_plain_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A TCP server of the test's own."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?token=x"


@asynccontextmanager
async def a_socket(url: str, client: ClientName, *, max_message_bytes: int = 1 << 20) -> AsyncIterator[Socket]:
    headers = {"Authorization": f"Token {KEY}"}
    socket = await open_socket("Vendor", url, headers, max_message_bytes=max_message_bytes, client=client)
    try:
        yield socket
    finally:
        await socket.close()


@pytest.fixture(autouse=True)
def _nothing_is_left_to_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Such as an exception that nobody took."""
    yield
    gc.collect()
    assert "never retrieved" not in caplog.text


async def ended(socket: Socket) -> None:
    """Take what there is, to the end."""
    async with asyncio.timeout(5):
        with contextlib.suppress(SocketClosed):
            while True:
                await socket.receive()


async def until_closed(connection: ServerConnection) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        await connection.wait_closed()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


# ---- messages -------------------------------------------------------------------------------------------------------


async def test_text_and_bytes_go_there_and_back(client: ClientName) -> None:
    kinds: list[type] = []

    async def noting(connection: ServerConnection) -> None:
        async for message in connection:
            kinds.append(type(message))
            await connection.send(message)

    async with a_server(noting) as url, a_socket(url, client) as socket:
        sent = [b'{"type":"caf\xc3\xa9"}', bytes(range(256)) * 5, b"x" * 70_000, b""]
        await socket.send_text(sent[0])
        for data in sent[1:]:
            await socket.send_bytes(data)
        assert [await socket.receive() for _ in sent] == sent
        assert (socket.close_code, socket.close_reason) == (0, "")
    assert kinds == [str, bytes, bytes, bytes]
    assert socket.close_code == 1000


async def test_the_headers_are_ours_and_nothing_is_compressed(client: ClientName) -> None:
    seen: list[Headers] = []

    async def noting(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers)

    async with a_server(noting) as url, a_socket(url, client) as socket:
        await ended(socket)
    (headers,) = seen
    assert headers["Authorization"] == f"Token {KEY}"
    assert headers.get_all("User-Agent") == [websocket.USER_AGENT]
    assert "Sec-WebSocket-Extensions" not in headers


async def test_a_message_in_parts_is_one(client: ClientName) -> None:
    async def in_parts(connection: ServerConnection) -> None:
        async def parts() -> AsyncIterator[str]:
            for part in ("one ", "", "two ", "three"):
                yield part
                await connection.ping()

        await connection.send(parts())
        await connection.send([b"\x01", b"\x02" * 200, b""])
        await until_closed(connection)

    async with a_server(in_parts) as url, a_socket(url, client) as socket:
        assert await socket.receive() == b"one two three"
        assert await socket.receive() == b"\x01" + b"\x02" * 200


@pytest.mark.parametrize("parts", [1, 3])
async def test_a_message_that_is_too_long_ends_it(client: ClientName, parts: int) -> None:
    codes: list[int | None] = []

    async def too_much(connection: ServerConnection) -> None:
        await connection.send(b"x" * 1000)
        await connection.send([b"x" * (1200 // parts)] * parts if parts > 1 else b"x" * 1200)
        await until_closed(connection)
        codes.append(connection.close_code)

    async with a_server(too_much) as url, a_socket(url, client, max_message_bytes=1000) as socket:
        assert await socket.receive() == b"x" * 1000
        with pytest.raises(SocketClosed):
            await asyncio.wait_for(socket.receive(), 5)
    assert codes == [1009]


# ---- limits ---------------------------------------------------------------------------------------------------------


async def test_a_flood_that_nobody_takes_is_held_back_and_nothing_of_it_lost(client: ClientName) -> None:
    sent = 0
    count, size = 3000, 4000

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        for number in range(count):
            await connection.send(number.to_bytes(4) + bytes(size - 4))
            sent += 1
        await until_closed(connection)

    async with a_server(flood) as url, a_socket(url, client) as socket:
        before = -1
        while before < sent:  # until the peer stands still
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < count, "the peer is held back"
        for number in range(count):
            assert (await asyncio.wait_for(socket.receive(), 5))[:4] == number.to_bytes(4)


async def test_sending_waits_for_a_peer_that_takes_nothing_and_ends_with_it(client: ClientName) -> None:
    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await until_closed(connection)

    async with a_server(deaf) as url, a_socket(url, client) as socket:
        sent = 0

        async def pour() -> None:
            nonlocal sent
            while sent < 1 << 30:
                await socket.send_bytes(bytes(1 << 16))
                sent += 1 << 16
                await asyncio.sleep(0)

        pouring = asyncio.create_task(pour())
        await asyncio.sleep(0.5)
        assert not pouring.done()
        before = sent
        await asyncio.sleep(0.2)
        assert before == sent < 1 << 28, "it waits"
        socket.abort()
        with pytest.raises(SocketClosed):
            await asyncio.wait_for(pouring, 5)
        assert socket.close_code == 1006


# ---- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1011, "NET-0001: nothing came"), (4001, "naïve")])
async def test_the_peers_code_and_reason_are_told_after_what_it_said(
    client: ClientName, code: int, reason: str
) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.send("last words")
        await connection.close(code, reason)

    async with a_server(leave) as url, a_socket(url, client) as socket:
        await asyncio.sleep(0.1)
        assert await socket.receive() == b"last words"
        for _ in range(2):
            with pytest.raises(SocketClosed):
                await asyncio.wait_for(socket.receive(), 5)
        with pytest.raises(SocketClosed):
            await socket.send_bytes(b"x")
        with pytest.raises(SocketClosed):
            await socket.send_text(b"x")
        assert (socket.close_code, socket.close_reason) == (code, reason)


async def test_a_lost_connection_has_a_code_too(client: ClientName) -> None:
    async def drop(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with a_server(drop) as url, a_socket(url, client) as socket:
        await ended(socket)
        assert (socket.close_code, socket.close_reason) == (1006, "")


HELLO = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    writer.write(HELLO + websockets.utils.accept_key(key).encode() + b"\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x88\x00", 1005),  # a close without a status, as Flux sends it
        (b"\x88\x02\x03\xe9", 1001),
        (b"\x80\x01x", 1006),  # a continuation of nothing
        (b"\x01\x01a\x81\x01b", 1006),  # a message inside another
        (b"\xc1\x01x", 1006),  # a bit that no extension was agreed on for
        (b"\x83\x01x", 1006),  # an opcode that does not exist
    ],
)
async def test_frames_of_any_kind_end_it_cleanly(
    client: ClientName, frame: bytes, code: int, set_seconds: Callable[..., None]
) -> None:
    """Also behind a peer that does not hang up."""
    set_seconds(CLOSE_S=0.2)

    async def one_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(frame)
        await reader.read()

    async with a_plain_server(one_frame) as url, a_socket(url, client) as socket:
        await ended(socket)
        assert socket.close_code == code


async def test_closing_a_peer_that_does_not_answer_takes_a_second_at_most(
    client: ClientName, set_seconds: Callable[..., None]
) -> None:
    set_seconds(CLOSE_S=0.2)
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        gone.set()

    async with a_plain_server(mute) as url, a_socket(url, client) as socket:
        await asyncio.wait_for(socket.close(), 2)
        await socket.close()
        with pytest.raises(SocketClosed):
            await socket.send_bytes(b"x")
        await asyncio.wait_for(gone.wait(), 2)


async def test_closing_while_a_flood_comes(client: ClientName, set_seconds: Callable[..., None]) -> None:
    """The peer's answer is behind all that nobody took: picows gets to it, websockets gives up in time."""
    set_seconds(CLOSE_S=10.0 if client == "picows" else 0.3)

    async def flood(connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await connection.send(bytes(4000))

    async with a_server(flood) as url, a_socket(url, client) as socket:
        await asyncio.sleep(0.2)
        await asyncio.wait_for(socket.close(), 5)
        assert socket.close_code in ((1000,) if client == "picows" else (1000, 1006))


async def test_a_receiver_that_is_cancelled_takes_nothing_with_it(client: ClientName) -> None:
    async with a_server(echo) as url, a_socket(url, client) as socket:
        for number in range(20):
            receiver = asyncio.create_task(socket.receive())
            await asyncio.sleep(0)
            receiver.cancel()
            await asyncio.gather(receiver, return_exceptions=True)
            await socket.send_bytes(bytes([number]))
            assert await asyncio.wait_for(socket.receive(), 5) == bytes([number])


async def test_it_pings_and_a_peer_that_does_not_answer_is_left(
    client: ClientName, set_seconds: Callable[..., None]
) -> None:
    set_seconds(PING_S=0.2, PONG_S=0.2)
    pinged = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        if (await reader.readexactly(1))[0] == 0x89:
            pinged.set()
        await reader.read()

    async with a_plain_server(mute) as url, a_socket(url, client) as socket:
        await ended(socket)
        assert pinged.is_set()
        assert socket.close_code == 1006


# ---- not opened -----------------------------------------------------------------------------------------------------


async def refusal(url: str, client: ClientName) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        async with a_socket(url, client):
            pass
    shown = f"{caught.value} {caught.value.__cause__!r}"
    assert KEY not in shown
    assert "token=x" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (400, {"dg-error": "Keywords are not supported."}, b"{}", "HTTP 400: Keywords are not supported."),
        (402, {}, b"no \xc2\xa3 left", "HTTP 402: no £ left"),
        (429, {"Retry-After": "7.5"}, b"", "HTTP 429"),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"", "HTTP 503"),
        (301, {"Location": "ws://127.0.0.1:1/"}, b"", "HTTP 301"),
        (520, {}, b"x" * 5000, "HTTP 520: " + "x" * websocket.SAID_CHARS),
    ],
)
async def test_a_refusal_is_told_in_the_vendors_words(
    client: ClientName, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} No\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    async with a_plain_server(refuse) as url:
        error = await refusal(url, client)
        assert error.status == status
        assert str(error) == f"Vendor: refused the connection with {said}"
        assert error.retry_after_s == (7.5 if status == 429 else 0.0)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", HELLO + b"wrong\r\n\r\n"])
async def test_who_speaks_no_websocket_is_unreachable(client: ClientName, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with a_plain_server(other) as url:
        error = await refusal(url, client)
        assert str(error).startswith(f"Vendor: no connection to {url.partition('?')[0]}: ")
        assert error.status == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ws://127.0.0.1:1/p?token=x", "nothing listens there"),
        ("ws://nowhere.invalid/p?token=x", "its name is not found (DNS)"),
    ],
)
async def test_nobody_there(client: ClientName, url: str, why: str) -> None:
    error = await refusal(url, client)
    assert (error.status, str(error)) == (0, f"Vendor: no connection to {url.partition('?')[0]}: {why}")


@pytest.mark.parametrize("patience_s", [None, 0.1])
async def test_a_handshake_that_takes_too_long_is_given_up(
    client: ClientName, set_seconds: Callable[..., None], patience_s: float | None
) -> None:
    """By itself, or by the one who waits; no connection is left behind either way."""
    set_seconds(CONNECT_S=0.3)
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await mute(reader, writer)

    async with a_plain_server(silent) as url:
        if patience_s is None:
            await refusal(url, client)
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(patience_s), a_socket(url, client):
                    pass
        await asyncio.wait_for(gone.wait(), 2)


async def test_a_handshake_that_succeeds_when_nobody_waits_any_more_leaves_no_connection(client: ClientName) -> None:
    gone = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        try:
            await accept(reader, writer)
            await reader.read()
        finally:
            gone.set()

    async with a_plain_server(slow) as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), a_socket(url, client):
                pass
        await asyncio.wait_for(gone.wait(), 2)


# ---- TLS and the choice ---------------------------------------------------------------------------------------------


async def test_over_tls_and_only_with_a_certificate_that_is_trusted(
    client: ClientName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "both.pem"
    make_certificate(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with a_server(echo, tls=context) as url:
        websocket.tls.cache_clear()
        assert (await refusal(url, client)).status == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        websocket.tls.cache_clear()
        async with a_socket(url, client) as socket:
            await socket.send_bytes(b"x" * 100_000)
            assert await asyncio.wait_for(socket.receive(), 5) == b"x" * 100_000
    websocket.tls.cache_clear()


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "wss://api.example/x"
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert websocket.choose_client("auto", url) == "picows"
    assert websocket.choose_client("websockets", url) == "websockets"
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert websocket.choose_client("auto", url) == "websockets"
    assert websocket.choose_client("picows", url) == "picows"
    monkeypatch.setenv("no_proxy", "api.example")
    assert websocket.choose_client("auto", url) == "picows"
    monkeypatch.setattr(websocket, "has_picows", lambda: False)
    assert websocket.choose_client("auto", url) == "websockets"
    with pytest.raises(ProviderError, match="pip install picows"):
        websocket.choose_client("picows", url)
