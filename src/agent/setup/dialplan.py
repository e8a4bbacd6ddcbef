"""Asterisk's part: which files go to its directory, and which lines an administrator adds where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from agent.setup.files import asterisk_files
from agent.setup.plan import Wanted

Calls = Literal["all", "some", "missed", "hours", "freepbx"]
"""Which calls the agent takes."""
CALLS: tuple[Calls, ...] = get_args(Calls)
WHAT: dict[Calls, str] = {
    "all": "every call",
    "some": "some numbers, the others go to your phones",
    "missed": "calls that your phones miss",
    "hours": "calls outside opening hours, and those that are missed within",
    "freepbx": "what you choose in FreePBX",
}
EXAMPLE = "PJSIP/100&PJSIP/101"
"""Somebody's phones, where nobody has said whose."""
_PEOPLE = re.compile(r"[A-Za-z0-9_./@&+-]+")
_NUMBER = re.compile(r"\+?[0-9]{2,20}")
_EXAMPLES = re.compile(r"(\[voice-agent-some\]\n)(?:exten => [0-9+]+,1,Goto\(voice-agent,\$\{EXTEN\},1\)\n)+")


@dataclass(frozen=True, slots=True)
class Dialplan:
    """What was chosen. `people`: who rings, as Dial() takes it; `numbers`: those that the agent takes, for `some`."""

    calls: Calls = "missed"
    people: str = ""
    numbers: Sequence[str] = ()
    directory: Path = Path("/etc/asterisk")
    ports: tuple[int, int] = (9099, 4573)

    def __post_init__(self) -> None:
        if self.people and not _PEOPLE.fullmatch(self.people):
            raise ValueError(f"{self.people!r} is nothing for Dial(): such as PJSIP/100&PJSIP/101")
        for number in self.numbers:
            if not _NUMBER.fullmatch(number):
                raise ValueError(
                    f"{number!r} is no number: as the trunk sends it, such as 02079460101 or +442079460101"
                )

    @property
    def is_freepbx(self) -> bool:
        """Whether FreePBX makes the dialplan, and includes ours as its custom one."""
        return self.calls == "freepbx"

    def files(self) -> list[Wanted]:
        """What goes to Asterisk's directory."""
        shipped = asterisk_files()
        itself = (shipped / "voice-agent.conf").read_text(encoding="utf-8")
        files = [Wanted(self.directory / "voice-agent.conf", itself, "the call itself: not to be edited")]
        if self.is_freepbx:
            custom = (shipped / "extensions_custom.conf").read_text(encoding="utf-8")
            ours = Wanted(self.directory / "voice-agent-freepbx.conf", custom, "for FreePBX: yours to edit", once=True)
            return [*files, ours]
        site = (shipped / "voice-agent-site.conf").read_text(encoding="utf-8")
        if self.numbers:
            lines = "".join(f"exten => {number},1,Goto(voice-agent,${{EXTEN}},1)\n" for number in self.numbers)
            site, found = _EXAMPLES.subn(lambda match: match[1] + lines, site)
            assert found == 1, "voice-agent-site.conf has its examples in another form"
        path = self.directory / "voice-agent-site.conf"
        return [*files, Wanted(path, site, "which calls, which people: yours to edit", once=not self.numbers)]

    @property
    def includes(self) -> list[str]:
        """Lines for `extensions.conf`, or for FreePBX's own."""
        names = ["voice-agent-freepbx.conf"] if self.is_freepbx else ["voice-agent.conf", "voice-agent-site.conf"]
        return [f"#include {name}" for name in names]

    @property
    def globals(self) -> list[str]:
        """Lines for `[globals]` of `extensions.conf`."""
        lines = [] if self.is_freepbx else [f"VOICE_AGENT_PEOPLE={self.people or EXAMPLE}"]
        for name, port, default in zip(("AUDIO", "AGI"), self.ports, (9099, 4573), strict=True):
            if port != default:
                lines.append(f"VOICE_AGENT_{name}_PORT={port}")
        return lines

    def is_tried(self, extensions: str) -> bool:
        """Whether the text of extensions.conf has a number that calls the agent."""
        return any("Goto(voice-agent,s,1)" in line.partition(";")[0] for line in extensions.splitlines())

    def missing(self, extensions: str) -> tuple[list[str], list[str]]:
        """Which of `includes` and `globals` the text of extensions.conf does not have."""
        found = [line.partition(";")[0].strip() for line in extensions.splitlines()]
        included = {match[1] for line in found if (match := re.match(r'#(?:try)?include\s+[<"]?([^\s">]+)', line))}
        has = {name.strip(): value.strip("> ") for line in found for name, _, value in [line.partition("=")]}
        globals_ = []
        for line in self.globals:
            name, _, value = line.partition("=")
            if has.get(name) != value and not (name == "VOICE_AGENT_PEOPLE" and name in has and not self.people):
                globals_.append(line)
        return [line for line in self.includes if line.split()[1] not in included], globals_
