"""The report of a call: one page that holds everything, struck out what was not heard, and nothing of it is markup."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
import wave
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from typer.testing import CliRunner

from agent.call.record import CallRecord, RecordError, TurnRecord, TurnTimes, read_record, write_record
from agent.cli import app
from agent.ops import picture as picture_module
from agent.ops.picture import CallPicture, PictureMark, PictureTurn, draw_call
from agent.ops.recording import interleave, read_tracks
from agent.ops.report import caller_turns, make_report, picture_of, write_report
from agent.ops.waterfall import draw_waterfall, spans

EARLY = TurnTimes(
    speech_end=3000, final_transcript=3170, turn_end=3300, llm_request=3120, first_token=3155, first_tts_text=3160,
    first_audio=3220, first_frame=3310,
)  # fmt: skip
LATE = TurnTimes(
    speech_end=8000, final_transcript=8470, turn_end=8470, llm_request=8470, first_token=8505, first_tts_text=8520,
    first_audio=8580, first_frame=8600,
)  # fmt: skip


def sound(path: Path, voiced: list[tuple[float, float]], seconds: float = 10.0) -> Path:
    """A recording in which the caller hums in these spans, and the agent never."""
    times = np.arange(round(8000 * seconds)) / 8000
    hum = np.zeros(len(times), "<i2")
    for first, last in voiced:
        part = (times >= first) & (times < last)
        hum[part] = (4000 * np.sin(2 * np.pi * 200 * times[part])).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(interleave(hum.tobytes(), bytes(2 * len(hum))))
    return path


@pytest.fixture
def call() -> CallRecord:
    record = CallRecord("8a7c0d3e-0000-4000-8000-000000000001", company="Pipes & <Sons>", caller_id="+447700900123")
    record.seconds, record.outcome = 10.0, "no_booking"
    record.turns = [
        TurnRecord("", 0, "Hello.", "Hello.", end_ms=1500, times=TurnTimes(first_frame=300)),
        TurnRecord("<script>alert(1)</script>", 3300, "We can come at once.", "We can", True, 4000, EARLY),
        TurnRecord(
            "Yes", 8470, "Right.", "Right.", False, 9500, LATE, [{"name": "check_availability", "ok": False, "ms": 7}]
        ),
    ]
    record.mark(3700, "hold")
    record.mark(3900, "flush")
    record.vendors = {"stt": {"reconnects": 1}}
    return record


class Page(HTMLParser):
    """What a browser would see: elements by name, struck-out text, sources."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.sources: list[tuple[str, str]] = []
        self.links: list[float] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if (source := values.get("src")) is not None:
            self.sources.append((tag, source))
        if (at := values.get("data-at")) is not None:
            self.links.append(float(at))
        if tag not in ("meta", "img", "br", "html"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "html":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


def test_a_page_holds_sound_picture_waterfall_and_words(call: CallRecord, tmp_path: Path) -> None:
    recording = sound(tmp_path / "call.wav", [(2.0, 3.0), (7.2, 8.0)])
    path = write_report(call, tmp_path, sound=recording)
    assert path == tmp_path / f"{call.uuid}.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == [], "an element is not closed"
    kinds = [tag for tag, _ in page.sources]
    assert kinds == ["audio", "img", "img"]
    inlined = [base64.b64decode(source.partition("base64,")[2]) for _, source in page.sources]
    assert inlined[0] == recording.read_bytes()
    assert all(image.startswith(b"\x89PNG") for image in inlined[1:])
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text), "the page fetches something"
    assert page.text["del"] == ["come at once."]
    assert "interrupted" in page.text["span"]
    assert "check_availability" in page.text["span"]
    assert sum("alert(1)" in words for words in page.text["td"]) == 1
    assert "alert(1)" not in "".join(page.text["script"])
    assert "Pipes & <Sons>: no booking" in page.text["h1"]
    assert {0.3, 3.0, 3.31, 3.7, 3.9, 8.0, 8.6} == set(page.links)
    rows = json.loads(re.search(r"const rows = (\[.*?\])", text)[1])  # type: ignore[index]
    assert [row["first_s"] for row in rows] == [0.0]
    assert 0 < rows[0]["left"] < rows[0]["right"] < 1
    assert 0 < rows[0]["top"] < rows[0]["bottom"] < 1


def test_a_page_without_a_recording_says_so(call: CallRecord, tmp_path: Path) -> None:
    for text in (make_report(call, None), make_report(call, tmp_path / "gone.wav"), make_report(CallRecord("u"), None)):
        page = Page(text)
        assert page.open == []
        assert "audio" not in [tag for tag, _ in page.sources]
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    assert "cannot be read" in make_report(call, tmp_path / "bad.wav")


def test_the_callers_turn_begins_behind_a_pause(call: CallRecord, tmp_path: Path) -> None:
    # A second before the pause of 1.5 s belongs to nothing that was answered; the gap of 0.4 s is inside the turn.
    tracks = read_tracks(sound(tmp_path / "call.wav", [(0.2, 0.5), (2.0, 2.4), (2.8, 3.0), (7.2, 8.0)]))
    found = [(round(turn.start_s, 2), turn.end_s) for turn in caller_turns(call, tracks)]
    assert found == [(2.0, 3.0), (7.2, 8.0)]


