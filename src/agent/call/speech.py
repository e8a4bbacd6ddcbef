"""One thing that the agent says: text to audio to the caller, and how much of it was heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from itertools import zip_longest

import fastaudio
from agent.call import seam
from agent.call.record import Word
from agent.call.seam import HalfWord, TimedWord
from agent.call.spoken_words import placed
from agent.providers.base import (
    DEFAULT_VOICE,
    Audio,
    ProviderError,
    SpeakingVoice,
    Synthesis,
    TextToSpeech,
    TtsEvent,
    Words,
    bytes_a_ms,
)
from agent.providers.metering import METER

log = logging.getLogger(__name__)

AHEAD_MS = 300
"""Audio behind the last whole word is kept while the caller has as much as this to hear: a break is mended there."""
KEPT_MS = 1000  # and never more of it than this: a vendor may not say when words are spoken
WRONG_VOICE = (400, 404, 422)  # what a vendor says of a voice that it does not have
GO_ON_S = 3.0  # after a break, for so long: then nothing more is said
AGAIN_S = 0.1  # at first at once, and each time so much later
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
        self._aside_bytes = self._aside_until_ms = 0
        self.text = ""
        self.failed = False
        self.first_text_ns = 0
        self.first_audio_ns = 0
        self._syntheses: asyncio.Queue[tuple[Synthesis, list[str]] | None] = asyncio.Queue(64)
        self._open: tuple[Synthesis, list[str]] | None = None
        self._said_ns = 0
        self._words: list[TimedWord] = []  # in ms of the utterance
        self._audio_bytes = 0  # that are out
        self._kept = bytearray()  # audio that came and is not out
        self._half: HalfWord | None = None  # that the next synthesis goes on with
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
            if self._open is None:  # no context could be opened at all; else its events tell
                METER.get().failed("tts")
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
        for word in self._words:
            word.start_ms += aside_ms if word.start_ms >= at_ms else 0
            word.end_ms += aside_ms if word.end_ms > at_ms else 0
        self._half = None  # a word that broke off is said again behind this, and not from its middle on
        self._audio_bytes += len(pcm)
        self._aside_bytes += len(pcm)
        self._aside_until_ms = self.audio_ms
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
            return " ".join(word.text for word in self._words if word.start_ms < heard_ms)
        total_ms = (self._audio_bytes - self._aside_bytes) / self._bytes_a_ms
        share = min(1.0, heard_ms / total_ms) if total_ms else 0.0
        cut = self.text[: round(len(self.text) * share)]
        return cut.rsplit(" ", 1)[0].strip() if share < 1.0 else cut.strip()

    def heard_words(self) -> list[Word]:
        """The words that the caller heard, with their places in the call."""
        utterance, rate = self._utterance, self._call.rate
        if utterance is None or utterance.position_of(0) is None:
            return []

        def place(ms: int) -> int:
            return (utterance.position_of(ms * rate // 1000) or 0) * 1000 // rate

        return placed(self.heard_text().split(), self._words, self._heard_ms, place)

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
            self._add(words, self.audio_ms)

    def _add(self, words: Words, base_ms: int) -> None:
        for text, start, end in zip_longest(words.words, words.start_ms, words.end_ms[: len(words.words)]):
            if text is not None and start is not None:
                self._words.append(TimedWord(text, base_ms + start, base_ms + end if end else 0))

    async def _run(self) -> None:
        try:
            while (item := await self._syntheses.get()) is not None:
                await self._speak(*item)
            await self._begin().end()
            self._whole = True
        except (fastaudio.StaleGeneration, fastaudio.EngineClosed):
            self._begun.set()  # flushed, or the call is over

    async def _speak(self, synthesis: Synthesis, said: list[str]) -> None:
        """Speak all that is said in one flow, on as many connections as that takes."""
        out = 0  # characters of it
        lost_at: float | None = None
        wait_s = 0.0
        while True:
            first, before = len(self._words), self._audio_bytes
            try:
                await self._forward(synthesis)
                return
            except ProviderError as error:
                error.forget_where()
                log.warning("%s", error)
                METER.get().failed("tts")
                out += await self._cut(first, "".join(said)[out:])
                if error.status in WRONG_VOICE and self._voice.id:
                    self._voice = SpeakingVoice("", self._voice.language)  # the agent's own rather than none
                elif lost_at is None or self._audio_bytes > before:
                    lost_at, wait_s = time.monotonic(), 0.0
                elif error.hopeless or time.monotonic() - lost_at > GO_ON_S:
                    self._give_up(error)
                    return
                await asyncio.sleep(wait_s)
                wait_s += AGAIN_S
            try:
                synthesis = await self._go_on(said, out)
            except ProviderError as error:
                error.forget_where()
                METER.get().failed("tts")
                self._give_up(error)
                return

    def _give_up(self, error: ProviderError) -> None:
        log.error("%s; the rest is not said", error)
        self.failed = True

    async def _go_on(self, said: list[str], out: int) -> Synthesis:
        """Another synthesis, which begins behind the characters that are out. Raises `ProviderError`."""
        synthesis = await self._tts.open(self._voice)
        still_open = self._open is not None and self._open[1] is said
        if still_open:
            self._open = (synthesis, said)  # what is still thought goes there, too
        with contextlib.suppress(ProviderError):  # its events tell
            await synthesis.say("".join(said)[out:].lstrip())
            if not still_open:
                await synthesis.finish()
        return synthesis

    async def _cut(self, first: int, text: str) -> int:
        """A synthesis broke off: what is whole of its words goes out, and the rest is dropped.

        `text` is what it was to say, and `first` the index of its first word with a time. Returns how many characters
        of the text are out.
        """
        words = self._words[first:]
        kept, self._kept = self._kept, bytearray()
        if self._half is not None:
            whole = 0  # the word that broke off before was not reached again
        elif words or not self.audio_ms + len(kept) // self._bytes_a_ms > self._base_ms:
            whole, joint_ms = seam.last_joint(words, self.audio_ms + len(kept) // self._bytes_a_ms)
            if whole < len(words) and max(joint_ms, self._aside_until_ms) < self.audio_ms:
                length_ms = seam.end_of(words, whole) - words[whole].start_ms
                self._half = HalfWord(self.audio_ms - words[whole].start_ms, length_ms)
            else:
                await self._play(seam.fade(kept[: self._bytes_until(joint_ms)], self._call.rate, rising=False))
        else:  # no times: a silent place is the most likely end of a word
            place = seam.silent_place(kept, self._call.rate)
            await self._play(bytes(kept if place is None else kept[:place]))
            return seam.reckoned_length(text, self.audio_ms - self._base_ms)
        del self._words[first + whole :]
        return seam.spoken_length(text, (word.text for word in words[:whole]))

    async def _forward(self, synthesis: Synthesis) -> None:
        self._base_ms = self.audio_ms
        first = len(self._words)
        events = synthesis.events()
        coming: asyncio.Task[TtsEvent | None] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(events), name="speech event")
                await asyncio.wait({coming}, timeout=self._due_s())
                if coming.done():
                    event, coming = coming.result(), None
                    if event is None:
                        break
                    if isinstance(event, Audio):
                        self.first_audio_ns = self.first_audio_ns or time.monotonic_ns()
                        self._kept += event.pcm
                    else:
                        self._add(event, self._base_ms)
                await self._let_go(first)
            await self._let_go(first, ended=True)
        except BaseException:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await synthesis.cancel()
            raise

    async def _let_go(self, first: int, *, ended: bool = False) -> None:
        """Let out what may be: whole words, and as much more as keeps the caller from waiting."""
        if self._half is not None and not self._join(self._half, first, ended=ended):
            return
        if not self._kept:
            return
        await self._may_be_heard()
        kept_ms = len(self._kept) // self._bytes_a_ms
        _, joint_ms = seam.last_joint(self._words[first:], self.audio_ms + kept_ms)
        wanted_ms = max(joint_ms - self.audio_ms, AHEAD_MS - self._ahead_ms, kept_ms - KEPT_MS)
        count = len(self._kept) if ended or wanted_ms >= kept_ms else max(0, wanted_ms) * self._bytes_a_ms
        pcm = bytes(self._kept[:count])
        del self._kept[:count]
        await self._play(pcm)

    def _join(self, half: HalfWord, first: int, *, ended: bool) -> bool:
        """Drop of the new synthesis what is out of its first word; False while too little of it is there to tell."""
        words, kept_ms = self._words[first:], len(self._kept) // self._bytes_a_ms
        if words:
            length_ms = seam.end_of(words, 0) - words[0].start_ms
            dropped_ms = words[0].start_ms - self._base_ms + half.out_of(length_ms)
        elif ended or kept_ms >= KEPT_MS:
            dropped_ms = half.out_ms
        else:
            return False
        if kept_ms < dropped_ms and not ended:
            return False
        del self._kept[: dropped_ms * self._bytes_a_ms]
        self._kept[:] = seam.fade(self._kept, self._call.rate, rising=True)
        self._base_ms -= dropped_ms
        for word in words:
            word.start_ms -= dropped_ms
            word.end_ms -= dropped_ms if word.end_ms else 0
        self._half = None
        return True

    async def _play(self, pcm: bytes) -> None:
        if pcm:
            self._audio_bytes += len(pcm)
            await self._begin().play(pcm)

    def _bytes_until(self, place_ms: int) -> int:
        return max(0, place_ms - self.audio_ms) * self._bytes_a_ms

    @property
    def _ahead_ms(self) -> int:
        """How much is out that the caller has yet to hear."""
        return self.audio_ms - self._heard_ms

    def _due_s(self) -> float | None:
        """When some of what is kept is to be let out, s from now; None while nothing is."""
        if not self._kept or self._half is not None:
            return None
        return max(0.01, (self._ahead_ms - AHEAD_MS) / 1000)

    async def _may_be_heard(self) -> None:
        while self._certain is not None and not self._certain.is_set():
            await self._certain.wait()
        self._let_out = True


async def _next(events: AsyncIterator[TtsEvent]) -> TtsEvent | None:
    return await anext(events, None)
