"""The greeting: made in code, its audio kept for each company and time of day."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from agent.call.context import CompanyContext
from agent.call.speech import Speech
from agent.providers.base import Audio, ProviderError, TextToSpeech, Words

KEPT = 256


def time_of_day(moment: datetime) -> str:
    """Morning until noon, afternoon until six, then evening; the small hours are morning."""
    return "morning" if moment.hour < 12 else "afternoon" if moment.hour < 18 else "evening"


def greeting_text(company: CompanyContext, moment: datetime | None = None) -> str:
    """What the caller hears first. A company's own greeting may hold `{time_of_day}`."""
    part = time_of_day(moment or datetime.now(company.zone))
    if company.greeting:
        return company.greeting.replace("{time_of_day}", part)
    return f"Hello, {company.company_name}, good {part}."


class Greetings:
    """Greetings whose audio is at hand, the most recently used ones."""

    def __init__(self, tts: TextToSpeech) -> None:
        self._tts = tts
        self._kept: OrderedDict[tuple[str, str], tuple[bytes, Words]] = OrderedDict()

    async def prepare(self, company: CompanyContext) -> None:
        """Have the audio ready before the call is answered. Raises `ProviderError`."""
        await self._audio(greeting_text(company), company.voice_id)

    async def say(self, speech: Speech, company: CompanyContext) -> str:
        """Speak it; from memory, or as it is made."""
        text = greeting_text(company)
        kept = self._kept.get((company.voice_id, text))
        if kept is not None:
            self._kept.move_to_end((company.voice_id, text))
            await speech.say_recorded(*kept, text)
        else:
            await speech.say(text)
        await speech.end()
        return text

    async def _audio(self, text: str, voice_id: str) -> None:
        if (voice_id, text) in self._kept:
            return
        synthesis = await self._tts.open(voice_id)
        pcm = bytearray()
        words: list[str] = []
        starts: list[int] = []
        try:
            await synthesis.say(text)
            await synthesis.finish()
            async for event in synthesis.events():
                if isinstance(event, Audio):
                    pcm += event.pcm
                else:
                    words.extend(event.words)
                    starts.extend(event.start_ms)
        except BaseException:
            await synthesis.cancel()
            raise
        if not pcm:
            raise ProviderError("TTS", "the greeting has no audio")
        self._kept[voice_id, text] = (bytes(pcm), Words(tuple(words), tuple(starts)))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
