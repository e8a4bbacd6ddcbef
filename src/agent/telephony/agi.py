"""The Asterisk Gateway Interface's text, without I/O: the request's header lines, commands and replies.

Sources: Asterisk's `res/res_agi.c` (`setup_env`, `parse_args`, `agi_handle_command`). Asterisk sends `agi_*: value`
lines and a blank one; then each command line of ours is answered by `200 result=…`, by `510` (unknown command),
`511` (the channel is dead) or a `520` (wrong usage, over several lines when it begins with `520-`). A line
`HANGUP` may come at any moment between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_HEADER = re.compile(r"(agi_[a-z0-9_]{1,32}):(?: (.*))?", re.DOTALL)
_REPLY = re.compile(r"(\d{3})([ -])(.*)", re.DOTALL)
_RESULT = re.compile(r"result=(-?\d{1,9})(?:\s+\((.*)\)|\s+(.*))?", re.DOTALL)


class AgiError(Exception):
    """The other side does not speak AGI, or refuses a command; `reason` is the name that is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ChannelGoneError(AgiError):
    """The caller has hung up: nothing more can be said to this channel."""

    def __init__(self) -> None:
        super().__init__("hangup", "the channel has hung up")


@dataclass(frozen=True, slots=True, repr=False)
class AgiRequest:
    """One AGI request: `script` is what follows the host in `agi://host:port/script`, without a query."""

    script: str
    arguments: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"AgiRequest({self.script!r}, {len(self.arguments)} arguments)"

    def argument(self, index: int) -> str:
        """Argument `index`, from 0; empty when it was not given."""
        return self.arguments[index].strip() if index < len(self.arguments) else ""

    def header(self, name: str) -> str:
        """The header `agi_<name>`; empty when absent."""
        return self.headers.get(f"agi_{name}", "")


@dataclass(frozen=True, slots=True)
class AgiReply:
    """The answer to one command: `code` 200, `result` and what stood in parentheses or after it."""

    code: int
    result: int
    data: str = ""


def parse_request(lines: list[str]) -> AgiRequest:
    """The request of the header lines, without the blank one. Raises `AgiError` for anything else.

    A header that comes twice keeps its first value: Asterisk writes its own before a caller's could appear.
    """
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise AgiError("bad_header", "a header line is not 'agi_name: value'")
        headers.setdefault(match[1], match[2] or "")
    if "agi_network_script" not in headers:
        raise AgiError("bad_header", "agi_network_script is missing: this is not a FastAGI request")
    arguments: list[str] = []
    while (name := f"agi_arg_{len(arguments) + 1}") in headers:
        arguments.append(headers[name])
    script = headers["agi_network_script"].partition("?")[0].strip("/ ")
    return AgiRequest(script, tuple(arguments), MappingProxyType(headers))


def parse_reply(line: str) -> AgiReply | None:
    """The reply of one line; None for a line that is not one yet (`520-…` goes on).

    Raises `ChannelGoneError` for `HANGUP`, 511 and a result of -1, and `AgiError` for a refused command or noise.
    """
    if line == "HANGUP":
        raise ChannelGoneError
    match = _REPLY.fullmatch(line)
    if match is None:
        raise AgiError("bad_reply", "a reply does not begin with its code")
    code = int(match[1])
    if code == 511:
        raise ChannelGoneError
    if match[2] == "-":
        return None
    if code != 200:
        raise AgiError("refused", f"Asterisk refuses the command with code {code}")
    result = _RESULT.fullmatch(match[3])
    if result is None:
        raise AgiError("bad_reply", "a reply of 200 has no result")
    if int(result[1]) == -1:
        raise ChannelGoneError
    return AgiReply(code, int(result[1]), result[2] if result[2] is not None else result[3] or "")


def quoted(text: str) -> str:
    r"""`text` as one argument of an AGI command: in quotes, with `"` and `\` escaped, on one line.

    Raises `ValueError` for control characters and line ends, which no AGI argument can hold.
    """
    if any(not character.isprintable() for character in text):
        raise ValueError("an AGI argument cannot hold control characters or line ends")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def set_variable(name: str, value: str) -> str:
    """The command that sets a channel variable."""
    return f"SET VARIABLE {name} {quoted(value)}"


def get_full_variable(expression: str) -> str:
    """The command that evaluates a dialplan expression such as `${CHANNEL(linkedid)}`."""
    return f"GET FULL VARIABLE {quoted(expression)}"
