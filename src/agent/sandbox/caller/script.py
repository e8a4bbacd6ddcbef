r"""What a simulated caller says and does: a text of one line a thing, read from top to bottom.

```
# A comment. Empty lines mean nothing.
say: Hello, my kitchen tap is leaking.
when "postcode": say: It's M14 6BT.
interrupt 600ms: Sorry, how much was that?
wait: 1.5s
dtmf: 0
play: cough.wav
otherwise: say: Sorry, could you say that again?
hangup
```

The caller listens first: each line waits until the agent has spoken and fallen silent. Then the next one is chosen:

1. the first unused line whose `when` is met: one of its texts, split by `or`, stands in what the agent just said
   (case does not matter, and a text matches from the beginning of a word);
2. else the first unused line without a condition, if every line above it is used;
3. else `otherwise`, as often as needed, at most `MAX_OTHERWISE` times in a row;
4. else nothing: the caller waits for the agent to go on, and out of patience takes the first unused line.

Without an engine that understands the agent, the lines are simply taken in order.

- `say: TEXT` speaks. `<900ms>` inside is a pause: `say: My postcode is <900ms> M14 6BT.`
- `interrupt 600ms: TEXT` speaks over the agent: it follows at once when the line above it has been used, waits
  until the agent begins to speak, lets it speak for that long, and then speaks. `interrupt 600ms: play: FILE` plays.
- `play: FILE` plays a WAV file (16 bits; its path is relative to the script), or a sound that is made: `<cough>`,
  `<clatter>`, or for as long as it says `<fax 20s>` and `<modem 10s>`.
- `dtmf: DIGITS` presses keys (0 to 9, *, #, A to D).
- `wait: 800ms` or `wait: 1.5s` says nothing for that long.
- `hangup` hangs up. Without it the caller stays on the line until the agent ends the call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Action = Literal["say", "interrupt", "play", "dtmf", "wait", "hangup"]
MAX_OTHERWISE = 2

_QUOTED = re.compile(r'"([^"]+)"')
_WHEN = re.compile(r'when\s+("[^"]+"(?:\s+or\s+"[^"]+")*)\s*:\s*(.+)', re.IGNORECASE)
_OTHERWISE = re.compile(r"otherwise\s*:\s*(.+)", re.IGNORECASE)
_INTERRUPT = re.compile(r"interrupt\s+(\S+)\s*:\s*(.+)", re.IGNORECASE)
_PLAIN = re.compile(r"(say|play|dtmf|wait)\s*:\s*(.+)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9*#A-D]{1,32}")
_PAUSE = re.compile(r"\s*<\s*(\d[^<>]*)>\s*")
_SOUND = re.compile(r"<\s*([a-z]+)(?:\s+(\d[^<>]*))?>")
_LONGEST_S = 120.0
SOUNDS: Mapping[str, float] = {"cough": 0.35, "clatter": 0.6, "fax": 20.0, "modem": 10.0}
"""Sounds that are made, and how long they are unless a script says otherwise, in seconds."""


class ScriptError(ValueError):
    """A script cannot be read; the text names the file, the line, and what would be right."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that the caller does."""

    action: Action
    text: str = ""
    """What is said, pressed or played."""
    seconds: float = 0.0
    """How long `wait` waits, and how long `interrupt` lets the agent speak."""
    when: tuple[str, ...] = ()
    number: int = 0
    """Its line in the script, from 1."""
    recorded: bool = False
    """The text is a WAV file's path, or a sound in angle brackets."""

    def fits(self, heard: str) -> bool:
        """Tell whether the condition is met by what the agent said."""
        return any(re.search(r"(?<!\w)" + re.escape(text), heard, re.IGNORECASE) for text in self.when)


@dataclass(frozen=True, slots=True)
class Script:
    """The lines in their order, and what is done when none fits."""

    lines: tuple[Line, ...]
    otherwise: Line | None = None

    def texts(self) -> list[str]:
        """Return everything that may have to be spoken: a voice can prepare it before the call."""
        lines = (*self.lines, *((self.otherwise,) if self.otherwise else ()))
        return [line.text for line in lines if line.action in ("say", "interrupt") and not line.recorded]

    def recordings(self) -> list[str]:
        """Return every WAV file and made sound that may have to be played."""
        return [line.text for line in self.lines if line.recorded]


