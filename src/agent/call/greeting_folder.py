"""Greetings on disk: after a restart they are at hand, also while the voice is away."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from agent.ops.private import make_private_directory, write_private
from agent.providers.base import SpeakingVoice, Words, bytes_a_ms

log = logging.getLogger(__name__)

FILES = 1024
"""So many are kept, the most recently made ones: some 50 KB each."""
LONGEST_MS = 30_000


@dataclass(frozen=True, slots=True)
class GreetingFolder:
    """One file a greeting: a line of JSON with the times of its words, then 16-bit PCM. Methods block for the disk."""

    path: Path
    model: str
    """Which of the vendor's models speaks: another one's greetings are others."""
    default_voice_id: str
    sample_rate: int

    def read(self, voice: SpeakingVoice, text: str) -> tuple[bytes, Words] | None:
        """A greeting that was kept; None when there is none, or none that is whole."""
        try:
            head, _, pcm = self._file(voice, text).read_bytes().partition(b"\n")
            times = json.loads(head)
            words = Words(
                tuple(map(str, times["words"])),
                tuple(map(int, times["start_ms"])),
                tuple(map(int, times.get("end_ms", ()))),  # older files have none
            )
            return (pcm, words) if len(pcm) == times["bytes"] > 0 else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            log.warning("a greeting in %s cannot be read (%s): it is made anew", self.path, type(error).__name__)
            return None

    def write(self, voice: SpeakingVoice, text: str, pcm: bytes, words: Words) -> None:
        """Keep a greeting; what cannot be written is said in the log."""
        if len(pcm) > LONGEST_MS * bytes_a_ms(self.sample_rate):
            return
        file = self._file(voice, text)
        times = {"words": words.words, "start_ms": words.start_ms, "end_ms": words.end_ms}
        head = json.dumps({**times, "bytes": len(pcm)})
        try:
            make_private_directory(self.path)
            unfinished = file.with_suffix(f".{os.getpid()}")
            write_private(unfinished, head.encode() + b"\n" + pcm)
            unfinished.replace(file)
            kept = sorted(self.path.glob("*.greeting"), key=lambda each: each.stat().st_mtime)
            for old in kept[:-FILES]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a greeting cannot be kept in %s: %s", self.path, error.strerror)

    def _file(self, voice: SpeakingVoice, text: str) -> Path:
        key = json.dumps([self.model, voice.id or self.default_voice_id, voice.language, self.sample_rate, text])
        return self.path / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.greeting"
