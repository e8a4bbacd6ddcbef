"""What the caller says: frames for the wire, line noise when it says nothing, and the track of what was sent.

Sounds are 16-bit little-endian PCM at the line's rate. Making speech and changing a rate need the extra `local`;
sending what is there does not.
"""

from __future__ import annotations

import random
import struct
import wave
from pathlib import Path

from agent.sandbox.caller.listen import LOUD_RMS, at_rate, rms
from agent.sandbox.caller.script import Script, ScriptError, made_sound, with_pauses
from agent.sandbox.caller.wire import FRAME_SECONDS, frame_bytes
from agent.speech_engines import Voice
from fastaudio.extras import how_to_install

NOISE_RMS = 8.0
"""A quiet telephone line: -72 dBFS."""
_NOISES = 100
"""Frames of noise, over and over."""


class Mouth:
    """Gives the wire a frame for each tick: speech while there is some, noise otherwise."""

    def __init__(self, noise_rms: float = NOISE_RMS, rate: int = 8000) -> None:
        """Make a caller on a line with so much noise (RMS of 32768), at so many samples a second."""
        self._frame = frame_bytes(rate)
        self._form = struct.Struct(f"<{self._frame // 2}h")
        noise = random.Random(8000)
        self._noise = [[round(noise.gauss(0.0, noise_rms)) for _ in range(self._frame // 2)] for _ in range(_NOISES)]
        self._quiet = [self._form.pack(*map(_clipped, frame)) for frame in self._noise]
        self._speech = b""
        self._next = 0
        self.track = bytearray()
        """The caller's audio on the call's time line, as it was sent; silence where nothing was."""
        self.began_s: float | None = None
        """When the first loud frame of the present or last utterance was sent, in seconds since the UUID."""
        self.ended_s = 0.0
        """When its last loud frame so far had been sent."""

    def say(self, speech: bytes) -> None:
        """Begin to say `speech` (at the line's rate) with the next frame, instead of anything being said."""
        self._speech = speech + bytes(-len(speech) % self._frame)
        self._next = 0
        self.began_s = None

    @property
    def speaking(self) -> bool:
        """Whether there is still something to say."""
        return self._next < len(self._speech)

    def next_frame(self, tick: int) -> bytes:
        """Return the frame of a tick, 20 ms each from the UUID on."""
        sent = self._quiet[tick % _NOISES]
        if self.speaking:
            spoken = self._speech[self._next : self._next + self._frame]
            self._next += self._frame
            if rms(spoken) > LOUD_RMS:
                if self.began_s is None:
                    self.began_s = tick * FRAME_SECONDS
                self.ended_s = (tick + 1) * FRAME_SECONDS
            both = zip(self._form.unpack(spoken), self._noise[tick % _NOISES], strict=True)
            sent = self._form.pack(*(_clipped(one + other) for one, other in both))
        self.track += bytes(tick * self._frame - len(self.track)) + sent
        return sent


def _clipped(value: int) -> int:
    return -32768 if value < -32768 else min(value, 32767)


def prepare(script: Script, voice: Voice | None, rate: int = 8000) -> dict[str, bytes]:
    """Speak and read everything that the script may need, at `rate` Hz; by text, and by path for files. Blocks.

    Raises `ScriptError` for a file that cannot be used, and for a text that the voice makes no sound of.
    """
    sounds = {text: spoken(text, voice, rate) for text in script.texts()}
    return sounds | {text: played(text, rate) for text in script.recordings()}


def spoken(text: str, voice: Voice | None, rate: int) -> bytes:
    """A text as it sounds, with its pauses, at `rate` Hz. Blocks. Raises `ScriptError`."""
    if voice is None:
        raise ScriptError("there is no voice to speak with")
    return b"".join(_spoken(piece, voice, rate) for piece in with_pauses(text))


def played(text: str, rate: int) -> bytes:
    """A WAV file, or a sound in angle brackets, at `rate` Hz. Blocks. Raises `ScriptError`."""
    try:
        if (made := made_sound(text)) is None:
            return read_wav(Path(text), rate)
        from agent.sandbox.caller.sounds import make_sound

        return make_sound(*made, rate).astype("<i2").tobytes()
    except ModuleNotFoundError as error:
        raise ScriptError(f"to play {text} the package {error.name!r} is needed: {how_to_install('local')}") from error


def _spoken(piece: str | float, voice: Voice, rate: int) -> bytes:
    """A piece of a text as it sounds, or so many seconds of silence."""
    from agent.speech_engines.audio import to_float, to_int16, trim_silence

    if isinstance(piece, float):
        return bytes(2 * round(piece * rate))
    samples = to_int16(trim_silence(to_float(voice.speak(piece, rate).samples), rate))
    if not len(samples):
        raise ScriptError(f"the voice {voice.name!r} makes no sound of {piece!r}")
    return samples.astype("<i2").tobytes()


def read_wav(path: Path, wanted: int = 8000) -> bytes:
    """Read a WAV file of 16 bits, its first channel, at `wanted` Hz. Raises `ScriptError`.

    Raises ModuleNotFoundError for another rate than that where the extra `local` is missing.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ScriptError(f"{path} has {8 * file.getsampwidth()} bits a sample; 16 are needed")
            frames, channels, rate = file.readframes(file.getnframes()), file.getnchannels(), file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise ScriptError(f"cannot read {path} as a WAV file: {error}") from error
    samples = b"".join(frames[at : at + 2] for at in range(0, len(frames), 2 * channels)) if channels > 1 else frames
    return samples if rate == wanted else at_rate(samples, rate, wanted)
