"""What `voice-agent init` asks at a terminal; whatever was given already is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.prompt import Confirm, Prompt

from agent.setup.command import KEYS
from agent.setup.dialplan import CALLS, WHAT, Calls
from agent.setup.env_file import quoted


def ask_keys(console: Console, given: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """The vendors' keys, not shown while they are typed; Enter leaves one for later."""
    keys = {name: value for name, value in given.items() if value}
    for name, (vendor, place) in KEYS.items():
        if keys.get(name):
            console.print(f"{vendor}: the key is given", highlight=False)
        elif there.get(name):
            console.print(f"{vendor}: the key is in the env file", highlight=False)
        else:
            keys[name] = _one_key(console, f"{vendor}'s API key [dim]({place}; not shown; Enter: later)[/]")
    return keys


def _one_key(console: Console, question: str) -> str:
    while True:
        key = Prompt.ask(question, console=console, password=True, default="", show_default=False).strip()
        try:
            quoted(key)
        except ValueError as error:
            console.print(f"[red]{error}[/]")
            continue
        if " " in key:
            console.print("[red]a key has no space in it[/]")
            continue
        return key


def ask_calls(console: Console) -> Calls:
    """Which calls the agent takes."""
    console.print("\nWhich calls is the agent to take?")
    for number, calls in enumerate(CALLS, 1):
        console.print(f"  [bold]{number}[/]  {calls:8} [dim]{WHAT[calls]}[/]", highlight=False)
    choices = [str(number) for number in range(1, len(CALLS) + 1)]
    answer = Prompt.ask("Number", console=console, choices=choices, default=str(CALLS.index("missed") + 1))
    return CALLS[int(answer) - 1]


def ask_people(console: Console) -> str:
    """Whose phones ring first, and when the agent cannot help."""
    question = "Your people's phones, as Dial() takes them [dim](such as PJSIP/100&PJSIP/101; Enter: none yet)[/]"
    return Prompt.ask(question, console=console, default="", show_default=False).strip()


def ask_numbers(console: Console) -> list[str]:
    """Which numbers the agent takes."""
    question = "The agent's numbers, as the trunk sends them [dim](with spaces between; Enter: later)[/]"
    return Prompt.ask(question, console=console, default="", show_default=False).split()


def agreed(console: Console) -> bool:
    """Whether it is to be done."""
    return Confirm.ask("\nWrite this?", console=console, default=True)


def is_asterisk_here(directory: Path) -> bool:
    """Whether there is an Asterisk to set up."""
    return directory.is_dir()
