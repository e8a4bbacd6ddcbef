"""`voice-agent top` in a terminal: a table of the calls, what the agent says of itself above it, one call's details."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, ClassVar, Final

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.widgets import DataTable, Footer, Input, Static

from agent.top.source import LiveSource, NoAgent
from agent.top.view import BY_TIME, SORTS, Call, Column, chosen, columns_of, details, duration, head, widths

AGAIN_S: Final = (1.0, 2.0, 3.0, 5.0)
"""After so long it is tried again while no agent answers; the last one from then on."""
ANSWERS: Final = 30
"""Of a call, whose lengths are kept while it is seen."""
SCROLLBAR: Final = 2
PARTS: Final = ("#head", "#banner", "#calls", "#details", "#help", "#filter")
HELP: Final = """\
[b]Keys[/b]
 up, down, j, k  choose a call         Enter  its details     Esc  close what is open
 s  sort by another column             r  the other way round
 /  only those that match: company, step, what it does, last digits, w2 (worker)
 p  stop the picture, go on            q  leave
[b]Shown[/b]
 Answer   from the end of the caller's speech to the agent's first sound
 Levels   the caller, then the agent: the newest 200 ms
 vendors  ● in use   ◐ tried again   ○ left alone after failures"""


class Top(App[int]):
    """Looks at one agent `every_s` seconds; it leaves with status 0."""

    TITLE = "voice-agent top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: auto; padding: 0 1; }
    #banner { height: auto; padding: 0 1; background: $error; color: $text; display: none; }
    #calls { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #calls.stale { opacity: 55%; }
    #details { height: auto; padding: 0 1; border-top: solid $primary; display: none; }
    #help { height: auto; padding: 0 1; border-top: solid $primary; display: none; }
    #filter { display: none; height: 3; }
    .shown { display: block !important; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("d", "details", "details", key_display="enter"),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter"),
        Binding("p", "pause", "pause"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "close", "close", show=False),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(self, source: LiveSource, every_s: float = 1.0, wanted: str = "") -> None:
        """`wanted`: what is shown at first, as the filter has it."""
        super().__init__()
        self._source = source
        self._every_s = every_s
        self._wanted = wanted
        self._page: dict[str, Any] | None = None
        self._seen_at = 0.0
        self._by: Column = BY_TIME
        self._backwards = False
        self._paused = False
        self._columns: tuple[Column, ...] = ()
        self._widths: list[int] = []
        self._order: list[str] = []
        self._cells: dict[str, list[Text]] = {}
        self._answers: dict[str, deque[float]] = {}
        self._turns: dict[str, int] = {}

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(Text(f"voice-agent top  {self._source.url}"), id="head")
        yield Static("", id="banner", markup=False)
        yield DataTable(id="calls", cursor_type="row", cell_padding=0, zebra_stripes=True)
        yield Static("", id="details", markup=False)
        yield Static(HELP, id="help")
        yield Input(self._wanted, placeholder="company, step, what it does, last digits, w2", id="filter")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self._table.focus()
        self.run_worker(self._watch(), name="look", exclusive=True)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#calls", DataTable)

    @property
    def _there(self) -> bool:
        """Whether there is a screen: while it is taken down, pages and rows that were drawn still come."""
        return len(self.query(", ".join(PARTS))) == len(PARTS)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        due = time.monotonic()
        failures = 0
        while True:
            try:
                page = await self._source.look()
            except NoAgent as error:
                again_s = AGAIN_S[min(failures, len(AGAIN_S) - 1)]
                failures += 1
                self._no_agent(str(error), again_s)
                await asyncio.sleep(again_s)
                due = time.monotonic()
                continue
            failures = 0
            self._take(page)
            due = max(due + self._every_s, time.monotonic())  # what is late is left out, not made up for
            await asyncio.sleep(due - time.monotonic())

    def _no_agent(self, why: str, again_s: float) -> None:
        if not self._there:
            return
        text = f"{why}. Trying again in {again_s:g} s."
        if self._page is not None:
            text += f" Below is how it was {duration(time.monotonic() - self._seen_at)} ago."
        self._banner(text)
        self._table.add_class("stale")

    def _banner(self, text: str) -> None:
        banner = self.query_one("#banner", Static)
        banner.update(text)
        banner.set_class(bool(text), "shown")

    def _take(self, page: dict[str, Any]) -> None:
        for call in page["calls"]:
            self._note_answer(call)
        for gone in self._answers.keys() - {call["uuid"] for call in page["calls"]}:
            del self._answers[gone], self._turns[gone]
        if self._paused or not self._there:
            return
        self._page, self._seen_at = page, time.monotonic()
        self._table.remove_class("stale")
        self._banner("")
        self._draw()

    def _note_answer(self, call: Call) -> None:
        answers = self._answers.setdefault(call["uuid"], deque(maxlen=ANSWERS))
        latency_ms, more = call["latency_ms"], call["turns"] != self._turns.get(call["uuid"])
        if latency_ms is not None and more and (not answers or latency_ms != answers[-1]):
            answers.append(latency_ms)
        self._turns[call["uuid"]] = call["turns"]

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        page = self._page
        if page is None or not self._there:
            return
        above = head(page, self._source.url)
        note = "  paused" if self._paused else ""
        if self._wanted:
            note += f"  only: {self._wanted}"
        self.query_one("#head", Static).update(Text.assemble(above, (note, "bold yellow")))
        self._draw_columns(page)
        self._draw_calls(chosen(page["calls"], self._wanted, self._by, self._backwards), page["now"])
        self._draw_details()

    def _draw_columns(self, page: dict[str, Any]) -> None:
        columns = columns_of(page)
        if columns == self._columns:
            return
        self._columns = columns
        table = self._table
        table.clear(columns=True)
        self._order, self._cells = [], {}
        self._widths = widths(columns, self.size.width - SCROLLBAR)
        for column, width in zip(columns, self._widths, strict=True):
            arrow = ("▾" if column.falling != self._backwards else "▴") if column is self._by else ""
            table.add_column(column.fit(Text(column.name + arrow), width), width=width + 1, key=column.name)

    def _draw_calls(self, calls: list[Call], now_ms: int) -> None:
        table = self._table
        columns = list(zip(self._columns, self._widths, strict=True))
        cells = {
            call["uuid"]: [column.fit(column.cell(call, now_ms), width) for column, width in columns] for call in calls
        }
        if list(cells) == self._order:
            for uuid, row in cells.items():
                for column, new, old in zip(self._columns, row, self._cells[uuid], strict=True):
                    if new != old:
                        table.update_cell(uuid, column.name, new)
        else:
            chosen_uuid, at = self._selected, table.scroll_y
            table.clear()
            for uuid, row in cells.items():
                table.add_row(*row, key=uuid)
            if chosen_uuid in cells:
                table.move_cursor(row=list(cells).index(chosen_uuid), scroll=False)
            table.scroll_to(y=at, animate=False)
            self._order = list(cells)
        self._cells = cells

    def _draw_details(self) -> None:
        if not self._there:
            return
        panel = self.query_one("#details", Static)
        call = self._call
        if call is None or self._page is None:
            panel.update(Text("No call is chosen: the one that was here is over.", "dim"))
        else:
            panel.update(details(call, self._page["now"], self._answers.get(call["uuid"], ())))

    @property
    def _selected(self) -> str:
        """The UUID under the cursor; empty where there is none."""
        row = self._table.cursor_row
        return self._order[row] if 0 <= row < len(self._order) else ""

    @property
    def _call(self) -> Call | None:
        calls = self._page["calls"] if self._page is not None else ()
        return next((call for call in calls if call["uuid"] == self._selected), None)

    def on_resize(self, _event: Resize) -> None:
        """The columns fill another width."""
        self._columns = ()
        self._draw()

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_details(self) -> None:
        """Show the chosen call's details, or hide them."""
        self.query_one("#details").toggle_class("shown")
        self._draw_details()

    @on(DataTable.RowSelected)
    def _row_selected(self) -> None:
        self.action_details()

    @on(DataTable.RowHighlighted)
    def _row_highlighted(self) -> None:
        self._draw_details()

    @on(DataTable.HeaderSelected)
    def _header_selected(self, event: DataTable.HeaderSelected) -> None:
        column = next((column for column in SORTS if column.name == event.column_key.value), None)
        if column is self._by:
            self._backwards = not self._backwards
        elif column is not None:
            self._by = column
        self._sorted()

    def action_sort(self) -> None:
        """By the next column that can be sorted by."""
        shown = [column for column in SORTS if column in self._columns]
        if shown:
            at = shown.index(self._by) if self._by in shown else -1
            self._by = shown[(at + 1) % len(shown)]
            self._sorted()

    def action_reverse(self) -> None:
        """The other way round."""
        self._backwards = not self._backwards
        self._sorted()

    def _sorted(self) -> None:
        selected = self._selected
        self._columns = ()  # the arrow is in a heading
        self._draw()
        if selected in self._order:
            self._table.move_cursor(row=self._order.index(selected))

    def action_filter(self) -> None:
        """Ask what is to be shown."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self._draw()

    @on(Input.Submitted, "#filter")
    def _filter_submitted(self) -> None:
        self.query_one("#filter").remove_class("shown")
        self._table.focus()

    def action_close(self) -> None:
        """Close what is open: the filter with what it says, the help, the details."""
        field = self.query_one("#filter", Input)
        if field.has_class("shown") or field.value:
            field.value = ""
            self._filter_submitted()
            return
        for name in ("#help", "#details"):
            widget = self.query_one(name)
            if widget.has_class("shown"):
                widget.remove_class("shown")
                return

    def action_pause(self) -> None:
        """Stop the picture, or go on."""
        self._paused = not self._paused
        self._draw()

    def action_help(self) -> None:
        """Say what the keys do."""
        self.query_one("#help").toggle_class("shown")

    def action_down(self) -> None:
        """To the next call."""
        self._table.action_cursor_down()

    def action_up(self) -> None:
        """To the one before."""
        self._table.action_cursor_up()


async def watch(source: LiveSource, every_s: float, wanted: str = "") -> int:
    """Show it until somebody leaves; return the exit status."""
    return await Top(source, every_s, wanted).run_async() or 0
