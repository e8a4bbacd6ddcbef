"""One thing that the agent says: text to audio to the caller, and how much of it was heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time

import fastaudio
from agent.providers.base import (
    DEFAULT_VOICE,
    Audio,
    ProviderError,
    SpeakingVoice,
    Synthesis,
    TextToSpeech,
    Words,
    bytes_a_ms,
)

log = logging.getLogger(__name__)

LAST_WORD_MS = 300  # how long a word is taken to last that no other one follows
STALE_NS = 800_000_000
"""An LLM that stalls for longer than this gets a new synthesis: a vendor's ends 1 s after its last audio (Cartesia,
"Contexts")."""


class Speech:
    """An utterance of the agent. Text is added as it is thought, and ends up on the wire as it is spoken.

    It is made of one synthesis or several (a new one after each pause, since a vendor's context does not outlive a
    tool), which play one after the other as one generation of the media core. `failed` tells that the vendor broke off.

    With `certain`, nothing of it is let out before that is set: its audio waits, within the limits of a synthesis.
    """

    def __init__(
        self,
        call: fastaudio.Call,
        tts: TextToSpeech,
        voice: SpeakingVoice = DEFAULT_VOICE,
        certain: asyncio.Event | None = None,
    ) -> None:
        self._call = call
        self._tts = tts
        self._certain = certain
        self._let_out = False
        self._voice = voice
        self._bytes_a_ms = bytes_a_ms(call.rate)
        self._utterance: fastaudio.Utterance | None = None  # until there is audio: what is at hand sooner plays sooner
        self._begun = asyncio.Event()
        self._base_ms = 0  # of the utterance, at which the synthesis begins that is being spoken
        self._aside_bytes = 0
        self.text = ""
        self.failed = False
        self.first_text_ns = 0
        self.first_audio_ns = 0
        self._syntheses: asyncio.Queue[tuple[Synthesis, list[str]] | None] = asyncio.Queue(64)
        self._open: tuple[Synthesis, list[str]] | None = None
        self._said_ns = 0
        self._words: list[tuple[str, int]] = []  # a word and the ms of the utterance at which it begins
        self._audio_bytes = 0
        self._cancelled = False
        self._whole = False  # all of its audio was made
        self._pump = asyncio.create_task(self._run(), name="speech")

    @property
    def in_clauses(self) -> bool:
        """Whether the vendor wants its text in clauses."""
        return self._tts.clauses

    async def say(self, text: str) -> None:
        """Speak this behind what was said before."""
        if self._cancelled or self.failed or not text:
            return
        now_ns = time.monotonic_ns()
        self.first_text_ns = self.first_text_ns or now_ns
        if now_ns - self._said_ns > STALE_NS:
            await self.pause()
        if self._open is None and self.text and not self.text[-1].isspace():
            self.text += " "  # what is said behind a pause is a sentence of its own
        self.text += text
        self._said_ns = now_ns
        try:
            if self._open is None:
                self._open = (await self._tts.open(self._voice), [])
                await self._syntheses.put(self._open)
            synthesis, said = self._open
            said.append(text)
            await synthesis.say(text)
        except ProviderError as error:
            log.warning("%s", error)
            if self._open is None:  # no context could be opened at all
                self.failed = True

    async def say_recorded(self, pcm: bytes, words: Words | None, text: str) -> None:
        """Speak audio that is at hand."""
        self.text += text
        self.first_text_ns = self.first_audio_ns = time.monotonic_ns()
        self._note(words)
        self._audio_bytes += len(pcm)
        await self._begin().play(pcm)

    async def interject(self, pcm: bytes) -> None:
        """Let something be heard that is no part of the text, where nothing comes behind what was played."""
        at_ms, aside_ms = self.audio_ms, len(pcm) // self._bytes_a_ms
        self._words = [(word, start if start < at_ms else start + aside_ms) for word, start in self._words]
        self._audio_bytes += len(pcm)
        self._aside_bytes += len(pcm)
        self._base_ms += aside_ms
        with contextlib.suppress(fastaudio.StaleGeneration, fastaudio.EngineClosed):
            await self._begin().play(pcm)

    async def pause(self) -> None:
        """No more text for a while: what was said so far is spoken to its end."""
        if self._open is not None:
            synthesis, _ = self._open
            self._open = None
            with contextlib.suppress(ProviderError):
                await synthesis.finish()

    async def end(self) -> None:
        """No more text at all."""
        await self.pause()
        if not self._cancelled:
            await self._syntheses.put(None)

    async def finished(self) -> fastaudio.Played:
        """Wait until the caller has heard it, or it was thrown away."""
        await self._begun.wait()
        if self._utterance is None:
            return fastaudio.Played(0, flushed=True)
        return await self._utterance.finished()

    @property
    def generation(self) -> int:
        """The media core's number for it; 0 while there is no audio."""
        return self._utterance.generation if self._utterance is not None else 0

    @property
    def done(self) -> bool:
        """Whether the caller has heard it, or it was thrown away."""
        return self._cancelled if self._utterance is None else self._utterance.done

    @property
    def unheard_ms(self) -> int | None:
        """How much audio is there that the caller has yet to hear; None before the first of it, and when it is over."""
        if self._utterance is None or self._utterance.done:
            return None
        return max(0, self.audio_ms - self._utterance.heard_ms)

    async def cancel(self) -> None:
        """Make no more of it. What the caller hears is up to the media core."""
        if self._cancelled:
            return
        self._cancelled = True
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        pending: list[tuple[Synthesis, list[str]] | None] = [self._open]
        while not self._syntheses.empty():
            pending.append(self._syntheses.get_nowait())
        for item in pending:
            if item is not None:
                await item[0].cancel()
        self._begun.set()

    def keep_back(self) -> bool:
        """Let nothing out until `certain` is set again; False when some of it is out already."""
        if self._certain is not None and not self._let_out:
            self._certain.clear()
        return not self._let_out

    def rest_text(self) -> str:
        """What the caller has not heard, from the beginning of the clause that was cut."""
        words = self.text.split()
        first = len(self.heard_text().split())
        while 0 < first < len(words) and words[first - 1][-1] not in ",.;:!?…":
            first -= 1
        return " ".join(words[first:])

    @property
    def whole_text(self) -> str:
        """All of it, with one space between two words."""
        return " ".join(self.text.split())

    def heard_text(self) -> str:
        """What the caller heard of it: by the vendor's word times, else by the share of the audio."""
        if self.done and self._complete():
            return self.whole_text
        heard_ms = self._heard_ms
        if self._words:
            return " ".join(word for word, start_ms in self._words if start_ms < heard_ms)
        total_ms = (self._audio_bytes - self._aside_bytes) / self._bytes_a_ms
        share = min(1.0, heard_ms / total_ms) if total_ms else 0.0
        cut = self.text[: round(len(self.text) * share)]
        return cut.rsplit(" ", 1)[0].strip() if share < 1.0 else cut.strip()

    @property
    def audio_ms(self) -> int:
        """How much audio was made so far, ms."""
        return self._audio_bytes // self._bytes_a_ms

    def _complete(self) -> bool:
        return self._whole and not self.failed and self._heard_ms >= self.audio_ms - 1

    @property
    def _heard_ms(self) -> int:
        return self._utterance.heard_ms if self._utterance is not None else 0

    def _begin(self) -> fastaudio.Utterance:
        if self._utterance is None:
            self._utterance = self._call.begin()
            self._begun.set()
        return self._utterance

    def _note(self, words: Words | None) -> None:
        if words is not None:
            base_ms = self.audio_ms
            self._words.extend(
                (word, base_ms + start) for word, start in zip(words.words, words.start_ms, strict=False)
            )

    async def _run(self) -> None:
        try:
            while (item := await self._syntheses.get()) is not None:
                await self._speak(*item)
            await self._begin().end()
            self._whole = True
        except (fastaudio.StaleGeneration, fastaudio.EngineClosed):
            self._begun.set()  # flushed, or the call is over

    async def _speak(self, synthesis: Synthesis, said: list[str]) -> None:
        base_bytes, base_words = self._audio_bytes, len(self._words)
        try:
            await self._forward(synthesis)
        except ProviderError as error:
            log.warning("%s", error)
            spoken = self._whole_words(base_words)
            if self._audio_bytes > base_bytes and not spoken:
                self.failed = True  # where to go on is not known, and saying it all again would repeat words
                return
            await self._again(said, spoken)

    def _whole_words(self, first: int) -> int:
        """How many words from this one on have all their audio; the times of the others are forgotten."""
        ends = [start for _, start in self._words[first + 1 :]]
        if len(self._words) > first:
            ends.append(self._words[-1][1] + LAST_WORD_MS)
        whole = sum(end <= self.audio_ms for end in ends)
        del self._words[first + whole :]
        return whole

    async def _again(self, said: list[str], spoken: int) -> None:
        """The rest of it on another connection: from behind the words that were spoken."""
        try:
            synthesis = await self._tts.open(self._voice)
            if self._open is not None and self._open[1] is said:
                self._open = (synthesis, said)  # what is still thought goes there, too
            rest = re.sub(rf"\A(?:\s*\S+){{{spoken}}}\s*", "", "".join(said))
            await synthesis.say(rest)
            if self._open is None or self._open[1] is not said:
                await synthesis.finish()
            await self._forward(synthesis)
        except ProviderError as error:
            log.error("%s; this is not said", error)
            self.failed = True

    async def _forward(self, synthesis: Synthesis) -> None:
        self._base_ms = self.audio_ms
        try:
            async for event in synthesis.events():
                if isinstance(event, Audio):
                    self.first_audio_ns = self.first_audio_ns or time.monotonic_ns()
                    self._audio_bytes += len(event.pcm)
                    await self._may_be_heard()
                    await self._begin().play(event.pcm)
                else:
                    pairs = zip(event.words, event.start_ms, strict=False)
                    self._words.extend((word, self._base_ms + start) for word, start in pairs)
        except BaseException:
            await synthesis.cancel()
            raise

    async def _may_be_heard(self) -> None:
        while self._certain is not None and not self._certain.is_set():
            await self._certain.wait()
        self._let_out = True