def test_an_interrupted_reply_is_shaded_until_it_fell_silent(call: CallRecord, tmp_path: Path) -> None:
    tracks = read_tracks(sound(tmp_path / "call.wav", [(2.0, 3.0)]))
    agent = bytearray(len(tracks.caller))
    agent[16 * 3310 : 16 * 3700] = b"\x00\x20" * (8 * 390)  # it is held at 3.7 s, and its turn ends at 4 s
    picture = picture_of(call, replace(tracks, agent=bytes(agent)))
    (cut,) = [turn for turn in picture.turns if turn.text.endswith("…")]
    assert cut.start_s == 3.31
    assert cut.end_s == pytest.approx(3.7, abs=0.02)
    assert [turn.end_s for turn in picture.turns if turn.text == "Right."] == [9.5]


def test_labels_at_the_right_edge_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    edges: list[float] = []
    keep = picture_module._keep_inside

    def noted(label: Text, at_s: float, last_s: float) -> None:
        keep(label, at_s, last_s)
        assert label.axes is not None
        edges.append(label.get_window_extent().x1 - label.axes.transData.transform((last_s, 0.0))[0])

    monkeypatch.setattr(picture_module, "_keep_inside", noted)
    turns = [PictureTurn("agent", 9.6, 9.9, "WWWWWWWWWW MMMMMMMM WWWWWWWW MMMMMMMM", 300)]
    marks = [PictureMark(9.95, "barge-in", "barge-in: stopped after 180 ms")]
    draw_call(io.BytesIO(), CallPicture(8000, bytes(160_000), bytes(160_000), turns, marks))
    assert len(edges) == 2
    assert max(edges) <= 0.5, "pixels"


def test_stages_of_an_answer_that_was_thought_of_early() -> None:
    assert EARLY.early
    assert not LATE.early
    assert EARLY.stages_ms() == {
        "stt": 170, "endpoint": 300, "llm": 35, "clause": 5, "tts": 60, "gate": 80, "wire": 10, "whole": 310,
    }  # fmt: skip
    late = LATE.stages_ms()
    assert (late["gate"], late["wire"], late["whole"]) == (0, 20, 600)
    assert EARLY.summary() == ("310 ms, thought of early (stt 170, endpoint 300, llm 35, tts 60, gate 80, wire 10)")
    assert TurnTimes().stages_ms() == {}
    assert TurnTimes().summary() == ""
    assert TurnTimes(speech_end=5, first_audio=7, first_frame=9).stages_ms() == {"gate": 0, "wire": 2, "whole": 4}
    assert spans(EARLY)["gate"] == (220, 300)
    assert spans(EARLY)["llm"] == (120, 155)
    assert spans(TurnTimes(first_frame=3)) == {}


def test_the_waterfall_draws_what_was_timed(call: CallRecord, tmp_path: Path) -> None:
    path = tmp_path / "waterfall.png"
    assert draw_waterfall(path, call.turns, "$ A \\frac{ title") == 2
    assert path.read_bytes().startswith(b"\x89PNG")
    path.unlink()
    assert draw_waterfall(path, call.turns[:1]) == 0
    assert not path.exists()
    assert draw_waterfall(path, [TurnRecord("", 0, times=TurnTimes(speech_end=3, first_frame=3))]) == 1


def test_a_record_is_read_back(call: CallRecord, tmp_path: Path) -> None:
    path = write_record(call, tmp_path)
    assert read_record(path) == call
    document = json.loads(path.read_bytes())
    document["of_a_later_version"] = document["turns"][0]["new"] = 1
    path.write_text(json.dumps(document))
    assert read_record(path) == call
    for wrong in ("", "[]", "{}", '{"uuid": "u", "turns": [1]}'):
        path.write_text(wrong)
        with pytest.raises(RecordError, match=r"no record of a call"):
            read_record(path)
    with pytest.raises(RecordError, match="cannot read"):
        read_record(tmp_path / "none.json")


def test_the_command(call: CallRecord, tmp_path: Path) -> None:
    path = write_record(call, tmp_path / "data" / "calls")
    made = CliRunner().invoke(app, ["report", str(path)])
    assert made.exit_code == 0, made.output
    assert Page(path.with_suffix(".html").read_text("utf-8")).text["del"] == ["come at once."]
    env = {"DATA_DIR": str(tmp_path / "data")}
    by_uuid = CliRunner().invoke(app, ["report", call.uuid, "--out", str(tmp_path / "x.html")], env=env)
    assert by_uuid.exit_code == 0, by_uuid.output
    assert (tmp_path / "x.html").is_file()
    gone = CliRunner().invoke(app, ["report", "no-such-call"], env=env)
    assert gone.exit_code == 2
    assert "cannot read" in gone.output
