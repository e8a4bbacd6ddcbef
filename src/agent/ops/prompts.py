"""`voice-agent prompts`: records what the agent says when its voice is away, once, in each voice that it speaks with.

Through Cartesia's own SDK: nobody waits on the line for it.
"""

from __future__ import annotations

import hashlib
import os
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cartesia

from agent.call.company import CompanyContext
from agent.call.prompts import LONGEST_S, MANIFEST, Prompt, PromptKey, Recording, manifest_text, read_manifest
from agent.conversations import Conversations, Phrases
from agent.office.store import OfficeStore
from agent.ops.settings import Settings, SettingsError
from agent.providers.base import SpeakingVoice, bytes_a_ms

TIMEOUT_S = 30.0


class PromptError(Exception):
    """The prompts of a voice, or of any, cannot be recorded; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice, what it is to say, and whose it is."""

    voice: SpeakingVoice
    phrases: Phrases
    of: str


def wording(prompt: Prompt, phrases: Phrases) -> str:
    """A prompt in a conversation's own words: its phrase of that name."""
    if prompt is Prompt.BEAR_WITH_ME:
        return phrases.fillers[0]
    return str(getattr(phrases, prompt.name.lower(), prompt.value))


async def speakers(settings: Settings) -> list[Speaker]:
    """Each voice that calls are answered with: the agent's or its conversation's, and those of the companies.

    A context API of one's own may name others, which are not known here. Raises `ConversationError`, `DatabaseError`.
    """
    conversations = Conversations.load(
        settings.conversation,
        directory=settings.conversations_dir,
        prompt_file=settings.prompt_file,
        language=settings.language,
        environment=settings.environment,
    )
    companies = [("the agent", CompanyContext())]
    if not settings.context_api_url and (settings.database_url or (settings.data_dir / "office.sqlite3").exists()):
        store = await OfficeStore.open(
            settings.database, region=settings.default_region, timezone=settings.default_timezone
        )
        async with store:
            companies += [
                (
                    each.name,
                    CompanyContext(voice_id=each.voice_id, conversation=each.conversation, language=each.language),
                )
                for each, _ in await store.list_companies()
            ]
    found: dict[SpeakingVoice, Speaker] = {}
    for name, company in companies:
        spoken = conversations.voice_of(company)
        voice = SpeakingVoice(spoken.id or settings.cartesia_voice_id, spoken.language)
        found.setdefault(voice, Speaker(voice, conversations.of(company).phrases, name))
    return list(found.values())


async def record_prompts(
    settings: Settings,
    *,
    again: bool,
    report: Callable[[str], None],
    so_far: Callable[[str, int, int], None] = lambda of, done, wanted: None,
) -> int:
    """Record what is not there yet, or all of it `again`; returns how many voices could not be recorded.

    `report` is told, a line at a time, what was written; `so_far` whose voice it is, how many of its prompts are done,
    and of how many. Raises `SettingsError` without a key, `PromptError` when
    Cartesia is not to be had at all, `ConversationError`, `DatabaseError`.
    """
    key = settings.cartesia_api_key.get_secret_value()
    if not key:
        raise SettingsError("CARTESIA_API_KEY is missing: put the key from play.cartesia.ai into the env file")
    wanted = await speakers(settings)
    failed = 0
    url = settings.cartesia_url.replace("ws", "http", 1)  # wss: https:, ws: http:
    async with cartesia.AsyncCartesia(api_key=key, base_url=url, timeout=TIMEOUT_S) as client:
        for speaker in wanted:
            try:
                await _Studio(client, settings, speaker, report, so_far).record(again=again)
            except PromptError as error:
                report(f"{speaker.voice.id} ({speaker.of}): {error}")
                failed += 1
    return failed


