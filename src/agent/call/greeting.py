"""The greeting: made in code, its audio kept for each company and time of day."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from agent.call.greeting_folder import GreetingFolder
from agent.call.speech import Speech
from agent.providers.base import Audio, ProviderError, SpeakingVoice, TextToSpeech, Words
from agent.providers.metering import METER

KEPT = 256
WAIT_S = 1.0  # a greeting that is being made is waited for so long before it is made again, as it is spoken


class Greetings:
    """Greetings whose audio is at hand, the most recently used ones; in a folder, also those of before."""

    def __init__(self, tts: TextToSpeech, folder: GreetingFolder | None = None) -> None:
        self._tts = tts
        self._folder = folder
        self._kept: OrderedDict[tuple[SpeakingVoice, str], tuple[bytes, Words]] = OrderedDict()
        self._making: dict[tuple[SpeakingVoice, str], asyncio.Task[tuple[bytes, Words]]] = {}

    async def prepare(self, text: str, voice: SpeakingVoice) -> None:
        """Have the audio ready before the call is answered. Raises `ProviderError`.

        It is made once, however many calls of one company come together: a vendor's contexts are few.
        """
        await self._audio(voice, text)

    async def say(self, speech: Speech, text: str, voice: SpeakingVoice) -> None:
        """Speak it; from memory, or as it is made."""
        key = voice, text
        recorded = self._kept.get(key)
        if recorded is None and key in self._making:
            try:
                async with asyncio.timeout(WAIT_S):
                    recorded = await self._audio(*key)
            except TimeoutError:
                pass
            except ProviderError as error:
                error.forget_where()
        elif recorded is None:
            recorded = await self._read(voice, text)
        if recorded is not None:
            await speech.say_recorded(*recorded, text)
        else:
            await speech.say(text)
        await speech.end()

    async def _audio(self, voice: SpeakingVoice, text: str) -> tuple[bytes, Words]:
        key = voice, text
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._making:
            task = self._making[key] = asyncio.create_task(self._make(voice, text), name="greeting")
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(self._making[key])

    def _made(self, key: tuple[SpeakingVoice, str], task: asyncio.Task[tuple[bytes, Words]]) -> None:
        self._making.pop(key, None)
        if not task.cancelled() and task.exception() is None:
            self._kept[key] = task.result()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    async def _read(self, voice: SpeakingVoice, text: str) -> tuple[bytes, Words] | None:
        return await asyncio.to_thread(self._folder.read, voice, text) if self._folder is not None else None

    async def _make(self, voice: SpeakingVoice, text: str) -> tuple[bytes, Words]:
        if (kept := await self._read(voice, text)) is not None:
            return kept
        recorded = await spoken(self._tts, text, voice)
        if self._folder is not None:
            asyncio.get_running_loop().run_in_executor(None, self._folder.write, voice, text, *recorded)
        return recorded


async def spoken(tts: TextToSpeech, text: str, voice: SpeakingVoice) -> tuple[bytes, Words]:
    """Have a text spoken to its end; return its audio, 16-bit PCM at the TTS's rate, and its words' times.

    Raises `ProviderError`, also where there is no audio.
    """
    synthesis = await tts.open(voice)
    pcm = bytearray()
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    try:
        await synthesis.say(text)
        await synthesis.finish()
        async for event in synthesis.events():
            if isinstance(event, Audio):
                pcm += event.pcm
            else:
                words.extend(event.words)
                starts.extend(event.start_ms)
                ends.extend(event.end_ms)
    except BaseException as error:
        if isinstance(error, ProviderError):
            METER.get().failed("tts")
        await synthesis.cancel()
        raise
    if not pcm:
        raise ProviderError("TTS", "the greeting has no audio")
    return bytes(pcm), Words(tuple(words), tuple(starts), tuple(ends))
