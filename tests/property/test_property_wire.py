"""Any split of any stream, any size of PCM: the same on both sides, and nothing lost or made up."""

from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaudio import _core, _reference
from fastaudio.errors import ProtocolError

UUID = bytes(range(16))
HELLO = _core.message(0x01, UUID)
Piece = tuple[int, bytes, bool]

audio = st.tuples(st.sampled_from(range(0x10, 0x19)), st.binary(max_size=700))
messages = st.lists(
    st.one_of(
        audio,
        audio,
        st.tuples(st.just(0x03), st.binary(min_size=1, max_size=1)),
        st.tuples(st.sampled_from([0x00, 0xFF]), st.binary(max_size=5)),
    ),
    max_size=8,
)


@st.composite
def splits(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream cut at any places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def parse(module: Any, chunks: list[bytes]) -> tuple[list[list[Piece]], tuple[str, int] | None]:
    """The pieces of each chunk, and the error with its place."""
    parser = module.FrameParser()
    got = []
    try:
        for chunk in [*chunks, b"\0"]:  # an error comes with the next data at the latest
            got += [parser.feed(chunk)]
    except ProtocolError as error:
        return got, (error.reason, error.offset)
    return got, None


@given(data=st.data(), sent=messages)
def test_any_split_says_what_was_sent(data: st.DataObject, sent: list[tuple[int, bytes]]) -> None:
    stream = HELLO + b"".join(_core.message(kind, payload) for kind, payload in sent)
    chunks = data.draw(splits(stream))
    got, error = parse(_core, chunks)
    assert (got, error) == parse(_reference, chunks)
    assert error is None
    pieces = [piece for chunk in got for piece in chunk]
    assert all(len(payload) % 2 == 0 for kind, payload, _ in pieces if kind >= 0x10 and kind != 0xFF)

    # Audio runs are compared as runs: where one message ends within a run is not told when its last byte is odd.
    def runs(items: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        return [
            item
            for kind, group in groupby(items, key=lambda item: item[0])
            for item in ([(kind, b"".join(p for _, p in group))] if 0x10 <= kind < 0xFF else list(group))
        ]

    whole = [(0x01, UUID)]
    for kind, payload in sent:
        keeps = payload[: len(payload) & ~1] if 0x10 <= kind < 0xFF else payload if kind == 0x03 else b""
        whole.append((kind, keeps))
    assert runs([(kind, payload) for kind, payload, _ in pieces]) == runs(whole)
    lost = sum(len(payload) < 2 for kind, payload in sent if 0x10 <= kind < 0xFF)
    assert sum(not payload for kind, payload, _ in pieces if 0x10 <= kind < 0xFF) == lost


@given(data=st.data(), sent=messages, noise=st.binary(max_size=60), greet=st.booleans())
def test_garbage_fails_alike(data: st.DataObject, sent: list[tuple[int, bytes]], noise: bytes, greet: bool) -> None:
    stream = (HELLO if greet else b"") + b"".join(_core.message(*message) for message in sent) + noise
    chunks = data.draw(splits(stream))
    assert parse(_core, chunks) == parse(_reference, chunks)


@given(kind=st.integers(0, 255), payload=st.binary(max_size=400))
def test_message(kind: int, payload: bytes) -> None:
    assert _core.message(kind, payload) == _reference.message(kind, payload)


@pytest.mark.parametrize("module", [_core, _reference], ids=["compiled", "reference"])
@given(frame_bytes=st.integers(1, 3840).map(lambda n: 2 * n), chunks=st.lists(st.binary(max_size=1500), max_size=10))
def test_rechunking_loses_and_adds_nothing(module: Any, frame_bytes: int, chunks: list[bytes]) -> None:
    rechunk = module.Rechunker(frame_bytes)
    frames = [frame for chunk in chunks for frame in rechunk.push(chunk)]
    carried = rechunk.carried
    last, samples = rechunk.finish()
    assert all(len(frame) == frame_bytes for frame in [*frames, last])
    assert samples == carried // 2
    assert last[2 * samples :] == bytes(frame_bytes - 2 * samples)
    everything = b"".join(chunks)
    assert b"".join(frames) + last[: 2 * samples] == everything[: len(everything) & ~1]
    assert len(frames) == len(everything) // frame_bytes


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@st.composite
def proxy_headers(draw: st.DrawFn) -> bytes:
    """Mostly headers: any command, family and length, more likely those that there are; some broken in one byte."""
    command = draw(st.one_of(st.sampled_from([0x20, 0x21]), st.integers(0, 255)))
    family = draw(st.one_of(st.sampled_from([0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]), st.integers(0, 255)))
    payload = draw(st.one_of(st.binary(max_size=60), st.integers(200, 4200).map(lambda size: bytes(size))))
    stream = SIGNATURE + bytes([command, family]) + len(payload).to_bytes(2, "big") + payload
    if draw(st.integers(0, 4)) == 0:
        at, byte = draw(st.integers(0, 15)), draw(st.integers(0, 255))
        stream = stream[:at] + bytes([byte]) + stream[at + 1 :]
    return draw(st.sampled_from([stream, stream, stream, b"PROXY TCP4 " + stream, b"PRO" + stream]))


def take_header(module: Any, chunks: list[bytes]) -> tuple[list[int], int, Any, Any]:
    """What is used of each chunk, what is wanted at last, the source, and the error with its place."""
    header = module.ProxyHeader()
    used = []
    try:
        for chunk in chunks:
            used += [header.feed(chunk)]
    except ProtocolError as error:
        return used, 0, header.source, (error.reason, error.offset, header.error)
    return used, header.wants, header.source, header.error


@given(data=st.data(), stream=st.one_of(proxy_headers(), st.binary(max_size=80)), behind=st.binary(max_size=40))
def test_a_balancers_header_is_read_alike(data: st.DataObject, stream: bytes, behind: bytes) -> None:
    chunks = data.draw(splits(stream + behind))
    got = take_header(_core, chunks)
    assert got == take_header(_reference, chunks)
    assert got[1:] == take_header(_core, [stream + behind])[1:], "whatever the split"
