"""The report of a call: one HTML page that needs nothing beside it, made from the record and the recording.

It has the sound, both sides on one time line with what was held, resumed and thrown away, the waterfall of each
answer, the transcript with what the caller did not hear struck out, tools, moments and counters.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import median
from string import Template
from typing import TYPE_CHECKING, Final

from agent.call.record import CallRecord, TurnRecord
from agent.ops.picture import CallPicture, PictureError, PictureMark, PictureTurn, Row, draw_call
from agent.ops.recording import Tracks, read_tracks
from agent.ops.waterfall import draw_waterfall

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARKS: Final = {"hold": "hold", "resume": "resume", "barge_in": "barge-in", "flush": "flush", "dtmf": "key"}
"""Moments of the record that are drawn, and what they are called in the picture."""
PAUSE_MS: Final = 1200
"""A silence of the caller as long as this parts what was said before from the turn that ends at `speech_end`."""
LOUD: Final = 500
"""A sample above this is the caller's voice, for where a turn begins in the picture; no decision rests on it."""


class ReportError(RuntimeError):
    """The report cannot be made; the text says why."""


def write_report(record: CallRecord, out: Path, *, sound: Path | None = None) -> Path:
    """Write the report of `record` to `out`: a file, or a directory, in which it is called `<uuid>.html`.

    Args:
        record: The call; `agent.call.record.read_record` reads one.
        out: Where to; the file is readable by its owner alone, since it holds what was said.
        sound: The stereo recording; the one that the record names unless given. Without one that can be read there
            are no sound and no picture.

    Returns:
        The page. Raises `ReportError` without matplotlib, OSError when it cannot be written.

    """
    path = out / f"{record.uuid}.html" if out.is_dir() else out
    page = make_report(record, sound or (Path(record.recording) if record.recording else None))
    temporary = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(page)
    temporary.replace(path)
    return path


def make_report(record: CallRecord, sound: Path | None) -> str:
    """The page itself. Raises `ReportError` without matplotlib."""
    try:
        tracks, why = read_tracks(sound) if sound is not None else None, "the call was not recorded"
    except (OSError, ValueError) as error:
        tracks, why = None, f"the recording cannot be read: {error}"
    rows: list[Row] = []
    picture = player = f'<p class="none">There is no sound: {escape(why)}.</p>'
    try:
        if tracks is not None and sound is not None and tracks.caller:
            drawn = io.BytesIO()
            rows = draw_call(drawn, picture_of(record, tracks))
            player = f'<audio controls preload="auto" src="{_inline("audio/wav", sound.read_bytes())}"></audio>'
            picture = f'<figure id="call">{_image(drawn, "both sides of the call")}<div id="head"></div></figure>'
        drawn = io.BytesIO()
        count = draw_waterfall(drawn, record.turns)
    except PictureError as error:
        raise ReportError(str(error)) from error
    return Template(files("agent.ops").joinpath("report.html").read_text("utf-8")).substitute(
        title=escape(f"{record.company or 'A call'}: {record.outcome.replace('_', ' ')}"),
        subtitle=escape(_subtitle(record)),
        player=player,
        cards="".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in _cards(record)),
        picture=picture,
        waterfall=_image(drawn, "what each answer waited for") if count else '<p class="none">No answer was timed.</p>',
        transcript="".join(_transcript(record)) or '<tr><td class="none">Nobody said anything.</td></tr>',
        moments="".join(_moments(record)) or '<tr><td class="none">None.</td></tr>',
        counters="".join(_counters(record)),
        footer=escape(f"Call {record.uuid}; left channel: the caller, right channel: the agent."),
        rows=json.dumps([asdict(row) for row in rows]),
    )


def picture_of(record: CallRecord, tracks: Tracks, caller: Iterable[PictureTurn] | None = None) -> CallPicture:
    """What `draw_call` draws of a record; `caller` are the caller's turns where somebody knows them better."""
    turns = list(caller if caller is not None else caller_turns(record, tracks))
    for turn in record.turns:
        if turn.times.first_frame is not None and turn.end_ms is not None:
            text = turn.heard + (" …" if turn.interrupted else "")
            end_ms = turn.end_ms
            if turn.interrupted:  # the turn ends when that is certain; the wire has been silent since the hold
                end_ms = _last_loud_ms(tracks.agent, tracks.rate, turn.times.first_frame, end_ms)
            turns.append(
                PictureTurn("agent", turn.times.first_frame / 1000, end_ms / 1000, text, turn.times.latency_ms)
            )
    marks = [
        PictureMark(m.at_ms / 1000, MARKS[m.what], _mark_label(m.what, m.detail))
        for m in record.marks
        if m.what in MARKS
    ]
    title = f"{record.company or 'A call'}: {record.outcome.replace('_', ' ')}, {record.seconds:.0f} s"
    return CallPicture(tracks.rate, tracks.caller, tracks.agent, turns, marks, title)


