"""What came of a simulated call: both tracks, who said what and when, interruptions, and how it ended."""

from __future__ import annotations

import io
import json
import uuid
import wave
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.ops.private import make_private_directory, write_private
from agent.ops.recording import interleave
from agent.sandbox.caller.listen import Utterance
from agent.sandbox.caller.wire import WireCounters


@dataclass(slots=True)
class Interruption:
    """The caller spoke over the agent."""

    at_s: float
    """When the caller's first loud frame was sent, in seconds since the UUID."""
    stopped_after_ms: float | None = None
    """From then to the agent's last sound on the wire; None when the agent was silent already."""


@dataclass(slots=True)
class CallResult:
    """A call as the caller saw it. Times are seconds since the UUID."""

    call: uuid.UUID
    rate: int = 8000
    """Samples a second of the tracks."""
    utterances: list[Utterance] = field(default_factory=list)
    """In the order of their beginnings."""
    interruptions: list[Interruption] = field(default_factory=list)
    ended_by: str = ""
    """ "agent" or "caller"; empty when there was no call, or it broke."""
    failure: str = ""
    """Why this was no conversation; empty when it was one."""
    verdict: str = ""
    """What `next` said: hangup, transfer, menu or UNKNOWN; empty when it was not asked."""
    verdict_target: str = ""
    unused_lines: list[int] = field(default_factory=list)
    """Lines of the script, by number, that the caller had no occasion for."""
    duration_s: float = 0.0
    wire: WireCounters = field(default_factory=WireCounters)
    agent_lead_ms: float = 0.0
    """The most that the agent's audio was ahead of the clock."""
    caller_track: bytes = b""
    """What the caller sent: 16 bits, on the call's time line; as long as `agent_track`."""
    agent_track: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the two conversed to the end."""
        return not self.failure

    def said_by(self, who: str) -> list[str]:
        """Return the texts of "agent" or "caller", in order."""
        return [utterance.text for utterance in self.utterances if utterance.who == who]

    def answers_ms(self) -> list[float]:
        """Return how long the caller waited for each answer, in ms."""
        return [u.answered_after_ms for u in self.utterances if u.answered_after_ms is not None]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the audio, ready for JSON."""
        return {
            "uuid": str(self.call),
            "ok": self.ok,
            "failure": self.failure,
            "ended_by": self.ended_by,
            "verdict": self.verdict,
            "verdict_target": self.verdict_target,
            "unused_lines": self.unused_lines,
            "duration_s": round(self.duration_s, 3),
            "utterances": [_rounded(asdict(utterance)) for utterance in self.utterances],
            "interruptions": [_rounded(asdict(interruption)) for interruption in self.interruptions],
            "agent_lead_ms": round(self.agent_lead_ms, 1),
            "wire": _rounded(asdict(self.wire)),
        }

    def stereo(self) -> bytes:
        """Return both tracks interleaved: caller left, agent right."""
        return interleave(self.caller_track, self.agent_track)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write `<uuid>.wav` (stereo) and `<uuid>.json` into `folder`, which is made; return both paths.

        They hold what was said: nobody but their owner may read them.
        """
        make_private_directory(folder)
        sound = folder / f"{self.call}.wav"
        wav = io.BytesIO()
        with wave.open(wav, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(self.stereo())
        write_private(sound, wav.getvalue())
        document = folder / f"{self.call}.json"
        write_private(document, json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n")
        return sound, document


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