class _Studio:
    """Records one voice. The manifest is written last and names whole files only, so a crash leaves it as it was."""

    def __init__(
        self,
        client: cartesia.AsyncCartesia,
        settings: Settings,
        speaker: Speaker,
        report: Callable[[str], None],
        so_far: Callable[[str, int, int], None],
    ) -> None:
        self._client = client
        self._model = settings.cartesia_model
        self._rate = settings.sample_rate
        self._speaker = speaker
        self._report = report
        self._so_far = so_far
        self._folder = settings.prompts / folder_name(speaker.voice.id)

    async def record(self, *, again: bool) -> None:
        manifest, voice = self._folder / MANIFEST, self._speaker.voice
        there = {recording.key: recording for recording in read_manifest(manifest)}
        missing: list[Recording] = []
        for prompt in Prompt:
            recording = self._wanted(prompt)
            if recording is None:
                continue
            is_there = there.get(recording.key) == recording and (self._folder / recording.file).is_file()
            if again or not is_there:
                missing.append(recording)
        if not missing:
            self._report(f"{self._folder}: all {len(Prompt)} prompts are there ({self._speaker.of})")
            return
        await self._check(voice.id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for done, recording in enumerate(missing):
                self._so_far(self._speaker.of, done, len(missing))
                pcm = await self._spoken(recording.text)
                self._write_wav(recording.file, pcm)
                there[recording.key] = recording
                _write(manifest, manifest_text(voice.id, there.values()).encode())
                seconds = len(pcm) / bytes_a_ms(self._rate) / 1000
                self._report(f'{recording.file}: {seconds:.1f} s, "{recording.text}"')
            for old in set(self._folder.glob("*.wav")) - {self._folder / each.file for each in there.values()}:
                old.unlink()
        except OSError as error:
            raise PromptError(f"cannot write to {self._folder}: {error.strerror}") from error

    def _wanted(self, prompt: Prompt) -> Recording | None:
        text = wording(prompt, self._speaker.phrases)
        voice = self._speaker.voice
        if "{" in text:
            self._report(
                f"{voice.id} ({self._speaker.of}): {prompt.name.lower()} has a placeholder, so it is not recorded"
            )
            return None
        mark = hashlib.sha256(f"{self._model}\n{text}".encode()).hexdigest()[:12]
        file = f"{prompt.name.lower()}-{voice.language}-{self._rate}-{mark}.wav"
        return Recording(PromptKey(prompt, voice.id, voice.language, self._rate), text, self._model, file)

    async def _check(self, voice_id: str) -> None:
        """The voice first: one that is not there would be said with each prompt."""
        try:
            voice = await self._client.voices.get(voice_id)
        except cartesia.CartesiaError as error:
            raise PromptError(_said(error)) from error
        self._report(f"{voice_id}: {voice.name}, {voice.language} ({self._speaker.of}), to {self._folder}")

    async def _spoken(self, text: str) -> bytes:
        voice = self._speaker.voice
        try:
            answer = await self._client.tts.generate(
                model_id=self._model,
                transcript=text,
                voice={"id": voice.id},
                language=voice.language,
                output_format={"container": "raw", "encoding": "pcm_s16le", "sample_rate": self._rate},
            )
            pcm = await answer.read()
        except cartesia.CartesiaError as error:
            raise PromptError(_said(error)) from error
        if not 0 < len(pcm) <= 1000 * LONGEST_S * bytes_a_ms(self._rate) or len(pcm) % 2:
            raise PromptError(f"{len(pcm)} bytes came for {text!r}, which is no recording of up to {LONGEST_S} s")
        return pcm

    def _write_wav(self, name: str, pcm: bytes) -> None:
        unfinished = self._folder / f".{name}.unfinished"
        with wave.open(str(unfinished), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self._rate)
            file.writeframes(pcm)
        _settle(unfinished, self._folder / name)


def folder_name(voice_id: str) -> str:
    """A voice's directory: its id, with what no file name should have as %XX."""
    return quote(voice_id, safe="").replace(".", "%2E")


def _write(file: Path, data: bytes) -> None:
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_bytes(data)
    _settle(unfinished, file)


def _settle(unfinished: Path, file: Path) -> None:
    """Give a file its name when all of it is on disk."""
    with unfinished.open("rb") as opened:
        os.fsync(opened.fileno())
    unfinished.replace(file)


def _said(error: cartesia.CartesiaError) -> str:
    match error:
        case cartesia.NotFoundError():
            return "Cartesia has no such voice; correct CARTESIA_VOICE_ID, the conversation's voice or the company's"
        case cartesia.AuthenticationError() | cartesia.PermissionDeniedError():
            return "Cartesia refuses CARTESIA_API_KEY"
        case cartesia.APIStatusError():
            return f"Cartesia answered HTTP {error.status_code}; try again later"
        case _:
            return f"Cartesia cannot be reached ({type(error).__name__}); check CARTESIA_URL"
