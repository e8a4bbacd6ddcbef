"""What recordings are written as: the same samples in WAV and FLAC, close in Opus; all can be played after a crash."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastaudio
from agent.ops.recording import Recorded, interleave, read_tracks, record
from agent.ops.recording_file import create, name_of
from agent.ops.settings import SettingsError, load_settings

PROGRAM = Path(__file__).parent / "recording_call.py"


def voices(rate: int, seconds: float) -> tuple[Any, Any]:
    """Two sides that take turns, of different pitch and level, with some noise: int16."""
    at = np.arange(round(rate * seconds)) / rate
    turn = at % 2.0 < 1.0
    noise = np.random.default_rng(1).standard_normal(at.size) * 20
    harmonics = sum(np.sin(2 * np.pi * 140 * part * at) / part for part in range(1, 12))
    caller = 4000 * harmonics * turn * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)) + noise
    agent = 2500 * sum(np.sin(2 * np.pi * 220 * part * at) / part for part in range(1, 9)) * ~turn
    return caller.astype("<i2"), agent.astype("<i2")


def write(path: Path, rate: int, left: bytes, right: bytes) -> None:
    file = create(path, rate)
    frame = rate // 50 * 2
    step = 0
    at = 0
    while at < len(left):  # as the recordings' thread does: some blocks at a time
        step = step % 29 + 1
        file.write(interleave(left[at : at + step * frame], right[at : at + step * frame]))
        at += step * frame
    file.close()


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("form", ["wav", "flac"])
def test_both_sides_come_back_sample_for_sample(tmp_path: Path, form: Any, rate: int) -> None:
    caller, agent = voices(rate, 11.0)
    path = tmp_path / name_of("call", form)
    write(path, rate, caller.tobytes(), agent.tobytes())
    tracks = read_tracks(path)
    assert (tracks.rate, tracks.caller, tracks.agent) == (rate, caller.tobytes(), agent.tobytes())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < len(caller) * 4 * (1.01 if form == "wav" else 0.7)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_opus_keeps_sides_levels_and_time(tmp_path: Path, rate: int) -> None:
    caller, agent = voices(rate, 11.0)
    path = tmp_path / "call.opus"
    write(path, rate, caller.tobytes(), agent.tobytes())
    tracks = read_tracks(path)
    assert tracks.rate == rate
    assert abs(len(tracks.caller) // 2 - caller.size) <= rate // 50
    for side, other, pcm in ((caller, agent, tracks.caller), (agent, caller, tracks.agent)):
        came = np.frombuffer(pcm, "<i2")[: side.size].astype(float)
        sent, across = side[: came.size].astype(float), other[: came.size].astype(float)
        assert np.corrcoef(came, sent)[0, 1] > 0.95  # in place to the sample: a tone of 140 Hz would show it
        assert abs(np.corrcoef(came, across)[0, 1]) < 0.1
        assert abs(20 * np.log10(np.sqrt(np.mean(came**2)) / np.sqrt(np.mean(sent**2)))) < 1.0
    assert path.stat().st_size < len(caller) * 4 * 0.25


async def test_flac_holds_what_wav_holds_of_one_call(tmp_path: Path) -> None:
    async with fastaudio.Engine(port=0) as engine:
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
        call = await anext(aiter(engine))
        draining = asyncio.create_task(reader.read(-1))
        paths = [tmp_path / name for name in ("call.wav", "call.flac")]
        tasks = [asyncio.create_task(record(call, path)) for path in paths]
        await asyncio.sleep(0)  # both have begun before the caller says anything
        caller, agent = voices(8000, 2.0)
        utterance = call.begin()
        await utterance.play(agent.tobytes())
        await utterance.end()
        for start in range(0, caller.size, 160):
            writer.write(b"\x10\x01\x40" + caller[start : start + 160].tobytes())
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        writer.close()
        assert await asyncio.gather(*tasks) == [Recorded(), Recorded()]
        await draining
        captured = call.core.captured()
    wav, flac = map(read_tracks, paths)
    assert wav == flac
    assert len(wav.caller) == 320 * captured
    assert np.frombuffer(wav.agent, "<i2").any()


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
def test_what_was_recorded_can_be_played_after_a_sudden_death(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"call.{form}"
    done = run(path, "4", "kill")
    assert done.returncode == -signal.SIGKILL, done.stderr
    tracks = read_tracks(path)
    assert len(tracks.caller) == len(tracks.agent)
    # A half second waits for the thread, and another for FLAC's block or Opus's page to be full.
    assert len(tracks.caller) >= 2 * 8000 * 2.4
    if form != "opus":
        heard = np.frombuffer(tracks.caller, "<i2")
        assert heard.any()
        levels = heard.reshape(-1, 160)[:, 0] if heard.size % 160 == 0 else heard[: heard.size // 160 * 160 : 160]
        spoken = levels[levels > 0]
        assert np.all(np.diff(spoken.astype(int)) >= 0)  # in order, nothing garbled


@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
def test_a_full_disk_ends_the_recording_and_not_the_call(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"call.{form}"
    limit = {"wav": 40_000, "flac": 12_000, "opus": 6_000}[form]
    done = run(path, "4", "hang up", str(limit))
    assert done.returncode == 0, done.stderr
    failed, _, frames = done.stdout.rpartition(" ")
    assert failed not in ("", "whole")
    assert int(frames) >= 190
    assert path.stat().st_size <= limit
    assert len(read_tracks(path).caller) >= 2 * 8000 * 0.4


def test_a_format_whose_package_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(recording_format="FLAC").recording_format == "flac"
    monkeypatch.setattr("agent.ops.setting_types.importlib.util.find_spec", lambda name: None)
    assert load_settings(recording_format="wav").recording_format == "wav"
    with pytest.raises(
        SettingsError, match=r"RECORDING_FORMAT.*opus needs an extra; run .*pip install 'fastaudio-agent\[recording\]'"
    ):
        load_settings(recording_format="opus")


def test_files_that_are_no_recordings_are_told(tmp_path: Path) -> None:
    for name in ("a.flac", "a.opus", "a.wav"):
        (tmp_path / name).write_bytes(b"no sound at all")
        with pytest.raises(ValueError, match=f"{name} is no"):
            read_tracks(tmp_path / name)
        with pytest.raises(FileNotFoundError):
            read_tracks(tmp_path / f"b{name}")
