"""The header of the PROXY protocol, version 2, as a balancer puts it in front of a connection."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from fastaudio.errors import ProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 40000, 9099)
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 40001, 9099)
TLVS = b"\x03\x00\x04\xde\xad\xbe\xef" + b"\x04\x00\x05hello"


def header(version_command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + bytes([version_command, family]) + struct.pack("!H", len(payload)) + payload


SOURCES = [
    (header(0x21, 0x11, IPV4), ("192.0.2.7", 40000)),
    (header(0x21, 0x11, IPV4 + TLVS), ("192.0.2.7", 40000)),
    (header(0x21, 0x21, IPV6), ("2001:db8::7", 40001)),
    (header(0x21, 0x21, IPV6 + TLVS), ("2001:db8::7", 40001)),
    (header(0x21, 0x12, IPV4), None),  # datagrams: not a connection of ours
    (header(0x21, 0x00, b""), None),
    (header(0x21, 0x00, TLVS), None),
    (header(0x21, 0x31, bytes(216)), None),
    (header(0x20, 0x00, b""), None),
    (header(0x20, 0x11, IPV4), None),
    (header(0x20, 0xFF, b"anything"), None),
    (header(0x21, 0x11, IPV4 + bytes(4096 - 16 - 12)), ("192.0.2.7", 40000)),
]
REFUSED = [
    (b"\x01\x00\x10" + bytes(16), "no_proxy", 1),
    (b"GET / HTTP/1.1\r\n", "no_proxy", 1),
    (b"POST / HTTP/1.1\r\n", "no_proxy", 2),
    (b"\r\n\r\nQUIT\n", "no_proxy", 5),
    (SIGNATURE[:-1] + b"!", "no_proxy", 12),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 9099\r\n", "proxy_v1", 6),
    (b"PROXY UNKNOWN\r\n", "proxy_v1", 6),
    (b"PROXIES", "no_proxy", 5),
    (header(0x11, 0x11, IPV4), "bad_proxy", 13),
    (header(0x31, 0x11, IPV4), "bad_proxy", 13),
    (header(0x22, 0x11, IPV4), "bad_proxy", 13),
    (header(0x21, 0x41, IPV4), "bad_proxy", 16),
    (header(0x21, 0x13, IPV4), "bad_proxy", 16),
    (header(0x21, 0x10, IPV4), "bad_proxy", 16),
    (header(0x21, 0x01, b""), "bad_proxy", 16),
    (header(0x21, 0x11, IPV4[:-1]), "bad_proxy", 16),
    (header(0x21, 0x21, IPV6[:-1]), "bad_proxy", 16),
    (header(0x21, 0x31, bytes(215)), "bad_proxy", 16),
    (header(0x21, 0x11, IPV4 + bytes(4096 - 16 - 11)), "bad_proxy", 16),
    (header(0x20, 0x00, bytes(4081)), "bad_proxy", 16),
]


@pytest.mark.parametrize(("stream", "source"), SOURCES)
def test_a_header_tells_its_source_and_leaves_what_follows(
    core: Any, stream: bytes, source: tuple[str, int] | None
) -> None:
    one = core.ProxyHeader()
    assert one.feed(stream + b"what follows") == len(stream)
    assert (one.wants, one.source, one.error) == (0, source, None)
    assert one.feed(b"what follows") == 0


@pytest.mark.parametrize(("stream", "source"), SOURCES)
def test_it_may_come_byte_by_byte(core: Any, stream: bytes, source: tuple[str, int] | None) -> None:
    one = core.ProxyHeader()
    for byte in stream:
        assert one.source is None
        assert one.wants > 0
        assert one.feed(bytes([byte])) == 1
    assert (one.wants, one.source) == (0, source)


@pytest.mark.parametrize(("stream", "source"), SOURCES)
def test_who_reads_what_is_wanted_reads_nothing_of_what_follows(core: Any, stream: bytes, source: object) -> None:
    one = core.ProxyHeader()
    at = 0
    while wants := one.wants:
        assert at + wants <= len(stream)
        one.feed(stream[at : at + wants])
        at += wants
    assert at == len(stream)
    assert one.source == source


@pytest.mark.parametrize(("stream", "reason", "offset"), REFUSED)
def test_what_is_no_header_is_refused_where_it_shows(core: Any, stream: bytes, reason: str, offset: int) -> None:
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        one = core.ProxyHeader()
        with pytest.raises(ProtocolError) as caught:
            feed_all(one, chunks)
        assert (caught.value.reason, caught.value.offset) == (reason, offset)
        assert (one.error, one.source) == (reason, None)
        with pytest.raises(ProtocolError, match=reason):
            one.feed(b"more")
        assert one.feed(b"") == 0


def feed_all(one: Any, chunks: list[bytes]) -> None:
    for chunk in chunks:
        one.feed(chunk)


def test_not_one_byte_is_no_error(core: Any) -> None:
    one = core.ProxyHeader()
    assert one.feed(b"") == 0
    assert (one.wants, one.source, one.error) == (16, None, None)
