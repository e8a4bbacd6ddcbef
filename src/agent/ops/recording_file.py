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


class StereoReader(Protocol):
    """A recording that is being read."""

    rate: int
    frames: int
    """How many there are, as far as the file says."""

    def read(self, frames: int) -> bytes:
        """As many frames as there still are, at most so many: little-endian interleaved samples. Raises ValueError."""


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
    """Rate and little-endian interleaved samples of a recording. Raises what `open_stereo` does."""
    with open_stereo(path) as reader:
        return reader.rate, b"".join(iter(lambda: reader.read(_READ_FRAMES), b""))


@contextlib.contextmanager
def open_stereo(path: Path) -> Iterator[StereoReader]:
    """A recording, to be read in pieces.

    Raises OSError, and ValueError for a file that is no stereo recording, or that cannot be read without the extra.
    """
    with contextlib.closing(_PackedReader(path) if path.suffix in _PACKED else _WavReader(path)) as reader:
        yield reader


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


class _WavReader:
    def __init__(self, path: Path) -> None:
        try:
            self._file = wave.open(str(path), "rb")  # noqa: SIM115 - it is closed by `close`
        except (wave.Error, EOFError) as error:
            raise ValueError(f"{path} is no WAV file: {error}") from error
        if (self._file.getnchannels(), self._file.getsampwidth()) != (2, 2):
            self._file.close()
            raise ValueError(f"{path} is no stereo recording of 16 bits")
        self.rate, self.frames = self._file.getframerate(), self._file.getnframes()

    def read(self, frames: int) -> bytes:
        return self._file.readframes(frames)

    def close(self) -> None:
        self._file.close()


class _PackedReader:
    def __init__(self, path: Path) -> None:
        try:
            import soundfile
        except ImportError as error:
            raise ValueError(f"{path} needs the package soundfile: {how_to_install('recording')}") from error
        path.stat()  # says better than libsndfile what is wrong with it
        self._path, self._failures = path, soundfile.LibsndfileError
        with self._as_value_error():
            self._file: Any = soundfile.SoundFile(str(path))
        if self._file.channels != 2:
            self._file.close()
            raise ValueError(f"{path} is no stereo recording")
        self.rate, self.frames = int(self._file.samplerate), int(self._file.frames)

    def read(self, frames: int) -> bytes:
        with self._as_value_error():
            return _native(bytes(self._file.buffer_read(frames, dtype="int16")))

    def close(self) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _as_value_error(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise ValueError(f"{self._path} is no recording: {error}") from error


def _native(stereo: bytes) -> bytes:
    """Between little-endian and this machine's own byte order."""
    if sys.byteorder == "little":
        return stereo
    swapped = array.array("h", stereo)
    swapped.byteswap()
    return swapped.tobytes()