@dataclass(slots=True)
class Progress:
    """How far a caller is in its script. Pure: what the agent said goes in, the next line comes out."""

    script: Script
    used: set[int] = field(default_factory=set)
    otherwise_in_a_row: int = 0

    def choose(self, heard: str | None) -> Line | None:
        """Return the line that follows what was heard, and count it as used; None when none does.

        `heard` is None when nobody can tell what the agent said.
        """
        index = self._fitting(heard)
        if index is not None:
            self.otherwise_in_a_row = 0
            return self._use(index)
        if self.finished or self.script.otherwise is None or self.otherwise_in_a_row >= MAX_OTHERWISE:
            return None
        self.otherwise_in_a_row += 1
        return self.script.otherwise

    def first_unused(self) -> Line | None:
        """Return the first line not used yet, and count it as used; None at the end."""
        index = next((i for i in range(len(self.script.lines)) if i not in self.used), None)
        return None if index is None else self._use(index)

    def following_interrupt(self, line: Line) -> Line | None:
        """Return the interruption that comes right after `line`, and count it as used; None if there is none."""
        if line not in self.script.lines:
            return None
        index = self.script.lines.index(line) + 1
        if index >= len(self.script.lines) or index in self.used or self.script.lines[index].action != "interrupt":
            return None
        return self._use(index)

    @property
    def finished(self) -> bool:
        """Whether every line has been used."""
        return len(self.used) == len(self.script.lines)

    def unused(self) -> list[Line]:
        """Return the lines that have not been used."""
        return [line for index, line in enumerate(self.script.lines) if index not in self.used]

    def unsaid(self) -> list[Line]:
        """Return the unused lines without a condition that speak, play or press: the caller meant to do them."""
        return [line for line in self.unused() if not line.when and line.action not in ("hangup", "wait")]

    def _fitting(self, heard: str | None) -> int | None:
        unused = [i for i in range(len(self.script.lines)) if i not in self.used]
        if heard is None:
            return unused[0] if unused else None
        for index in unused:
            if self.script.lines[index].fits(heard):
                return index
        if unused and not self.script.lines[unused[0]].when:
            return unused[0]
        return None

    def _use(self, index: int) -> Line:
        self.used.add(index)
        return self.script.lines[index]


