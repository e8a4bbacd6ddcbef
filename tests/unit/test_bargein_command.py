"""`python -m fastaudio bargein`: recordings in, decisions and a picture out; what it says of files it cannot read."""

from __future__ import annotations

import array
import math
import random
import struct
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from fastaudio import BargeInDetector
from fastaudio.bargein_command import Episode, RecordingError, analyse, describe, read_recording, summary

RATE = 8000
LINE = random.Random(5)


def silence(seconds: float, rate: int = RATE) -> list[int]:
    return [round(LINE.gauss(0, 6)) for _ in range(round(seconds * rate))]


def voice(seconds: float, rate: int = RATE, pitch: float = 150) -> list[int]:
    """A buzz whose level moves as syllables do."""
    harmonics = range(1, 12)
    return [
        round(
            6000
            * sum(math.sin(2 * math.pi * pitch * h * i / rate) / h for h in harmonics)
            * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * i / rate))
        )
        for i in range(round(seconds * rate))
    ]


def save(path: Path, *channels: list[int], rate: int = RATE, width: int = 2) -> Path:
    frames = [sample for frame in zip(*channels, strict=True) for sample in frame]
    with wave.open(str(path), "wb") as file:
        file.setparams((len(channels), width, rate, 0, "NONE", ""))
        file.writeframes(array.array("h", frames).tobytes() if width == 2 else bytes(len(frames) * width))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastaudio", "bargein", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def said() -> list[int]:
    """A word of 60 ms that comes to nothing, and 1.2 s of speech."""
    return silence(2) + voice(0.06) + silence(1.5) + voice(1.2) + silence(1)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_decisions_are_those_of_the_detector(tmp_path: Path, rate: int) -> None:
    caller = silence(2, rate) + voice(0.08, rate) + silence(1.5, rate) + voice(1.2, rate) + silence(1, rate)
    recording = read_recording(save(tmp_path / "caller.wav", caller, rate=rate))
    analysis = analyse(recording, "adaptive")

    judge, size = BargeInDetector("adaptive", rate), rate // 50 * 2
    states = [judge.feed(recording.caller[at : at + size]) for at in range(0, len(recording.caller) - size + 1, size)]
    begun = [20 * (n + 1) for n, state in enumerate(states) if state == "hold" and states[n - 1] != "hold"]
    assert [episode.hold_ms for episode in analysis.episodes] == begun
    assert len(begun) == 2
    cough, speech = analysis.episodes
    assert 2000 < cough.hold_ms <= 2100
    assert cough.resume_ms == 20 * (states.index("resume") + 1)
    assert cough.barge_in_ms is None
    assert speech.barge_in_ms == 20 * (states.index("barge_in") + 1)
    assert 3580 + 1200 < (speech.end_ms or 0) <= 3580 + 1200 + 20 + 240
    assert len(analysis.levels) == len(analysis.gates) == recording.frames == len(states)
    assert max(analysis.levels) > 3000
    assert all(0 < gate < 4000 for gate in analysis.gates[10:])


def test_lines_and_summary(tmp_path: Path, said: list[int]) -> None:
    analysis = analyse(read_recording(save(tmp_path / "caller.wav", said)), "adaptive")
    analysis.episodes[:] = [Episode(2060, resume_ms=2300), Episode(3600, barge_in_ms=3720), Episode(4000, False)]
    assert list(describe(analysis)) == [
        "    2.060  hold",
        "    2.300  resume     after 240 ms",
        "    3.600  hold",
        "    3.720  barge_in   120 ms after the hold",
        "    4.000  speech     for 1760 ms, while nothing was played",
        "adaptive, 5.8 s: 2 holds; 1 false hold; 1 barge-in, the longest 2040 ms; "
        "the caller spoke 1 time while nothing was played",
    ]
    analysis.episodes[:] = [Episode(3600, barge_in_ms=3720, end_ms=5000)]
    assert list(describe(analysis))[-2] == "    5.000  end        of a barge-in of 1280 ms"
    assert summary(analysis) == "adaptive, 5.8 s: 1 hold; no false holds; 1 barge-in, the longest 1280 ms"


