"""AudioSocket messages and frames of one size."""

from typing import Any

import pytest

from fastaudio.errors import ProtocolError

UUID = bytes(range(16))
HELLO = b"\x01\x00\x10" + UUID


def test_message_has_kind_and_big_endian_length(core: Any) -> None:
    assert core.message(0x10, b"ab") == b"\x10\x00\x02ab"
    assert core.message(0x00) == b"\x00\x00\x00"
    assert core.message(0x10, bytes(0x1234))[:3] == b"\x10\x12\x34"
    assert len(core.message(0x10, bytes(65535))) == 65538


def test_message_refuses_what_a_length_cannot_say(core: Any) -> None:
    with pytest.raises(ValueError, match="65535"):
        core.message(0x10, bytes(65536))


def test_uuid_digit_audio_and_hangup(core: Any) -> None:
    stream = HELLO + core.message(0x03, b"5") + core.message(0x10, b"abcd") + core.message(0x00)
    assert core.FrameParser().feed(stream) == [
        (0x01, UUID, True),
        (0x03, b"5", True),
        (0x10, b"abcd", True),
        (0x00, b"", True),
    ]


def test_uuid_and_digit_come_out_whole_however_they_are_cut(core: Any) -> None:
    parser = core.FrameParser()
    got = [piece for byte in HELLO + b"\x03\x00\x01#" for piece in parser.feed(bytes([byte]))]
    assert got == [(0x01, UUID, True), (0x03, b"#", True)]


def test_a_sample_cut_by_the_split_comes_out_whole(core: Any) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    assert parser.feed(b"\x10\x00\x06abc") == [(0x10, b"ab", False)]
    assert parser.feed(b"def") == [(0x10, b"cd", False), (0x10, b"ef", True)]


@pytest.mark.parametrize("kind", range(0x10, 0x19))
def test_each_audio_kind_is_taken(core: Any, kind: int) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    assert parser.feed(core.message(kind, b"ab")) == [(kind, b"ab", True)]


def test_an_odd_last_byte_is_no_sample(core: Any) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    assert parser.feed(b"\x10\x00\x03abc" + b"\x10\x00\x02de") == [(0x10, b"ab", True), (0x10, b"de", True)]


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_audio_without_a_sample_is_a_lost_frame(core: Any, payload: bytes) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    assert parser.feed(core.message(0x10, payload)) == [(0x10, b"", True)]


def test_the_longest_message(core: Any) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    got = parser.feed(core.message(0x10, bytes(65535)))
    assert [len(payload) for _, payload, _ in got] == [65534]


def test_an_error_code_is_passed_over(core: Any) -> None:
    parser = core.FrameParser()
    parser.feed(HELLO)
    assert parser.feed(b"\xff\x00\x01\x02\x10\x00\x02ab") == [(0xFF, b"", True), (0x10, b"ab", True)]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x10\x00\x02ab", "not_uuid"),
        (b"GET / HTTP/1.1\r\n", "not_uuid"),
        (b"\x01\x00\x0f", "bad_length"),
        (b"\x01\x00\x24", "bad_length"),
        (HELLO + HELLO, "second_uuid"),
        (HELLO + b"\x03\x00\x02", "bad_length"),
        (HELLO + b"\x03\x00\x00", "bad_length"),
        (HELLO + b"\x02\x00\x00", "bad_kind"),
        (HELLO + b"\x19\x00\x02", "bad_kind"),
    ],
)
def test_malformed_input_is_named_and_stays_failed(core: Any, stream: bytes, reason: str) -> None:
    parser = core.FrameParser()
    if stream.startswith(HELLO):
        # What was good is not lost: the error comes with the next call.
        assert parser.feed(stream) == [(0x01, UUID, True)]
        stream = b"more"
    with pytest.raises(ProtocolError) as error:
        parser.feed(stream)
    assert error.value.reason == parser.error == reason
    assert reason in str(error.value)
    with pytest.raises(ProtocolError):
        parser.feed(b"\x00")


def test_a_bad_length_is_refused_before_its_payload(core: Any) -> None:
    with pytest.raises(ProtocolError) as error:
        core.FrameParser().feed(b"\x01\xff\xff")
    assert error.value.offset == 3


def test_no_data_is_no_piece(core: Any) -> None:
    parser = core.FrameParser()
    assert parser.feed(b"") == []
    assert parser.error is None


def test_rechunker_carries_the_tail_over(core: Any) -> None:
    rechunk = core.Rechunker(4)
    assert rechunk.push(b"abcde") == [b"abcd"]
    assert rechunk.carried == 1
    assert rechunk.push(b"fg") == []
    assert rechunk.push(b"hijklm") == [b"efgh", b"ijkl"]
    assert rechunk.finish() == (b"\0\0\0\0", 0)  # an odd byte is no sample
    assert rechunk.carried == 0


def test_rechunker_pads_only_at_the_end(core: Any) -> None:
    rechunk = core.Rechunker(320)
    rechunk.push(b"\1" * 100)
    assert rechunk.finish() == (b"\1" * 100 + bytes(220), 50)
    assert rechunk.finish() == (bytes(320), 0)


@pytest.mark.parametrize("size", [0, 1, 321, 7682])
def test_rechunker_refuses_odd_and_large_frames(core: Any, size: int) -> None:
    with pytest.raises(ValueError, match="frame_bytes must be even"):
        core.Rechunker(size)