def read_script(path: Path) -> Script:
    """Read a script from a file. Raises `ScriptError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"cannot read the script {path}: {error}") from error
    return parse_script(text, name=str(path), folder=path.parent)


def parse_script(text: str, *, name: str = "script", folder: Path | None = None) -> Script:
    """Read a script; `folder` is where its WAV files are. Raises `ScriptError`."""
    lines: list[Line] = []
    otherwise: Line | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if match := _OTHERWISE.fullmatch(line):
                if otherwise is not None:
                    raise ScriptError("there is an 'otherwise' already")
                otherwise = _action(match[1], (), number, folder)
                if otherwise.action != "say":
                    raise ScriptError("only 'say' can follow 'otherwise:'")
            elif match := _WHEN.fullmatch(line):
                lines.append(_action(match[2], tuple(_QUOTED.findall(match[1])), number, folder))
            else:
                lines.append(_action(line, (), number, folder))
        except ScriptError as error:
            raise ScriptError(f"{name}, line {number}: {error}") from None
    if not lines:
        raise ScriptError(f"{name} says nothing: write for example 'say: Hello'")
    return Script(tuple(lines), otherwise)


def script_of(
    says: Sequence[str], *, interrupt_after_s: float | None = None, dtmf: str = "", wavs: Sequence[Path] = ()
) -> Script:
    """Return the script of a command line: `says` in order, then `wavs`, then `dtmf`.

    With `interrupt_after_s`, the second thing said interrupts the answer to the first one.
    """
    lines = [Line("say", text, number=n) for n, text in enumerate(says, 1)]
    if interrupt_after_s is not None:
        if len(lines) < 2:
            raise ScriptError("to interrupt, say two things: the second one interrupts the answer to the first")
        lines[1] = Line("interrupt", lines[1].text, interrupt_after_s, number=2)
    lines += [Line("play", str(path), number=len(lines) + n, recorded=True) for n, path in enumerate(wavs, 1)]
    if dtmf:
        lines.append(Line("dtmf", _digits(dtmf), number=len(lines) + 1))
    return Script(tuple(lines))


def typed_line(text: str) -> Line | None:
    """Return what somebody who types wants the caller to do: say it, or what stands behind a `/`; None for nothing.

    `/dtmf 1#`, `/play FILE` or `/play <cough>`, `/wait 2s`, `/hangup`. Raises `ScriptError`.
    """
    text = text.strip()
    if not text:
        return None
    if not text.startswith("/"):
        return Line("say", _speakable(text))
    word, _, rest = text[1:].partition(" ")
    if word in ("hangup", "quit") and not rest:
        return Line("hangup")
    if word in ("dtmf", "play", "wait") and rest.strip():
        return _action(f"{word}: {rest.strip()}", (), 0, None)
    raise ScriptError(f"{text!r} is none of /dtmf 1, /play FILE, /wait 2s, /hangup; what has no / is said")


def _action(text: str, when: tuple[str, ...], number: int, folder: Path | None) -> Line:
    if text.lower() == "hangup":
        return Line("hangup", when=when, number=number)
    if match := _INTERRUPT.fullmatch(text):
        if when:
            raise ScriptError("an interruption follows the line above it and has no 'when'")
        played = _PLAIN.fullmatch(match[2])
        if played and played[1].lower() == "play":
            return Line("interrupt", _recording(played[2], folder), seconds(match[1]), number=number, recorded=True)
        return Line("interrupt", _speakable(match[2]), seconds(match[1]), number=number)
    match = _PLAIN.fullmatch(text)
    if match is None:
        raise ScriptError(f"{text!r} is no say:, interrupt 600ms:, play:, dtmf:, wait: or hangup")
    rest = match[2]
    match match[1].lower():
        case "say":
            return Line("say", _speakable(rest), when=when, number=number)
        case "play":
            return Line("play", _recording(rest, folder), when=when, number=number, recorded=True)
        case "dtmf":
            return Line("dtmf", _digits(rest), when=when, number=number)
        case _:
            return Line("wait", seconds=seconds(rest), when=when, number=number)


def with_pauses(text: str) -> list[str | float]:
    """Split what is said at its pauses: pieces of text, and seconds of silence. Raises `ScriptError`."""
    pieces = _PAUSE.split(text)
    return [seconds(piece) if index % 2 else piece for index, piece in enumerate(pieces) if piece]


def without_pauses(text: str) -> str:
    """Return the words alone."""
    return _PAUSE.sub(" ", text).strip()


def made_sound(text: str) -> tuple[str, float] | None:
    """Return the name and length in seconds of a sound in angle brackets; None for a file. Raises `ScriptError`."""
    match = _SOUND.fullmatch(text)
    if match is None:
        return None
    if match[1] not in SOUNDS:
        raise ScriptError(f"{text} is no sound; there is {', '.join(f'<{name}>' for name in SOUNDS)}")
    return match[1], seconds(match[2]) if match[2] else SOUNDS[match[1]]


def seconds(text: str) -> float:
    """Return a time such as 800ms or 1.5s in seconds. Raises `ScriptError`."""
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * (0.001 if match[2].lower() == "ms" else 1.0) if match else -1.0
    if not 0 <= value <= _LONGEST_S:
        raise ScriptError(f"{text!r} is no time; write for example 800ms or 1.5s (at most {_LONGEST_S:g}s)")
    return value


def _speakable(text: str) -> str:
    if not any(isinstance(piece, str) for piece in with_pauses(text)):
        raise ScriptError(f"{text!r} says nothing; write 'wait:' for a pause alone")
    return text


def _recording(text: str, folder: Path | None) -> str:
    return text if made_sound(text) else str(folder / text if folder else text)


def _digits(text: str) -> str:
    digits = re.sub(r"[\s,]", "", text).upper()
    if not _DIGITS.fullmatch(digits):
        raise ScriptError(f"{text!r} are no keys; write up to 32 of 0 to 9, *, #, A to D")
    return digits
