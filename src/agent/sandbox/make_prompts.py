"""Makes the package's own prompts: `python -m agent.sandbox.make_prompts`.

They are spoken by hibari, and kept as mu-law at 8000 samples a second in Sun's .au files, which players understand.
The same engine makes the same bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import agent.call
from agent.call.prompts import Prompt
from agent.speech_engines import Voice, audio, load_voice

FOLDER = Path(agent.call.__file__).parent / "embedded_prompts"
RATE = 8000
_MULAW = 1  # as .au counts encodings


def make(folder: Path, voice: Voice) -> int:
    """Write one file for each prompt; returns how many bytes of audio there are."""
    total = 0
    for prompt in Prompt:
        codes = audio.encode(voice.speak(prompt.value, RATE).samples, "pcm_mulaw")
        header = struct.pack(">4sIIIII", b".snd", 24, len(codes), _MULAW, RATE, 1)
        (folder / f"{prompt.name.lower()}.au").write_bytes(header + codes)
        total += len(codes)
    return total


if __name__ == "__main__":
    made = make(FOLDER, load_voice("hibari"))
    print(f"{FOLDER}: {len(Prompt)} prompts, {made / RATE:.1f} s")
