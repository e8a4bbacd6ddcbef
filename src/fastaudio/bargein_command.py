"""The command `python -m fastaudio bargein`: what a detector makes of a recording, printed and drawn."""

from __future__ import annotations

import argparse
import shlex
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from fastaudio import _core
from fastaudio.detector import BargeInDetector, State
from fastaudio.errors import FastAudioError
from fastaudio.extras import how_to_install
from fastaudio.options import TICK_MS, BargeInOptions, Detector

AUDIBLE: Final = 30
"""The level (RMS) from which something is being played: comfort noise is below, any speech above."""
PAUSE_MS: Final = 500
"""The agent still speaks when it was silent for less: a clause has ended, or a hold has begun."""
LEAD_MS: Final = 100
"""What an agent that was interrupted may still say: the frames that were sent ahead, and a ramp."""


class RecordingError(Exception):
    """A recording cannot be used; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """16-bit mono PCM of the caller, and of what was played at the same time (None: not known)."""

    rate: int
    caller: bytes
    played: bytes | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of 20 ms."""
        return self.rate // 50 * 2

    @property
    def frames(self) -> int:
        """Whole frames of 20 ms."""
        return len(self.caller) // self.frame_bytes


@dataclass(slots=True)
class Episode:
    """A hold and what came of it; times are ms from the beginning, None for what did not come.

    `over_agent`: the agent was speaking. Where it was not, the caller has the floor and interrupts nobody.
    """

    hold_ms: int
    over_agent: bool = True
    resume_ms: int | None = None
    barge_in_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a detector said, and the levels it went by: one of each a frame."""

    recording: Recording
    detector: str
    episodes: list[Episode]
    levels: list[int]
    gates: list[int]


def analyse(recording: Recording, detector: Detector, options: BargeInOptions | None = None) -> Analysis:
    """Run a detector over a recording. Raises as `BargeInDetector` does."""
    judge = BargeInDetector(detector, recording.rate, options=options)
    size = recording.frame_bytes
    episodes: list[Episode] = []
    gates: list[int] = []
    before: State = "idle"
    floor = _Floor()
    for number in range(recording.frames):
        at = slice(number * size, (number + 1) * size)
        played = recording.played[at] if recording.played is not None else None
        state = judge.feed(recording.caller[at], played)
        gates.append(judge.gate)
        now_ms = (number + 1) * TICK_MS  # known when its frame is whole
        if played is None or _core.rms(played) > AUDIBLE:
            floor.agent_speaks(now_ms)
        if state == "hold" and before != "hold":
            episodes.append(Episode(now_ms, over_agent=floor.is_the_agents(now_ms)))
        elif state == "barge_in" and before != "barge_in":
            episodes[-1].barge_in_ms = now_ms
            if played is not None:
                floor.taken(now_ms)
        elif state == "resume":
            episodes[-1].resume_ms = now_ms
        elif state == "idle" and before == "barge_in":
            episodes[-1].end_ms = now_ms
        before = state
    return Analysis(recording, detector, episodes, _core.rms_batch(recording.caller, size // 2), gates)


class _Floor:
    """Who has the floor: the agent, until it has been silent for a while, or falls silent when it is interrupted."""

    def __init__(self) -> None:
        self._taken_ms = -LEAD_MS
        self._spoke_ms = -PAUSE_MS

    def agent_speaks(self, now_ms: int) -> None:
        if now_ms > self._taken_ms + LEAD_MS:
            self._spoke_ms = now_ms

    def taken(self, now_ms: int) -> None:
        """The caller interrupts."""
        self._taken_ms, self._spoke_ms = now_ms, -PAUSE_MS

    def is_the_agents(self, now_ms: int) -> bool:
        return now_ms - self._spoke_ms < PAUSE_MS


def describe(analysis: Analysis) -> Iterator[str]:
    """The decisions with their times, a line each, and a summary."""
    for episode in analysis.episodes:
        hold = episode.hold_ms
        if not episode.over_agent:
            until = episode.resume_ms or episode.end_ms or analysis.recording.frames * TICK_MS
            yield f"{_seconds(hold)}  speech     for {until - hold} ms, while nothing was played"
            continue
        yield f"{_seconds(hold)}  hold"
        if episode.barge_in_ms is not None:
            yield f"{_seconds(episode.barge_in_ms)}  barge_in   {episode.barge_in_ms - hold} ms after the hold"
        if episode.resume_ms is not None:
            yield f"{_seconds(episode.resume_ms)}  resume     after {episode.resume_ms - hold} ms"
        elif episode.end_ms is not None:
            begun = episode.barge_in_ms if episode.barge_in_ms is not None else hold
            yield f"{_seconds(episode.end_ms)}  end        of a barge-in of {episode.end_ms - begun} ms"
    yield summary(analysis)


def summary(analysis: Analysis) -> str:
    """Holds, false holds, barge-ins and the longest of them, in one line."""
    recording = analysis.recording
    end_ms = recording.frames * TICK_MS
    counted = [episode for episode in analysis.episodes if episode.over_agent]
    false = sum(episode.resume_ms is not None for episode in counted)
    lasted = [(episode.end_ms or end_ms) - at for episode in counted if (at := episode.barge_in_ms) is not None]
    parts = [
        f"{analysis.detector}, {end_ms / 1000:.1f} s: {_count(len(counted), 'hold')}",
        _count(false, "false hold"),
        _count(len(lasted), "barge-in") + (f", the longest {max(lasted)} ms" if lasted else ""),
    ]
    if others := len(analysis.episodes) - len(counted):
        parts.append(f"the caller spoke {_count(others, 'time')} while nothing was played")
    return "; ".join(parts)


def read_recording(path: Path, played: Path | None = None, rate: int | None = None) -> Recording:
    """Read a WAV file of the caller, or of both sides (caller left, agent right), and one of what was played.

    With `rate` the files have no header: 16-bit mono samples, as in Asterisk's .sln. Raises `RecordingError`.
    """
    rate_of, channels, pcm = _read(path, rate)
    if channels == 2:
        if played is not None:
            raise RecordingError(f"{path} is stereo: its right side is what was played; leave --played out")
        left, right = _sides(pcm)
        return Recording(rate_of, left, right)
    if played is None:
        return Recording(rate_of, pcm, None)
    played_rate, played_channels, other = _read(played, rate)
    if played_channels != 1:
        raise RecordingError(f"{played} is stereo; make it mono: {_sox(played, played_rate)} remix 1")
    if played_rate != rate_of:
        raise RecordingError(
            f"{path} has {rate_of} samples a second and {played} {played_rate}; make them agree: "
            f"{_sox(played, rate_of)}"
        )
    return Recording(rate_of, pcm, other[: len(pcm)].ljust(len(pcm), b"\0"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `bargein`."""
    defaults = BargeInOptions()
    parser.add_argument(
        "file", type=Path, metavar="FILE.wav",
        help="16-bit, 8000 or 16000 samples a second: the caller; or stereo, the caller left and the agent right",
    )  # fmt: skip
    parser.add_argument("--played", type=Path, metavar="FILE.wav", help="what the agent said at the same time")
    parser.add_argument(
        "--detector", choices=get_args(Detector), default="adaptive", help="(default %(default)s; silero: an extra)"
    )
    parser.add_argument(
        "--rate", type=int, choices=(8000, 16000), help="the files have no header and so many samples a second (.sln)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="the picture (default: FILE.bargein.png)")
    parser.add_argument(
        "--rms", type=_within(1, 32768), default=defaults.rms, metavar="LEVEL",
        help="level of speech, for rms and rms+webrtc (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--ms", type=_within(100, 1280), default=defaults.ms, help="speech that interrupts (default %(default)s)"
    )
    parser.add_argument("--unbroken", action="store_true", help="the classic rule: all of --ms, without a gap")


def _within(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not {least} to {most}")
        return int(text)

    return number


def main(options: argparse.Namespace) -> int:
    """Run `bargein`; returns the exit status: 0, or 2 when the recording or an option cannot be used."""
    rule = BargeInOptions(rms=options.rms, ms=options.ms, unbroken=options.unbroken)
    try:
        recording = read_recording(options.file, options.played, options.rate)
        analysis = analyse(recording, options.detector, rule)
    except (RecordingError, FastAudioError, ValueError) as error:
        print(f"bargein: {error}", file=sys.stderr)
        return 2
    for line in describe(analysis):
        print(line)
    return _draw(analysis, options.out, options.file)


def _draw(analysis: Analysis, out: Path | None, file: Path) -> int:
    try:
        from fastaudio.bargein_picture import draw
    except ImportError:
        print(f"bargein: for a picture, too, {how_to_install('plot')}", file=sys.stderr)
        return 0 if out is None else 2
    path = out or file.with_suffix(".bargein.png")
    try:
        draw(path, analysis, f"{file.name}: {summary(analysis)}")
    except (OSError, ValueError) as error:
        print(f"bargein: cannot draw {path}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    print(path)
    return 0


def _read(path: Path, rate: int | None) -> tuple[int, int, bytes]:
    """Samples a second, channels and PCM."""
    try:
        if rate is not None:
            pcm = path.read_bytes()
            return rate, 1, pcm[: len(pcm) & ~1]
        with wave.open(str(path)) as file:
            shape = file.getframerate(), file.getnchannels(), file.getsampwidth()
            pcm = file.readframes(file.getnframes())
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from error
    except (wave.Error, EOFError) as error:
        why = str(error) or "it ends too soon"
        raise RecordingError(f"{path} is no WAV file of 16-bit samples ({why}); try {_sox(path, 8000)}") from error
    of_rate, channels, width = shape
    wanted = of_rate if of_rate in (8000, 16000) else 16000 if of_rate > 16000 else 8000
    if width != 2 or of_rate != wanted or channels not in (1, 2):
        raise RecordingError(
            f"{path} has {_count(channels, 'channel')} of {8 * width} bits and {of_rate} samples a second; 16 bits, "
            f"8000 or 16000, and one or two channels are read: {_sox(path, wanted)}{' remix 1' if channels > 2 else ''}"
        )
    return of_rate, channels, pcm


def _sox(path: Path, rate: int) -> str:
    """The command that makes a file that can be read."""
    return f"sox {shlex.quote(str(path))} -r {rate} -b 16 -e signed-integer {shlex.quote(path.stem + '-pcm.wav')}"


def _sides(stereo: bytes) -> tuple[bytes, bytes]:
    """Left and right of interleaved 16-bit samples."""
    samples = memoryview(stereo[: len(stereo) & ~3]).cast("h")
    return samples[0::2].tobytes(), samples[1::2].tobytes()


def _seconds(ms: int) -> str:
    return f"{ms / 1000:9.3f}"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
