"""The two ways that tutorials show, as small agents over the same media core and the same clients of the vendors.

    python -m benchmarks.latency.chains sequential|streaming DIRECTORY

`sequential` waits for `speech_final`, then for the whole reply of the LLM, then for all of its sound, and plays it.
`streaming` waits for `speech_final`, too, and then streams: the LLM's words go to the TTS clause by clause, and its
audio to the caller as it comes. Both hear all the time and stop speaking when the caller speaks over them. The
settings are the product's own: endpointing 300 ms, own clauses, `max_buffer_delay_ms` 0.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

import fastaudio
from agent.call.record import CallRecord, TurnRecord, write_record
from agent.language.clauses import ClauseSplitter
from agent.ops.settings import Settings, load_settings
from agent.providers.base import Audio, Message, ProviderError, Synthesis, Text, Transcript, UtteranceEnd
from agent.providers.cartesia import CartesiaOptions, CartesiaTts
from agent.providers.nova import NovaOptions, NovaStt
from agent.providers.openai_chat import ChatModel, ChatOptions
from fastaudio import EventKind

GREETING = "Hello, how can we help?"
PROMPT = "You answer the telephone of a home-services company. Ask one short question at a time."


class Chain:
    """One call."""

    def __init__(
        self, call: fastaudio.Call, stt: NovaStt, llm: ChatModel, tts: CartesiaTts, *, streaming: bool
    ) -> None:
        self._call = call
        self._stt = stt
        self._llm = llm
        self._tts = tts
        self._streaming = streaming
        self._history: list[Message] = [{"role": "system", "content": PROMPT}]
        self._words: list[str] = []
        self._final_ms = 0
        self._reply: asyncio.Task[None] | None = None
        self._turns: dict[int, TurnRecord] = {}  # by generation
        self.record = CallRecord(str(call.uuid))

    async def run(self) -> None:
        """Converse until the caller hangs up."""
        call = self._call
        call.listen(self._on_event)
        await self._stt.connect()
        uplink = asyncio.create_task(self._carry(), name="uplink")
        hearing = asyncio.create_task(self._hear(), name="hear")
        self._begin(TurnRecord("", self._now()), GREETING)
        await call.wait_ended()
        tasks = [task for task in (uplink, hearing, self._reply) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stt.close()
        for turn in self.record.turns:
            turn.end_ms = turn.end_ms or self._now()

    def _now(self) -> int:
        return (time.monotonic_ns() - self._call.started_ns) // 1_000_000

    def _on_event(self, event: fastaudio.Event) -> None:
        if event.kind is EventKind.BARGE_IN:
            self._interrupt()
        elif event.kind is EventKind.BEGAN and event.generation in self._turns:
            at = (event.time_ns - self._call.started_ns) // 1_000_000
            self._turns[event.generation].times.first_frame = at

    async def _carry(self) -> None:
        async for batch in self._call.capture(batch_ms=80):
            self._stt.hear(batch.position * fastaudio.TICK_MS, batch.caller)

    async def _hear(self) -> None:
        async for event in self._stt.events():
            if isinstance(event, Transcript) and event.text:
                self._interrupt()
                if event.final:
                    self._words.append(event.text)
                    self._final_ms = self._now()
            over = isinstance(event, UtteranceEnd) or (isinstance(event, Transcript) and event.speech_final)
            if over and self._words:
                text = " ".join(self._words)
                self._words.clear()
                turn = TurnRecord(text, self._now())
                turn.times.final_transcript, turn.times.turn_end = self._final_ms, self._now()
                self._history.append({"role": "user", "content": text})
                self._begin(turn)

    def _interrupt(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.cancel()
            self._call.flush()

    def _begin(self, turn: TurnRecord, text: str = "") -> None:
        self.record.turns.append(turn)
        self._reply = asyncio.create_task(self._answer(turn, text), name="reply")

    async def _answer(self, turn: TurnRecord, text: str) -> None:
        utterance = self._call.begin()
        self._turns[utterance.generation] = turn
        try:
            if self._streaming:
                await self._stream(turn, text, utterance)
            else:
                await self._step_by_step(turn, text, utterance)
            await utterance.end()
            await utterance.finished()
        except (fastaudio.StaleGeneration, fastaudio.EngineClosed):
            pass  # spoken over, or the call is over
        except ProviderError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            self._history.append({"role": "assistant", "content": turn.agent})
            turn.end_ms = self._now()

    async def _step_by_step(self, turn: TurnRecord, text: str, utterance: fastaudio.Utterance) -> None:
        async for word in self._source(turn, text):
            turn.agent += word
        turn.times.first_tts_text = self._now()
        synthesis = await self._tts.open()
        await synthesis.say(turn.agent)
        await synthesis.finish()
        sound = b"".join([event.pcm async for event in synthesis.events() if isinstance(event, Audio)])
        turn.times.first_audio = self._now()  # all of it: nothing is played before
        await utterance.play(sound)

    async def _stream(self, turn: TurnRecord, text: str, utterance: fastaudio.Utterance) -> None:
        synthesis = await self._tts.open()
        feeding = asyncio.create_task(self._feed(turn, text, synthesis), name="feed")
        try:
            async for event in synthesis.events():
                if isinstance(event, Audio):
                    turn.times.first_audio = turn.times.first_audio or self._now()
                    await utterance.play(event.pcm)
            await feeding
        except BaseException:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await synthesis.cancel()
            raise

    async def _feed(self, turn: TurnRecord, text: str, synthesis: Synthesis) -> None:
        splitter = ClauseSplitter()

        async def say(clause: str) -> None:
            turn.times.first_tts_text = turn.times.first_tts_text or self._now()
            await synthesis.say(clause)

        async for word in self._source(turn, text):
            turn.agent += word
            for clause in splitter.feed(word):
                await say(clause)
        if rest := splitter.rest():
            await say(rest)
        await synthesis.finish()

    async def _source(self, turn: TurnRecord, text: str) -> AsyncIterator[str]:
        """What is to be said: `text`, or what the LLM answers, as it comes."""
        if text:
            yield text
            return
        turn.times.llm_request = self._now()
        async for event in self._llm.reply(self._history, []):
            if isinstance(event, Text):
                turn.times.first_token = turn.times.first_token or self._now()
                yield event.text


async def serve(way: str, directory: Path) -> None:
    """Print the port, then take calls until SIGTERM; a record of each goes to `directory`."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = load_settings()
    tts = CartesiaTts(
        CartesiaOptions(
            settings.cartesia_url,
            settings.cartesia_api_key.get_secret_value(),
            settings.cartesia_model,
            settings.cartesia_voice_id,
        )
    )
    running: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession() as session, fastaudio.Engine(port=0) as engine:
        key = settings.groq_api_key.get_secret_value()
        llm = ChatModel(ChatOptions(settings.groq_url, key, settings.groq_model), session)

        async def converse(call: fastaudio.Call) -> None:
            chain = Chain(call, _stt(settings), llm, tts, streaming=way == "streaming")
            await chain.run()
            write_record(chain.record, directory)

        async def accept() -> None:
            async for call in engine:
                task = asyncio.create_task(converse(call))
                running.add(task)
                task.add_done_callback(running.discard)

        accepting = asyncio.create_task(accept())
        print(engine.port, flush=True)
        await stop.wait()
        await asyncio.wait(running, timeout=2) if running else None
        accepting.cancel()
    await tts.close()


def _stt(settings: Settings) -> NovaStt:
    key = settings.deepgram_api_key.get_secret_value()
    return NovaStt(NovaOptions(settings.deepgram_url, key, endpointing_ms=settings.deepgram_endpointing_ms))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