def test_a_stereo_recording_is_both_sides(tmp_path: Path) -> None:
    """The agent's own recordings: its echo is no caller, and a caller whom nobody talks over does not interrupt."""
    agent = silence(2) + voice(0.4, pitch=110) + silence(0.3) + voice(1, pitch=110) + silence(4.3)
    echo = [0] * 800 + [sample // 8 for sample in agent[:-800]]
    caller = [a + b for a, b in zip(silence(6.0) + voice(1) + silence(1), echo, strict=True)]
    stereo = read_recording(save(tmp_path / "call.wav", caller, agent))
    mono = read_recording(save(tmp_path / "caller.wav", caller), save(tmp_path / "agent.wav", agent))
    assert stereo == mono
    assert stereo.played == struct.pack(f"<{len(agent)}h", *agent)

    alone = analyse(read_recording(tmp_path / "caller.wav"), "adaptive").episodes
    assert alone[0].hold_ms < 4000  # it cannot tell the echo
    known = analyse(stereo, "adaptive")
    assert [(6000 < episode.hold_ms < 6200, episode.over_agent) for episode in known.episodes] == [(True, False)]
    assert summary(known).endswith(
        "no holds; no false holds; no barge-ins; the caller spoke 1 time while nothing was played"
    )


def test_one_interruption_counts_once(tmp_path: Path) -> None:
    """An agent that fell silent is not interrupted again by what the caller goes on to say; one that speaks on is."""
    caller = silence(3.0) + voice(0.26) + silence(0.3) + voice(0.6) + silence(1)
    talking = [sample // 2 for sample in voice(len(caller) / RATE, pitch=110)]
    stopped = talking[: round(3.28 * RATE)] + [0] * (len(caller) - round(3.28 * RATE))
    for agent, counts in ((talking, [True, True]), (stopped, [True, False])):
        recording = read_recording(save(tmp_path / "call.wav", caller, agent))
        analysis = analyse(recording, "rms+webrtc")
        assert [episode.over_agent for episode in analysis.episodes] == counts


def test_the_command_prints_and_draws(tmp_path: Path, said: list[int]) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    file = save(tmp_path / "my call.wav", said)
    answer = run(file, "--detector", "rms", "--rms", 500, "--ms", 200, "--unbroken")
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert "barge_in" in answer.stdout
    assert lines[-2].startswith("rms, 5.8 s: 1 hold;")
    picture = tmp_path / "my call.bargein.png"
    assert lines[-1] == str(picture)
    image = matplotlib_image.imread(picture)
    assert image.shape[1] == 1650
    red = (image[..., 0] > 0.9) & (image[..., 1] > 0.75) & (image[..., 1] < 0.9) & (image[..., 2] < 0.9)
    share = red.sum() / (image.shape[0] * image.shape[1])
    assert 0.05 < share < 0.3  # the band of a barge-in of 1.2 s in 5.8 s


def test_without_matplotlib_it_prints_and_says_how(tmp_path: Path, said: list[int]) -> None:
    file = save(tmp_path / "caller.wav", said)
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"sys.argv = ['fastaudio', 'bargein', {str(file)!r}, *sys.argv[1:]]\n"
        "from fastaudio.__main__ import main; sys.exit(main())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0
    assert "1 barge-in" in answer.stdout
    assert "fastaudio-agent[plot]" in answer.stderr
    asked = [sys.executable, "-c", code, "--out", str(tmp_path / "it.png")]
    assert subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 2


def test_a_file_without_a_header(tmp_path: Path, said: list[int]) -> None:
    raw = tmp_path / "caller.sln"
    raw.write_bytes(struct.pack(f"<{len(said)}h", *said) + b"\1")
    assert read_recording(raw, rate=RATE) == read_recording(save(tmp_path / "caller.wav", said))


@pytest.mark.parametrize(
    ("channels", "rate", "width", "says"),
    [
        (1, 44100, 2, "sox .*a.wav -r 16000 -b 16 -e signed-integer a-pcm.wav$"),
        (1, 11025, 2, "sox .* -r 8000 -b 16"),
        (1, 8000, 1, "8 bits .* sox .* -r 8000 -b 16"),
        (3, 8000, 2, "3 channels .* remix 1$"),
    ],
)
def test_other_formats_say_what_to_do(tmp_path: Path, channels: int, rate: int, width: int, says: str) -> None:
    file = save(tmp_path / "a.wav", *[[0] * 100] * channels, rate=rate, width=width)
    with pytest.raises(RecordingError, match=says):
        read_recording(file)


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    mono, stereo = save(tmp_path / "mono.wav", [0] * 999), save(tmp_path / "stereo.wav", [0] * 999, [0] * 999)
    wide = save(tmp_path / "wide.wav", [0] * 999, rate=16000)
    with pytest.raises(RecordingError, match="leave --played out"):
        read_recording(stereo, mono)
    with pytest.raises(RecordingError, match="remix 1"):
        read_recording(mono, stereo)
    with pytest.raises(RecordingError, match=r"make them agree: sox .*wide\.wav -r 8000"):
        read_recording(mono, wide)
    short = read_recording(mono, save(tmp_path / "short.wav", [7] * 10))
    assert short.played == struct.pack("<10h", *[7] * 10) + bytes(2 * 989)


def test_what_is_no_recording_ends_with_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not audio")
    for file, says in ((text, "sox"), (tmp_path / "none.wav", "No such file")):
        answer = run(file)
        assert answer.returncode == 2
        assert answer.stderr.startswith("bargein: ")
        assert says in answer.stderr
    empty = run(save(tmp_path / "empty.wav", []))
    assert "no audio" in empty.stderr
    assert "--ms: 5 is not 100 to 1280" in run(text, "--ms", "5").stderr
