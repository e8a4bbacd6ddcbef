"""`voice-agent call --type` in a terminal: what is said above, a line to type in below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, RichLog, Static

from agent.sandbox.caller.call import Heard
from agent.sandbox.caller.result import CallResult
from agent.sandbox.caller.script import ScriptError
from agent.sandbox.caller.typed import TypedCaller

LOOK_S = 0.1
COLOURS = {"agent": "cyan", "caller": "green", "line": "dim"}
HINT = "type what the caller says   /dtmf 1   /play FILE   /wait 2s   /hangup"


class LineInput(Input):
    """Is empty again before the next key comes, however quickly it is typed or pasted."""

    def __init__(self, typed: Callable[[str], None]) -> None:
        super().__init__(placeholder=HINT, id="line")
        self._typed = typed

    async def action_submit(self) -> None:
        """Enter."""
        text, self.value = self.value, ""
        self._typed(text)


class TypedScreen(App[CallResult]):
    """One call; it leaves with the call's result when the call is over. Ctrl-D hangs up."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #said { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    #state { height: 1; padding: 0 1; background: $panel; }
    #line { height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+d,ctrl+c", "hang_up", "hang up", priority=True)]

    def __init__(self, caller: TypedCaller, notes: Sequence[str] = ()) -> None:
        """`notes` are shown first."""
        super().__init__()
        self.caller = caller
        self._notes = notes
        self._hung_up = False

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield RichLog(id="said", wrap=True, markup=False, highlight=False)
        yield Static("calling …", id="state", markup=False)
        yield LineInput(self.typed)

    def on_mount(self) -> None:
        """Call."""
        for note in self._notes:
            self.say(note, "yellow")
        self.query_one("#line").focus()
        self.set_interval(LOOK_S, self._look)
        self.run_worker(self._call(), name="call")

    async def _call(self) -> None:
        self.exit(await self.caller.run())

    def _look(self) -> None:
        for state in self.query("#state").results(Static):
            state.update(self.caller.state)

    def heard(self, heard: Heard, line: str) -> None:
        """Somebody said something, or something happened."""
        self.say(line, COLOURS.get(heard.who, ""))

    def say(self, text: str, style: str = "") -> None:
        """One more line above; while the screen is taken down there is none any more."""
        for log in self.query("#said").results(RichLog):
            log.write(Text(text, style))

    def typed(self, text: str) -> None:
        """A line was typed."""
        try:
            self.caller.type(text)
        except ScriptError as error:
            self.say(str(error), "yellow")

    def action_hang_up(self) -> None:
        """Hang up; the second time, leave as it is."""
        if self._hung_up:
            self.exit(None)
        self._hung_up = True
        self.caller.hang_up()
