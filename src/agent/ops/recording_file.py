"""The files that recordings are: WAV, FLAC or Opus, written as the call goes on.

Whatever becomes of the process, what was written can be played: a WAV's header is brought up to date with each piece,
and so is FLAC's number of samples; Opus is a stream of pages. FLAC and Opus are libsndfile's work (the extra
`recording`).
"""

from __future__ import annotations

import array
import contextlib
import os
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from agent.ops.setting_types import RecordingFormat
from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_PACKED: Final = {".flac": ("FLAC", "PCM_16"), ".opus": ("OGG", "OPUS")}
_READ_FRAMES: Final = 1 << 16


class RecordingFile(Protocol):
    """A file of 16-bit stereo PCM that is being written, by one thread."""

    def write(self, stereo: bytes) -> None:
        """Add little-endian interleaved samples; they are in the file then. Raises OSError."""

    def close(self) -> None:
        """Complete it. Raises OSError; closed it is all the same."""


def name_of(uuid: str, form: RecordingFormat) -> str:
    """The file name of a call's recording."""
    return f"{uuid}.{form}"


def create(path: Path, rate: int) -> RecordingFile:
    """A new file, readable by its owner alone; its format is told by its suffix, and WAV otherwise. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    if path.suffix in _PACKED:
        return _PackedFile(descriptor, rate, *_PACKED[path.suffix])
    return _WavFile(os.fdopen(descriptor, "wb"), rate)


def read_stereo(path: Path) -> tuple[int, bytes]:
    """Rate and little-endian interleaved samples of a recording.

    Raises OSError, and ValueError for a file that is no stereo recording, or that cannot be read without the extra.
    """
    if path.suffix in _PACKED:
        return _read_packed(path)
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (2, 2):
                raise ValueError(f"{path} is no stereo recording of 16 bits")
            return file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file: {error}") from error


class _WavFile:
    def __init__(self, file: BinaryIO, rate: int) -> None:
        self._file = file
        self._writer = wave.open(file, "wb")  # noqa: SIM115 - it is closed by `close`
        self._writer.setnchannels(2)
        self._writer.setsampwidth(2)
        self._writer.setframerate(rate)

    def write(self, stereo: bytes) -> None:
        self._writer.writeframes(stereo)  # which puts the length into the header, too
        self._file.flush()

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class _PackedFile:
    def __init__(self, descriptor: int, rate: int, form: str, subtype: str) -> None:
        import soundfile

        self._descriptor = descriptor
        self._failures: type[Exception] = soundfile.LibsndfileError
        self._flac = form == "FLAC"
        self._frames = 0
        with self._as_os_error():
            self._file: Any = soundfile.SoundFile(
                descriptor, "w", samplerate=rate, channels=2, format=form, subtype=subtype, closefd=True
            )

    def write(self, stereo: bytes) -> None:
        with self._as_os_error():
            self._file.buffer_write(_native(stereo), dtype="int16")
        self._frames += len(stereo) // 4
        if self._flac:
            self._put_length()

    def close(self) -> None:
        with self._as_os_error():
            self._file.close()

    def _put_length(self) -> None:
        """Put the number of samples whose blocks are written into the header (RFC 9639, 8.2: 36 bits at byte 21)."""
        block = int.from_bytes(os.pread(self._descriptor, 2, 8), "big")
        written = (self._frames - 1) // block * block if block else 0  # the encoder holds a block until it is over
        first = os.pread(self._descriptor, 1, 21)
        if first and written:
            high = (first[0] & 0xF0) | (written >> 32 & 0x0F)
            os.pwrite(self._descriptor, bytes([high]) + (written & 0xFFFFFFFF).to_bytes(4, "big"), 21)

    @contextlib.contextmanager
    def _as_os_error(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise OSError(0, str(error)) from error


def _read_packed(path: Path) -> tuple[int, bytes]:
    try:
        import soundfile
    except ImportError as error:
        raise ValueError(f"{path} needs the package soundfile: {how_to_install('recording')}") from error
    path.stat()  # says better than libsndfile what is wrong with it
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.channels != 2:
                raise ValueError(f"{path} is no stereo recording")
            pieces = iter(lambda: bytes(file.buffer_read(_READ_FRAMES, dtype="int16")), b"")
            return int(file.samplerate), _native(b"".join(pieces))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is no recording: {error}") from error


def _native(stereo: bytes) -> bytes:
    """Between little-endian and this machine's own byte order."""
    if sys.byteorder == "little":
        return stereo
    swapped = array.array("h", stereo)
    swapped.byteswap()
    return swapped.tobytes()
