"""What the caller says: frames for the wire, line noise when it says nothing, and the track of what was sent."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from agent.sandbox.caller.listen import LOUD_RMS, rms
from agent.sandbox.caller.script import Script, ScriptError, made_sound, with_pauses
from agent.sandbox.caller.sounds import make_sound
from agent.sandbox.caller.wire import FRAME_SECONDS, frame_bytes
from agent.speech_engines import Samples, Voice
from agent.speech_engines.audio import resample, to_float, to_int16, trim_silence

NOISE_RMS = 8.0
"""A quiet telephone line: -72 dBFS."""


class Mouth:
    """Gives the wire a frame for each tick: speech while there is some, noise otherwise."""

    def __init__(self, noise_rms: float = NOISE_RMS, rate: int = 8000) -> None:
        """Make a caller on a line with so much noise (RMS of 32768), at so many samples a second."""
        self._frame = frame_bytes(rate) // 2
        noise = np.random.default_rng(8000).normal(0.0, noise_rms, 100 * self._frame)
        self._noise = np.rint(noise).astype(np.int16).reshape(100, self._frame)
        self._speech = np.zeros((0, self._frame), np.int16)
        self._next = 0
        self.track = bytearray()
        """The caller's audio on the call's time line, as it was sent; silence where nothing was."""
        self.began_s: float | None = None
        """When the first loud frame of the present or last utterance was sent, in seconds since the UUID."""
        self.ended_s = 0.0
        """When its last loud frame so far had been sent."""

    def say(self, speech: Samples) -> None:
        """Begin to say `speech` (at the line's rate) with the next frame, instead of anything being said."""
        self._speech = np.pad(speech, (0, -len(speech) % self._frame)).reshape(-1, self._frame)
        self._next = 0
        self.began_s = None

    @property
    def speaking(self) -> bool:
        """Whether there is still something to say."""
        return self._next < len(self._speech)

    def next_frame(self, tick: int) -> bytes:
        """Return the frame of a tick, 20 ms each from the UUID on."""
        frame = self._noise[tick % len(self._noise)]
        if self.speaking:
            spoken = self._speech[self._next]
            self._next += 1
            if rms(spoken.tobytes()) > LOUD_RMS:
                if self.began_s is None:
                    self.began_s = tick * FRAME_SECONDS
                self.ended_s = (tick + 1) * FRAME_SECONDS
            frame = np.clip(spoken.astype(np.int32) + frame, -32768, 32767).astype(np.int16)
        sent: bytes = frame.astype("<i2").tobytes()
        self.track += bytes(tick * 2 * self._frame - len(self.track)) + sent
        return sent


def prepare(script: Script, voice: Voice | None, rate: int = 8000) -> dict[str, Samples]:
    """Speak and read everything that the script may need, at `rate` Hz; by text, and by path for files. Blocks.

    Raises `ScriptError` for a file that cannot be used, and for a text that the voice makes no sound of.
    """
    sounds = {text: spoken(text, voice, rate) for text in script.texts()}
    return sounds | {text: played(text, rate) for text in script.recordings()}


def spoken(text: str, voice: Voice | None, rate: int) -> Samples:
    """A text as it sounds, with its pauses, at `rate` Hz. Blocks. Raises `ScriptError`."""
    if voice is None:
        raise ScriptError("there is no voice to speak with")
    return np.concatenate([_spoken(piece, voice, rate) for piece in with_pauses(text)])


def played(text: str, rate: int) -> Samples:
    """A WAV file, or a sound in angle brackets, at `rate` Hz. Blocks. Raises `ScriptError`."""
    made = made_sound(text)
    return make_sound(*made, rate) if made else read_wav(Path(text), rate)


def _spoken(piece: str | float, voice: Voice, rate: int) -> Samples:
    """A piece of a text as it sounds, or so many seconds of silence."""
    if isinstance(piece, float):
        return np.zeros(round(piece * rate), np.int16)
    samples = to_int16(trim_silence(to_float(voice.speak(piece, rate).samples), rate))
    if not len(samples):
        raise ScriptError(f"the voice {voice.name!r} makes no sound of {piece!r}")
    return samples


def read_wav(path: Path, wanted: int = 8000) -> Samples:
    """Read a WAV file of 16 bits, its first channel, at `wanted` Hz. Raises `ScriptError`."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ScriptError(f"{path} has {8 * file.getsampwidth()} bits a sample; 16 are needed")
            data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            samples, rate = data[:: file.getnchannels()], file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise ScriptError(f"cannot read {path} as a WAV file: {error}") from error
    return to_int16(resample(to_float(samples), rate, wanted))
