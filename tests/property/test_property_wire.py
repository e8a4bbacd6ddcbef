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
