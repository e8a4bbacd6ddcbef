"""Speech engines that need no key and no network, behind two protocols.

`load_voice("hibari")` and `load_recogniser("moonshine")` give real engines; `"tones"` gives the pair that
carries text in audible tones (`tones`): exact, quick, and alike for text of any kind; `"script"` the pair that costs
next to nothing (`script`).
"""

from __future__ import annotations

from typing import Literal

from agent.speech_engines.types import EngineMissing, Recogniser, Samples, Speech, Voice, Word

VoiceName = Literal["hibari", "hibari-low", "pico", "tones", "script"]
RecogniserName = Literal["moonshine", "tones", "script"]

__all__ = [
    "EngineMissing",
    "Recogniser",
    "RecogniserName",
    "Samples",
    "Speech",
    "Voice",
    "VoiceName",
    "Word",
    "load_recogniser",
    "load_voice",
]


def load_voice(name: VoiceName) -> Voice:
    """Load a voice; takes up to a second. Raises `EngineMissing` when its package is not installed."""
    try:
        return _voice(name)
    except ModuleNotFoundError as error:
        raise EngineMissing(name, error.name or "") from error


def _voice(name: VoiceName) -> Voice:
    match name:
        case "hibari":
            from agent.speech_engines.hibari import HibariVoice

            return HibariVoice()
        case "hibari-low":
            from agent.speech_engines.hibari import LOW, HibariVoice

            return HibariVoice(LOW)
        case "pico":
            from agent.speech_engines.pico import PicoVoice

            return PicoVoice()
        case "tones":
            from agent.speech_engines.tones import ToneVoice

            return ToneVoice()
        case "script":
            from agent.speech_engines.script import KeptVoice

            return KeptVoice()


def load_recogniser(name: RecogniserName, lines: tuple[str, ...] = ()) -> Recogniser:
    """Load a recogniser; Moonshine's first load on a machine folds its weights (about 20 s, then cached).

    `lines` is what the `script` hears, one for each stretch of speech.
    Raises `EngineMissing` when its package is not installed.
    """
    try:
        return _recogniser(name, lines)
    except ModuleNotFoundError as error:
        raise EngineMissing(name, error.name or "") from error


def _recogniser(name: RecogniserName, lines: tuple[str, ...]) -> Recogniser:
    match name:
        case "moonshine":
            from agent.speech_engines.moonshine import MoonshineRecogniser

            return MoonshineRecogniser()
        case "tones":
            from agent.speech_engines.tones import ToneRecogniser

            return ToneRecogniser()
        case "script":
            from agent.speech_engines.script import ScriptRecogniser

            return ScriptRecogniser(lines)
