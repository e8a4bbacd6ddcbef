"""A whole simulated call against a small agent that speaks tones: listening, answering, interrupting, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
import time
import uuid
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sandbox.caller import CallPlan, CallResult, Heard, SimulatedCaller, Utterance, parse_script
from agent.sandbox.caller.command import Engines, call_command, line_of
from agent.sandbox.caller.listen import LOUD_RMS, Ear, rms, stopped_after_ms
from agent.sandbox.caller.speak import read_wav
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from agent.telephony import CallInfo, CallRegistry, FastAgiServer, Verdict

VOICE, EARS = ToneVoice(), ToneRecogniser()
SILENCE = bytes(320)


class TonesAgent:
    """Greets, answers each thing said with the next of `answers`, and hangs up after the last one if told to.

    It stops speaking `stops_after` frames after it hears the caller over itself; None never stops.
    """

    def __init__(
        self, greeting: str, answers: Sequence[str] = (), *, hangs_up: bool = True, stops_after: int | None = 5
    ) -> None:
        self.lines = [greeting, *answers]
        self.hangs_up = hangs_up
        self.stops_after = stops_after
        self.heard = bytearray()
        self.keys = ""
        self.calls: list[uuid.UUID] = []
        self._quiet = 0
        self._loud = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CallPlan]:
        tasks: list[asyncio.Task[None]] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield CallPlan(port=port, quiet_s=0.2, patience_s=0.8, linger_s=0.3, longest_s=20)
        await asyncio.gather(*tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ears = asyncio.create_task(self._hear(reader))
        with contextlib.suppress(OSError):
            await self._talk(writer, ears)
            writer.write(b"\x00\x00\x00")
            writer.write_eof()
            await ears
        ears.cancel()
        await asyncio.gather(ears, return_exceptions=True)
        writer.close()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, *length = await reader.readexactly(3)
                payload = await reader.readexactly(int.from_bytes(bytes(length), "big"))
                if kind == 0x01:
                    self.calls.append(uuid.UUID(bytes=payload))
                elif kind == 0x03:
                    self.keys += payload.decode()
                else:
                    self.heard += payload
                    loud = rms(payload) > LOUD_RMS
                    self._loud = self._loud + 1 if loud else 0
                    self._quiet = 0 if loud else self._quiet + 1

    async def _talk(self, writer: asyncio.StreamWriter, ears: asyncio.Task[None]) -> None:
        speech: list[bytes] = []
        tick, since, spoke = 0, time.monotonic(), False
        while not ears.done():
            tick += 1
            if not speech and (tick == 5 or (spoke and self._quiet > 8)) and self.lines:
                if self.lines[0]:
                    audio = VOICE.speak(self.lines[0], 8000).samples.astype("<i2").tobytes()
                    speech = [audio[i : i + 320].ljust(320, b"\0") for i in range(0, len(audio), 320)]
                del self.lines[0]
                spoke = False
            elif not speech and not self.lines and self.hangs_up and tick > 10:
                for _ in range(10):
                    writer.write(b"\x10\x01\x40" + SILENCE)
                return
            if self._loud:
                spoke = True
            if speech and self.stops_after is not None and self._loud >= self.stops_after:
                speech = []
            writer.write(b"\x10\x01\x40" + (speech.pop(0) if speech else SILENCE))
            await asyncio.sleep(max(0.0, since + tick * 0.02 - time.monotonic()))


async def call(
    agent: TonesAgent, script: str, *, ears: bool = True, watch: list[Heard] | None = None, **changes: float
) -> CallResult:
    async with agent.listening() as plan:
        plan = replace(plan, **changes)  # type: ignore[arg-type]
        heard = [] if watch is None else watch
        return await SimulatedCaller(plan, parse_script(script), VOICE, EARS if ears else None, heard.append).run()


def understood(track: bytes | bytearray) -> str:
    import numpy as np

    return " ".join(word.text for word in EARS.transcribe(np.frombuffer(track, "<i2")))


async def test_a_conversation() -> None:
    agent = TonesAgent("hello", ["postcode?", "bye"])
    watch: list[Heard] = []
    result = await call(agent, 'say: tap\nwhen "name": say: jo\nwhen "postcode": say: m14', watch=watch)
    assert (result.failure, result.ended_by) == ("", "agent")
    assert result.unused_lines == [2]
    assert [h.text for h in watch if h.utterance] == ["hello", "tap", "postcode?", "m14", "bye"]
    assert [(u.who, u.text) for u in result.utterances] == [
        ("agent", "hello"),
        ("caller", "tap"),
        ("agent", "postcode?"),
        ("caller", "m14"),
        ("agent", "bye"),
    ]
    assert understood(agent.heard) == "tap m14"
    assert len(result.answers_ms()) == 2
    assert all(100 < answer < 600 for answer in result.answers_ms()), result.answers_ms()
    starts = [u.start_s for u in result.utterances]
    assert starts == sorted(starts)
    assert all(
        before.end_s < after.start_s for before, after in zip(result.utterances, result.utterances[1:], strict=False)
    )
    assert agent.calls == [result.call]


async def test_the_tracks_are_one_time_line(tmp_path: Path) -> None:
    result = await call(TonesAgent("hello", ["bye"]), "say: tap")
    assert result.ok, result.failure
    assert len(result.caller_track) == len(result.agent_track)
    assert understood(result.caller_track) == "tap"
    assert understood(result.agent_track) == "hello bye"
    for utterance in result.utterances:
        track = result.caller_track if utterance.who == "caller" else result.agent_track
        inside = track[2 * round(utterance.start_s * 8000) : 2 * round(utterance.end_s * 8000)]
        assert understood(inside) == utterance.text
    assert abs(len(result.agent_track) / 16000 - result.duration_s) < 0.3
    sound, document = result.save(tmp_path / "new")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (sound, document)}
    assert (stat.S_IMODE(sound.parent.stat().st_mode), modes) == (0o700, {0o600}), "it is what a caller said"
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        stereo = file.readframes(file.getnframes())
    assert stereo[0::4] + stereo[1::4] == result.caller_track[0::2] + result.caller_track[1::2]
    assert understood(read_wav(sound)) == "tap"
    assert json.loads(document.read_text())["utterances"][0]["text"] == "hello"


async def test_an_interruption_stops_the_agent_and_is_measured() -> None:
    agent = TonesAgent("hello", ["a very long answer that nobody wants to hear", "bye"])
    result = await call(agent, "say: tap\ninterrupt 400ms: stop it")
    assert result.ok, result.failure
    (interruption,) = result.interruptions
    assert interruption.stopped_after_ms is not None
    # Five frames of 20 ms until it is sure, and what is on its way.
    assert 60 < interruption.stopped_after_ms < 250
    long_answer = result.utterances[2]
    assert 0.35 < interruption.at_s - long_answer.start_s < 0.6
    assert "nobody" not in long_answer.text
    assert result.said_by("agent")[-1] == "bye"


async def test_an_agent_that_talks_on_is_measured_too() -> None:
    agent = TonesAgent("hello", ["a long answer for you all", "bye"], stops_after=None)
    result = await call(agent, "say: tap\ninterrupt 200ms: no")
    assert result.interruptions[0].stopped_after_ms is not None
    assert result.interruptions[0].stopped_after_ms > 700


async def test_without_ears_the_script_goes_in_order() -> None:
    agent = TonesAgent("hello", ["one", "two"])
    result = await call(agent, 'when "x": say: a\nsay: b', ears=False)
    assert result.ok, result.failure
    assert understood(agent.heard) == "a b"
    assert result.said_by("agent") == ["", "", ""]


async def test_keys_and_waiting() -> None:
    agent = TonesAgent("hi", [], hangs_up=False)
    result = await call(agent, "wait: 100ms\ndtmf: 0#", patience_s=0.5)
    assert agent.keys == "0#"
    assert result.failure == "the agent does not answer within 0.5 s"


async def test_the_caller_hangs_up_by_its_script_or_in_the_end() -> None:
    result = await call(TonesAgent("hello", ["ok"], hangs_up=False), "say: tap\nhangup")
    assert (result.ok, result.ended_by) == (True, "caller"), result.failure
    result = await call(TonesAgent("hello", ["ok"], hangs_up=False), "say: tap")
    assert (result.ok, result.ended_by) == (True, "caller"), result.failure


async def test_what_is_no_conversation() -> None:
    assert "does not greet" in (await call(TonesAgent("", hangs_up=False), "say: a")).failure
    hung_up = await call(TonesAgent("hello"), "say: a")
    assert hung_up.failure == "the agent hung up before the caller could use line 1 of the script"
    assert "never spoke" in (await call(TonesAgent(""), "say: a")).failure
    assert "does not answer" in (await call(TonesAgent("hello", hangs_up=False), "say: a")).failure
    assert "not over" in (await call(TonesAgent("hello", ["b"], hangs_up=False), "say: a", longest_s=0.8)).failure
    nobody = await SimulatedCaller(CallPlan(port=1), parse_script("say: a"), VOICE).run()
    assert "127.0.0.1:1" in nobody.failure


async def test_the_dialplan_asks_start_and_next() -> None:
    seen: list[CallInfo] = []
    registry = CallRegistry()

    async def on_start(info: CallInfo) -> bool:
        seen.append(info)
        return len(seen) < 3

    async with FastAgiServer(registry, on_start, port=0) as agi, TonesAgent("hello", ["bye"]).listening() as plan:
        plan = replace(plan, fastagi_port=agi.port, did="+442079460123", caller_id="07700900123")
        await registry.decide(plan.call, Verdict("transfer", "2001"))
        first = await SimulatedCaller(plan, parse_script("say: tap"), VOICE, EARS).run()
        async with TonesAgent("hi").listening() as second:
            other = replace(plan, call=uuid.uuid4(), port=second.port)
            undecided = await SimulatedCaller(other, parse_script("wait: 10ms"), VOICE, EARS).run()
        other = replace(plan, call=uuid.uuid4())
        full = await SimulatedCaller(other, parse_script("say: tap"), VOICE, EARS).run()
    assert first.ok, first.failure
    assert (seen[0].uuid, seen[0].did, seen[0].caller_id) == (plan.call, "+442079460123", "07700900123")
    assert (first.verdict, first.verdict_target) == ("transfer", "2001")
    assert undecided.failure == "the agent's next has no verdict: the dialplan goes to its fallback"
    assert full.failure == "the agent's start says FULL: the fallback is next"
    assert not full.utterances


async def test_the_command_tells_how_it_went(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = parse_script("say: tap")
    async with TonesAgent("hello", ["bye"]).listening() as plan:
        assert await call_command(plan, script, Engines("tones"), tmp_path) == 0
    out = capsys.readouterr().out
    assert "agent   hello" in out
    assert "caller  tap" in out
    assert "the agent hung up" in out
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".png", ".wav"]  # noqa: ASYNC240
    assert await call_command(CallPlan(port=1), script, Engines("tones"), None) == 1
    assert "no conversation" in capsys.readouterr().err


def test_a_line_of_the_transcript() -> None:
    utterance = Utterance("agent", 3.4, 4.0, "bye", answered_after_ms=412.4)
    assert line_of(Heard(3.4, "agent", "bye", utterance)) == "   3.40 s  agent   bye  (after 412 ms)"


def test_a_stop_is_the_last_sound_before_a_pause() -> None:
    loud = [0.02 * n for n in range(100)] + [2.6 + 0.02 * n for n in range(10)]
    assert stopped_after_ms(loud, 1.0) == pytest.approx(980)
    assert stopped_after_ms(loud, 2.7) == pytest.approx(80)
    assert stopped_after_ms(loud, 2.1) is None, "it had been silent, and what comes later is something else"
    assert stopped_after_ms([], 1.0) is None


def test_the_time_line_keeps_gaps_and_forgives_jitter() -> None:
    done: list[Utterance] = []
    ear = Ear(0.2, done.append)
    loud = b"\x00\x10" * 160
    for n in range(10):
        ear.hear(0.02 * n + (0.015 if n % 3 else 0.0), loud, 8000)
    assert len(ear.track) == 10 * 320
    ear.pass_time(0.3)
    assert done == []
    ear.hear(1.0, loud, 8000)
    assert len(ear.track) == 2 * 8000 + 320
    ear.finish()
    (utterance,) = done
    assert (utterance.start_s, utterance.end_s) == pytest.approx((0.0, 1.02))
    ear.hear(1.02, loud + loud, 16000)
    assert len(ear.track) == 2 * 8000 + 640