def caller_turns(record: CallRecord, tracks: Tracks) -> list[PictureTurn]:
    """When the caller spoke, by the sound: from each turn's end back to a pause."""
    loud = _loud(tracks.caller, tracks.rate)
    turns: list[PictureTurn] = []
    last_ms = 0
    for turn in record.turns:
        end_ms = turn.times.speech_end
        if not turn.caller or end_ms is None:
            continue
        begin = end_ms
        for at in range(end_ms // 20 - 1, last_ms // 20, -1):
            if at < len(loud) and loud[at]:
                begin = at * 20
            elif begin - at * 20 > PAUSE_MS:
                break
        turns.append(PictureTurn("caller", begin / 1000, end_ms / 1000, turn.caller))
        last_ms = end_ms
    return turns


def _loud(track: bytes, rate: int) -> NDArray[np.bool_]:
    """For each 20 ms of a track whether there is a voice in it."""
    import numpy as np

    samples = np.frombuffer(track, "<i2").astype(np.int32)
    tick = rate // 50
    levels: NDArray[np.int32] = np.abs(samples[: len(samples) // tick * tick].reshape(-1, tick)).max(axis=1)
    return levels > LOUD


def _last_loud_ms(track: bytes, rate: int, start_ms: int, end_ms: int) -> int:
    """Where the sound between two moments of a track ends; `end_ms` where there is none."""
    loud = _loud(track, rate)[start_ms // 20 : end_ms // 20]
    return start_ms // 20 * 20 + (int(loud.nonzero()[0][-1]) + 1) * 20 if loud.any() else end_ms


# ---- the parts of the page ------------------------------------------------------------------------------------------


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _image(drawn: io.BytesIO, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="{_inline("image/png", drawn.getvalue())}">'


def _mark_label(what: str, detail: str) -> str:
    return f"{MARKS[what]} {detail}".strip()


def _subtitle(record: CallRecord) -> str:
    parts = [
        record.started[:19].replace("T", " ") + " UTC",
        f"{record.seconds:.0f} s",
        f"from {record.caller_id or 'a withheld number'}",
        f"to {record.did}" if record.did else "",
        f"ended by {record.ended_by}" if record.ended_by else "",
        f"verdict: {record.verdict}" if record.verdict else "",
        f"booking {record.booking_id}" if record.booking_id else "",
    ]
    return ", ".join(part for part in parts if part)


def _cards(record: CallRecord) -> list[tuple[str, str]]:
    latencies = record.latencies_ms
    cards = [("turns of the caller", str(sum(bool(turn.caller) for turn in record.turns)))]
    if latencies:
        cards += [("median wait", f"{median(latencies):.0f} ms"), ("longest wait", f"{max(latencies)} ms")]
        early = sum(turn.times.early for turn in record.turns)
        cards.append(("thought of early", f"{early} of {len(latencies)}"))
        drafts, wasted = (sum(getattr(turn, name) for turn in record.turns) for name in ("drafts", "wasted"))
        cards.append(("drafts thrown away", f"{wasted} of {drafts}"))
    for what, label in (("hold", "held"), ("resume", "resumed"), ("flush", "thrown away")):
        cards.append((label, str(sum(mark.what == what for mark in record.marks))))
    cards.append(("tools run", str(sum(len(turn.tools) for turn in record.turns))))
    return cards


def _at(ms: int | None) -> str:
    if ms is None:
        return '<td class="at"></td>'
    seconds = ms / 1000
    return f'<td class="at"><a href="#" data-at="{seconds:.2f}">{int(seconds // 60)}:{seconds % 60:04.1f}</a></td>'


def _transcript(record: CallRecord) -> Iterable[str]:
    for turn in record.turns:
        times = turn.times
        if turn.caller:
            at = times.speech_end if times.speech_end is not None else turn.start_ms
            yield (
                f'<tr class="caller">{_at(at)}<td class="who">caller</td><td>{escape(turn.caller)}</td>'
                f'<td class="aside">{escape(times.summary())}</td></tr>'
            )
        if turn.agent or turn.tools:
            yield (
                f'<tr class="agent">{_at(times.first_frame)}<td class="who">agent</td><td>{_said(turn)}</td>'
                f'<td class="aside">{"<br>".join(_tools(turn))}</td></tr>'
            )


def _said(turn: TurnRecord) -> str:
    """What the caller heard, then struck out what was made and not heard."""
    if turn.heard == turn.agent:
        return escape(turn.agent)
    cut = "interrupted" if turn.interrupted else "not heard to its end"
    return f'{escape(turn.heard)} <del>{escape(turn.unheard)}</del> <span class="cut">{cut}</span>'


def _tools(turn: TurnRecord) -> Iterable[str]:
    for tool in turn.tools:
        result = "" if tool.get("ok") else ' <span class="cut">failed</span>'
        yield f'<span class="tool">{escape(str(tool.get("name", "")))}</span> {tool.get("ms", 0)} ms{result}'


def _moments(record: CallRecord) -> Iterable[str]:
    for mark in record.marks:
        name = escape(mark.what.replace("_", " "))
        yield f"<tr>{_at(mark.at_ms)}<td>{name}</td><td>{escape(mark.detail)}</td></tr>"


def _counters(record: CallRecord) -> Iterable[str]:
    groups: dict[str, Mapping[str, object]] = {
        f"Vendor: {name}": counters for name, counters in record.vendors.items() if counters
    }
    media = {name: value for name, value in record.media.items() if value}
    if media:
        groups["Media core"] = media
    for heading, values in groups.items():
        cells = "".join(
            f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(str(value))}</td></tr>"
            for name, value in sorted(values.items())
        )
        yield f"<div><h2>{escape(heading)}</h2><table>{cells}</table></div>"
