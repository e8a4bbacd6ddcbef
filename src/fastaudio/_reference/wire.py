"""AudioSocket messages, and PCM of any size into frames of one size."""

from fastaudio._reference.types import Buffer
from fastaudio.errors import ProtocolError

KIND_HANGUP = 0x00
KIND_UUID = 0x01
KIND_DTMF = 0x03
KIND_ERROR = 0xFF
AUDIO_RATES = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
"""Samples a second of each audio kind (Asterisk: include/asterisk/res_audiosocket.h)."""
AUDIO_KINDS = {rate: kind for kind, rate in AUDIO_RATES.items()}

FRAME_BYTES_MAX = 7680
"""20 ms at 192 kHz."""

Piece = tuple[int, bytes, bool]
"""(kind, payload, last piece of its message)."""


def message(kind: int, payload: Buffer = b"") -> bytes:
    """An AudioSocket message: kind, length (big-endian), payload of 0..65535 bytes.

    Raises:
        ValueError: The payload is longer than a length can say.

    """
    data = bytes(payload)
    if len(data) > 65535:
        raise ValueError(f"a payload has at most 65535 bytes, not {len(data)}")
    return bytes([kind]) + len(data).to_bytes(2, "big") + data


class FrameParser:
    """Takes any split of the stream. UUID and DTMF come out whole, audio in pieces of whole samples as it arrives.

    An audio message with no whole sample in it comes out once, empty: it stands for a lost frame. The odd last byte of
    a message is no sample and is left out, as Asterisk leaves it out (res_audiosocket.c: samples = length / 2).
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self.odd = 0
        """Audio messages so far whose odd last byte was left out."""
        self._offset = 0
        self._header = b""
        self._gathered = b""  # of a UUID or DTMF message; of audio, the first byte of a sample that was cut
        self._remaining = 0
        self._delivered = False
        self._seen_uuid = False

    def feed(self, data: Buffer) -> list[Piece]:
        """The pieces that are complete with `data`.

        Raises:
            ProtocolError: The peer broke the protocol. What came before the error is returned first; the error is
                raised by the next call with data, and by each one after it.

        """
        rest = bytes(data)
        if not rest:
            return []
        pieces: list[Piece] = []
        while (step := self.take(rest)) is not None:
            rest, piece = step
            pieces.append(piece)
        if self.error is not None and not pieces:
            raise ProtocolError(self.error, self._offset)
        return pieces

    def take(self, rest: bytes) -> tuple[bytes, Piece] | None:
        """The first piece in `rest` and what is left behind it; None when no piece is complete, or on an error."""
        while self.error is None:
            if len(self._header) < 3:
                rest = self._take_header(rest)
                if len(self._header) < 3 or self.error is not None:
                    return None
            if self._remaining and not rest:
                return None
            rest, piece = self._take_payload(rest)
            if self._remaining == 0:
                self._header = b""
            if piece is not None:
                return rest, piece
        return None

    def _take_header(self, rest: bytes) -> bytes:
        taken = rest[: 3 - len(self._header)]
        self._header += taken
        self._offset += len(taken)
        if len(self._header) == 3:
            self._begin_payload(self._header[0], int.from_bytes(self._header[1:], "big"))
        return rest[len(taken) :]

    def _begin_payload(self, kind: int, length: int) -> None:
        if not self._seen_uuid and kind != KIND_UUID:
            self.error = "not_uuid"
        elif kind == KIND_UUID and self._seen_uuid:
            self.error = "second_uuid"
        elif (kind == KIND_UUID and length != 16) or (kind == KIND_DTMF and length != 1):
            self.error = "bad_length"
        elif kind not in {KIND_UUID, KIND_DTMF, KIND_HANGUP, KIND_ERROR, *AUDIO_RATES}:
            self.error = "bad_kind"
        self._seen_uuid = True
        self._remaining = length
        self._gathered = b""
        self._delivered = False

    def _take_payload(self, rest: bytes) -> tuple[bytes, Piece | None]:
        kind = self._header[0]
        if kind in AUDIO_RATES:
            return self._take_audio(kind, rest)
        taken, rest = rest[: self._remaining], rest[self._remaining :]
        self._offset += len(taken)
        self._remaining -= len(taken)
        if kind in {KIND_UUID, KIND_DTMF}:
            self._gathered += taken  # nothing of a hangup's or an error's payload is used
        if self._remaining:
            return rest, None
        return rest, (kind, self._gathered, True)

    def _take_audio(self, kind: int, rest: bytes) -> tuple[bytes, Piece | None]:
        # A sample that was cut by the split comes out by itself, in a piece of two bytes.
        most = 1 if self._gathered and rest else self._remaining
        taken, rest = rest[:most], rest[most:]
        self._offset += len(taken)
        self._remaining -= len(taken)
        audio = self._gathered + taken
        whole = len(audio) & ~1
        audio, self._gathered = audio[:whole], audio[whole:]
        last = self._remaining == 0
        lost = last and not audio and not self._delivered
        self.odd += last and bool(self._gathered)
        self._delivered = self._delivered or bool(audio)
        return rest, (kind, audio, last) if audio or lost else None


class Rechunker:
    """PCM of any size into frames of `frame_bytes`; the odd tail is carried over to the next chunk."""

    def __init__(self, frame_bytes: int = 320) -> None:
        """`frame_bytes` is even, 2..7680.

        Raises:
            ValueError: It is not.

        """
        if not 2 <= frame_bytes <= FRAME_BYTES_MAX or frame_bytes % 2:
            raise ValueError(f"frame_bytes must be even, 2..{FRAME_BYTES_MAX}, not {frame_bytes}")
        self._frame_bytes = frame_bytes
        self._carry = b""

    @property
    def carried(self) -> int:
        """Bytes that wait for the next chunk, 0..frame_bytes - 1."""
        return len(self._carry)

    def push(self, pcm: Buffer) -> list[bytes]:
        """The frames that are whole with `pcm`."""
        data = self._carry + bytes(pcm)
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._carry = data[whole:]
        return [data[at : at + self._frame_bytes] for at in range(0, whole, self._frame_bytes)]

    def finish(self) -> tuple[bytes, int]:
        """The end of an utterance: what is carried, padded with silence, and how many samples of it are audio."""
        samples = len(self._carry) // 2
        frame = self._carry[: 2 * samples].ljust(self._frame_bytes, b"\0")
        self._carry = b""
        return frame, samples

    def drop(self) -> None:
        """Forgets what is carried: its utterance was flushed."""
        self._carry = b""
