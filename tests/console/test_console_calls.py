"""Past calls in the console: the list with its filters and files, one call with its sound, and whose they are."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
import wave
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest
from aiohttp import ClientError
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from agent.call.record import CallRecord, TurnRecord, TurnTimes, Word
from agent.office.archive import Snippet
from agent.office.console.call_filters import Filters
from agent.office.console.call_view import time_line, view_of
from agent.office.console.calls import marked
from agent.office.console.waterfall import Axis, draw
from agent.office.console.waveform import MOST_STEPS, Waveforms, read_waveform
from agent.office.csv_text import csv_lines
from agent.office.database import reading
from agent.office.scope import Scope
from agent.ops.bucket import Bucket
from tests.office.s3_storage import make_bucket, s3_settings, storage

if TYPE_CHECKING:
    from tests.console.conftest import Browser, Office, OfficeMaker

ACME_DID, BRIGHT_DID = "+442079460123", "+441614960456"
EARLY = TurnTimes(5000, 5200, 5400, 5100, 5250, 5260, 5350, 5500)
SCRIPT = "<script>alert(1)</script>"
NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)


def spoken(who: str, text: str, start_ms: int) -> list[Word]:
    return [Word(who, word, start_ms + 200 * at, start_ms + 200 * at + 180) for at, word in enumerate(text.split())]


def a_call(**changes: Any) -> CallRecord:
    said, heard = "My tap leaks", "We can be there"
    turn = TurnRecord(
        said, 3000, heard + " within the hour", heard, True, 7000, EARLY,
        [{"name": "check_availability", "arguments": '{"postcode":"SW4"}', "result": '{"free":true}', "ok": True,
          "at_ms": 5450, "ms": 30}],
        [*spoken("caller", said, 4000), *spoken("agent", heard, 5500)],
    )  # fmt: skip
    record = CallRecord(
        str(uuid4()), did=ACME_DID, caller_id="+447700900123", caller_name="Anna Smith", company="Acme Plumbing",
        started=datetime.now(UTC).isoformat(), seconds=12.5, ended_by="caller", outcome="booked",
        booking_id="BK-12345678", turns=[turn], costs={"stt": 0.01, "llm": 0.002}, currency="GBP",
    )  # fmt: skip
    record.mark(6000, "hold")
    record.mark(6200, "barge_in")
    record.mark(6400, "flush")
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def write_sound(path: Path, seconds: float = 2.0, rate: int = 8000, *, broken: bool = False) -> bytes:
    """A second of the caller, then the agent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if broken:
        path.write_bytes(b"RIFF and nothing else")
        return b""
    samples = array("h")
    for at in range(round(seconds * rate)):
        tone = round(8000 * math.sin(at / 3))
        samples.extend((tone, 0) if at < rate else (0, tone))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path.read_bytes()


@pytest.fixture
async def recorded(office: Office) -> CallRecord:
    """A call of Acme's with a recording."""
    record = a_call()
    record.recording = str(office.parts.settings.recordings / f"{record.uuid}.wav")
    write_sound(Path(record.recording))
    await office.store.archive.keep(record)
    return record


@pytest.fixture
async def viewer(office: Office) -> Browser:
    return await office.browser("viewer")


@contextmanager
def counted(office: Office) -> Iterator[list[str]]:
    """The statements that the database is asked meanwhile, sessions left out."""
    asked: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "console_sessions" not in statement and statement.startswith("SELECT"):
            asked.append(statement)

    engine = reading(office.store.archive._engine).sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def listed(page: str) -> list[str]:
    """The calls of a list, by UUID."""
    return re.findall(r'class="row-link" href="/calls/([0-9a-f-]{36})"', page)


# ---- the list ------------------------------------------------------------------------------------------------------


async def test_no_calls_yet(viewer: Browser) -> None:
    assert "No calls yet" in await viewer.page("/calls")
    assert "No call is like that" in await viewer.page("/calls?q=tap")


async def test_the_list_is_filtered_by_its_address(office: Office, viewer: Browser) -> None:
    archive = office.store.archive
    booked = a_call()
    failed = a_call(outcome="failed", booking_id="", marks=[], caller_id="+441632960001", caller_name="", turns=[])
    old = a_call(started=(datetime.now(UTC) - timedelta(days=20)).isoformat(), recording="x.wav", outcome="silent")
    for record in (booked, failed, old):
        await archive.keep(record)
    everything = [failed.uuid, booked.uuid, old.uuid]
    for query, expected in {
        "": everything,
        "?q=leaks": [booked.uuid, old.uuid],
        "?outcome=failed": [failed.uuid],
        "?outcome=nonsense": everything,
        "?period=7d": [failed.uuid, booked.uuid],
        "?period=30d": everything,
        "?number=01632+960001": [failed.uuid],
        "?interrupted=yes": [booked.uuid, old.uuid],
        "?interrupted=no": [failed.uuid],
        "?slow=400": [booked.uuid, old.uuid],
        "?slow=600": [],
        "?recorded=yes": [old.uuid],
        "?q=leaks&recorded=no&interrupted=yes": [booked.uuid],
        f"?company={office.bright}": [],
        "?to=1999-01-01": [],
        "?from=1999-01-01": everything,
    }.items():
        assert sorted(listed(await viewer.page(f"/calls{query}"))) == sorted(expected), query
    page = await viewer.page("/calls?q=leaks&outcome=booked&period=7d")
    assert 'href="/calls?outcome=booked&amp;period=7d" aria-label="Without: “leaks”"' in page
    assert 'href="/calls.csv?q=leaks&amp;outcome=booked&amp;period=7d"' in page
    assert "<mark>leaks</mark>" in page


async def test_what_cannot_be_read_is_said(viewer: Browser) -> None:
    page = await viewer.page("/calls?from=2026-02-30&slow=quick")
    assert "“2026-02-30” is no day" in page
    assert "“quick” is no number of milliseconds" in page
    assert "ends before it begins" in await viewer.page("/calls?from=2026-02-03&to=2026-02-01")
    async with await viewer.get("/calls?before=nonsense&q=tap") as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/calls?q=tap")


async def test_older_calls_are_on_further_pages(office: Office, viewer: Browser) -> None:
    records = [a_call(started=(NOW - timedelta(minutes=n)).isoformat()) for n in range(120)]
    for record in records:
        await office.store.archive.keep(record)
    seen: list[str] = []
    address = "/calls?outcome=booked"
    for _ in range(5):
        page = await viewer.page(address)
        seen += listed(page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if following is None:
            break
        address = following[1].replace("&amp;", "&")
        assert "outcome=booked" in address
    assert seen == [record.uuid for record in records]
    assert 'href="/calls?outcome=booked" rel="first"' in page


async def test_a_page_asks_the_database_the_same_however_many_calls_it_has(office: Office, viewer: Browser) -> None:
    counts = []
    for _ in range(2):
        for _ in range(10):
            await office.store.archive.keep(a_call())
        with counted(office) as asked:
            await viewer.page("/calls?q=tap")
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 4, asked


async def test_of_one_call_everything_is_read_at_once(office: Office, viewer: Browser) -> None:
    record = a_call()
    record.turns *= 100
    await office.store.archive.keep(record)
    with counted(office) as asked:
        await viewer.page(f"/calls/{record.uuid}")
    assert len(asked) <= 4, asked


# ---- files ---------------------------------------------------------------------------------------------------------


async def test_a_table_has_what_the_filters_choose_and_no_formula(office: Office, viewer: Browser) -> None:
    archive = office.store.archive
    await archive.keep(a_call(caller_name='=HYPERLINK("http://evil")', company='@Acme, "Sons"'))
    await archive.keep(a_call(outcome="failed"))
    async with await viewer.get("/calls.csv?outcome=booked") as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert 'filename="calls.csv"' in answer.headers["Content-Disposition"]
        text = await answer.text(encoding="utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["caller_name"] == '\'=HYPERLINK("http://evil")'
    assert row["company"] == '\'@Acme, "Sons"'
    assert row["caller_id"] == "+447700900123", "a number is no formula"
    assert (row["latency_ms"], row["currency"], row["interruptions"]) == ("500", "GBP", "1")


def test_cells_are_text_that_nobody_calculates() -> None:
    assert csv_lines([["=1", "-1+2", "\t=1", -5, None, "+4420", "a=b"]]) == "'=1,'-1+2,'\t=1,-5,,+4420,a=b\r\n"


async def test_all_pages_go_into_a_file(office: Office, viewer: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.office.console.calls.EXPORT_PAGE", 2)
    for number in range(5):
        await office.store.archive.keep(a_call(caller_name=f"Caller {number}"))
    async with await viewer.get("/calls.jsonl") as answer:
        lines = [orjson.loads(line) for line in (await answer.read()).splitlines()]
    assert sorted(line["caller_name"] for line in lines) == [f"Caller {number}" for number in range(5)]
    monkeypatch.setattr("agent.office.console.calls.MOST_EXPORTED", 3)
    async with await viewer.get("/calls.jsonl") as answer:
        assert len((await answer.read()).splitlines()) == 3


async def test_a_file_that_ends_early_does_not_look_whole(
    office: Office, viewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.office.console.calls.EXPORT_PAGE", 1)
    for _ in range(3):
        await office.store.archive.keep(a_call())
    find, asked = office.store.archive.find, []

    async def fails(query: Any, scope: Scope) -> Any:
        asked.append(query)
        if len(asked) == 2:
            raise SQLAlchemyError("the database is away")
        return await find(query, scope)

    monkeypatch.setattr(office.store.archive, "find", fails)
    async with await viewer.get("/calls.csv") as answer:
        with pytest.raises(ClientError):
            await answer.read()
    assert len(asked) == 2


# ---- one call ------------------------------------------------------------------------------------------------------


async def test_a_call_shows_what_was_said_heard_and_done(recorded: CallRecord, viewer: Browser) -> None:
    page = await viewer.page(f"/calls/{recorded.uuid}")
    assert '<span data-s="4200" data-e="4380">tap</span>' in page
    assert "<del>within the hour</del>" in page
    assert "interrupted</span>" in page
    assert "check_availability" in page
    assert "&#34;postcode&#34;: &#34;SW4&#34;" in page
    assert 'class="wf-bar st-llm wf-early"' in page
    assert 'href="/bookings/BK-12345678"' in page
    assert "£0.012" in page
    assert "Stopped speaking: interrupted" in page
    assert "<audio" in page
    assert "style=" not in page, "the policy lets no style be in a page"


async def test_a_call_has_as_many_turns_on_its_page_as_in_the_list(office: Office, viewer: Browser) -> None:
    record = a_call()
    record.turns.insert(0, TurnRecord("", 0, "Hello.", "Hello."))  # the greeting, of which the caller said nothing
    await office.store.archive.keep(record)
    assert '<p class="stat-name">Turns</p><p class="stat-figure">2</p>' in await viewer.page(f"/calls/{record.uuid}")


@pytest.mark.parametrize(("mark", "told"), [("agent_died", "in the recording alone"), ("hold", "Nobody said anything")])
async def test_of_a_call_that_was_cut_off_it_is_not_said_that_nobody_spoke(
    office: Office, viewer: Browser, mark: str, told: str
) -> None:
    record = a_call(outcome="failed", turns=[], marks=[])
    record.mark(9000, mark)
    await office.store.archive.keep(record)
    page = await viewer.page(f"/calls/{record.uuid}")
    assert told in page
    assert ("the caller said nothing" in page) is (mark == "hold")


async def test_whatever_a_caller_is_called_is_text(office: Office, viewer: Browser) -> None:
    tools = [{"name": SCRIPT, "arguments": SCRIPT, "ok": False, "reason": SCRIPT, "ms": 1}]
    turn = TurnRecord(SCRIPT, 0, SCRIPT, SCRIPT, times=EARLY, tools=tools, words=spoken("caller", SCRIPT, 0))
    record = a_call(caller_name=SCRIPT, company=SCRIPT, turns=[turn], booking_id=SCRIPT, verdict=SCRIPT)
    record.mark(1, "step", SCRIPT)
    record.mark(2, SCRIPT)
    await office.store.archive.keep(record)
    for address in ("/calls", "/calls?q=alert", f"/calls/{record.uuid}"):
        page = await viewer.page(address)
        assert SCRIPT not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("there", ["", "/sound", "/waveform", "/record.json"])
async def test_a_call_of_another_company_is_not_there(office: Office, there: str) -> None:
    record = a_call(did=BRIGHT_DID)
    record.recording = str(office.parts.settings.recordings / f"{record.uuid}.wav")
    write_sound(Path(record.recording))
    await office.store.archive.keep(record)
    admin, viewer, nobody = [await office.browser(user) for user in ("admin", "viewer", "")]
    for browser, status in ((admin, 200), (viewer, 404), (nobody, 303)):
        async with await browser.get(f"/calls/{record.uuid}{there}") as answer:
            assert answer.status == status
    for list_ in ("/calls", "/calls?q=tap", "/calls.csv", "/calls.jsonl"):
        assert record.uuid in await admin.page(list_)
        assert record.uuid not in await viewer.page(list_)


async def test_a_running_call_says_where_to_look(office: Office) -> None:
    live = SimpleNamespace(company="Acme Plumbing", started=datetime.now(UTC), company_id=office.acme)
    uuid = str(uuid4())

    class Calls:
        async def look(self) -> None: ...

        def get(self, asked: str, sees: Callable[[int | None], bool]) -> Any:
            return live if asked == uuid and sees(live.company_id) else None

    await office.start(live=Calls())
    viewer = await office.browser("viewer")
    assert "still going on" in await viewer.page(f"/calls/{uuid}")
    live.company_id = office.bright
    async with await viewer.get(f"/calls/{uuid}") as answer:
        assert answer.status == 404


async def test_the_document_is_the_record(recorded: CallRecord, viewer: Browser) -> None:
    async with await viewer.get(f"/calls/{recorded.uuid}/record.json") as answer:
        document = orjson.loads(await answer.read())
        assert "attachment" in answer.headers["Content-Disposition"]
    assert document["turns"][0]["words"][1] == {"who": "caller", "text": "tap", "start_ms": 4200, "end_ms": 4380}
    assert document["recording"] == f"{recorded.uuid}.wav", "no path of this machine"


# ---- sound ---------------------------------------------------------------------------------------------------------


async def test_the_sound_comes_in_pieces_where_they_are_asked_for(recorded: CallRecord, viewer: Browser) -> None:
    whole = write_sound(Path(recorded.recording))
    async with await viewer.get(f"/calls/{recorded.uuid}/sound") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert await answer.read() == whole
    async with await viewer.get(f"/calls/{recorded.uuid}/sound", headers={"Range": "bytes=1000-1999"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes 1000-1999/{len(whole)}")
        assert await answer.read() == whole[1000:2000]
    async with await viewer.get(f"/calls/{recorded.uuid}/sound?download") as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")


async def test_no_file_from_elsewhere_is_sent(office: Office, viewer: Browser) -> None:
    """Whatever a record says, and wherever a link leads."""
    recordings = office.parts.settings.recordings
    recordings.mkdir(parents=True)
    write_sound(recordings.parent / "secret.wav")
    (recordings / "link.wav").symlink_to(recordings.parent / "secret.wav")
    (recordings / "notes.txt").write_text("secret")
    for name in ("../secret.wav", "link.wav", "notes.txt", "missing.wav", "..", str(recordings.parent / "secret.wav")):
        record = a_call(recording=name)
        await office.store.archive.keep(record)
        async with await viewer.get(f"/calls/{record.uuid}/sound") as answer:
            assert answer.status == 404, name
        assert "<audio" not in await viewer.page(f"/calls/{record.uuid}")


async def test_the_time_line_has_both_sides_and_what_happened(recorded: CallRecord, viewer: Browser) -> None:
    async with await viewer.get(f"/calls/{recorded.uuid}/waveform") as answer:
        line = await answer.json()
    caller, agent = (base64.b64decode(line[side]) for side in ("caller", "agent"))
    assert line["step_ms"] == 20
    assert len(caller) == len(agent) == 100
    assert min(caller[:50]) > 150 > max(caller[50:]) == 0
    assert min(agent[50:]) > 150 > max(agent[:50]) == 0
    kinds = [span["kind"] for span in line["spans"]]
    assert sorted(kinds) == ["barged", "cut", "held", "tool", "wait"]
    assert {"kind": "held", "at_ms": 6000, "to_ms": 6400, "label": "Held"} in line["spans"]
    assert [(piece["kind"], piece["at_ms"]) for piece in line["speech"]] == [("caller", 4000), ("agent", 5500)]


async def test_a_call_without_a_recording_or_with_a_broken_one(office: Office, viewer: Browser) -> None:
    without, broken = a_call(), a_call()
    broken.recording = str(office.parts.settings.recordings / f"{broken.uuid}.wav")
    write_sound(Path(broken.recording), broken=True)
    for record, problem in ((without, ""), (broken, "the recording cannot be read")):
        await office.store.archive.keep(record)
        await viewer.page(f"/calls/{record.uuid}")
        async with await viewer.get(f"/calls/{record.uuid}/waveform") as answer:
            line = await answer.json()
        assert (line["problem"], line["caller"], len(line["spans"])) == (problem, "", 5)


def test_a_long_call_has_longer_steps(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        for _ in range(360):
            file.writeframes(bytes(4 * 8000))
    found = read_waveform(path)
    assert (found.step_ms, len(found.caller)) == (40, 9000)
    assert len(found.caller) <= MOST_STEPS


async def test_a_recording_in_the_bucket_is_heard_drawn_and_erased_there(an_office: OfficeMaker) -> None:
    with storage() as url:
        make_bucket(url)
        office = await an_office(**s3_settings(url))
        record = a_call()
        path = office.parts.settings.recordings / f"{record.uuid}.wav"
        record.recording = str(path)
        sound = write_sound(path)
        await office.store.archive.keep(record)
        bucket = Bucket(office.parts.settings)
        bucket.put(path)
        path.unlink()
        browser = await office.browser("admin")
        async with await browser.get(f"/calls/{record.uuid}") as page:
            assert f"/calls/{record.uuid}/sound" in await page.text()
        async with await browser.get(f"/calls/{record.uuid}/sound") as answer:
            assert (answer.status, await answer.read()) == (200, sound)
        async with await browser.get(f"/calls/{record.uuid}/waveform") as answer:
            assert (await answer.json())["caller"]
        async with await browser.post(f"/calls/{record.uuid}/erase") as answer:
            assert answer.status == 303
        assert [each for some in bucket.names() for each in some] == []
        async with await browser.get(f"/calls/{record.uuid}/sound") as answer:
            assert answer.status == 404


async def test_a_storage_that_is_away_is_named(an_office: OfficeMaker) -> None:
    office = await an_office(**s3_settings("http://127.0.0.1:9"))
    record = a_call()
    record.recording = f"{record.uuid}.wav"
    await office.store.archive.keep(record)
    browser = await office.browser("viewer")
    async with await browser.get(f"/calls/{record.uuid}/sound") as answer:
        assert answer.status == 502
        assert "EndpointConnectionError" in await answer.text()
    async with await browser.get(f"/calls/{record.uuid}/waveform") as answer:
        assert (await answer.json())["problem"] == "the recording cannot be fetched just now"


@pytest.mark.parametrize("suffix", [".flac", ".opus"])
async def test_packed_recordings_are_drawn_and_sent(
    office: Office, viewer: Browser, tmp_path: Path, suffix: str
) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra recording")
    write_sound(tmp_path / "sound.wav")
    samples, rate = soundfile.read(str(tmp_path / "sound.wav"), dtype="int16")
    record = a_call()
    path = office.parts.settings.recordings / f"{record.uuid}{suffix}"
    path.parent.mkdir(parents=True)
    form = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(str(path), samples, rate, **form)
    record.recording = path.name
    await office.store.archive.keep(record)
    found = read_waveform(path)
    assert min(found.caller[2:48]) > 120 > max(found.caller[55:95])
    async with await viewer.get(f"/calls/{record.uuid}/sound") as answer:
        assert answer.headers["Content-Type"] == {".flac": "audio/flac", ".opus": "audio/ogg"}[suffix]


async def test_a_waveform_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    write_sound(path)
    read: list[Path] = []

    def note(asked: Path) -> Any:
        read.append(asked)
        return read_waveform(asked)

    monkeypatch.setattr("agent.office.console.waveform.read_waveform", note)
    monkeypatch.setattr("agent.office.console.waveform.KEPT", 1)
    kept = Waveforms()
    assert await kept.of(path) is await kept.of(path)
    assert len(read) == 1
    write_sound(path, 3.0)
    assert len((await kept.of(path)).caller) == 150, "another file is there now"
    assert len(kept._kept) == 1


# ---- erasing -------------------------------------------------------------------------------------------------------


async def test_an_admin_erases_a_call(office: Office, recorded: CallRecord) -> None:
    settings = office.parts.settings
    settings.records.mkdir(parents=True)
    document = settings.records / f"{recorded.uuid}.json"
    document.write_text("{}")
    other = settings.recordings / f"{UUID(int=1)}.wav"
    write_sound(other)
    operator, admin = await office.browser("operator"), await office.browser("admin")
    async with await operator.post(f"/calls/{recorded.uuid}/erase") as answer:
        assert answer.status == 403
    assert "data-confirm" not in await operator.page(f"/calls/{recorded.uuid}")
    async with await admin.post(f"/calls/{recorded.uuid}/erase") as answer:
        assert answer.status == 303
    page = await admin.page(f"/calls/{recorded.uuid}")
    assert "Erased call" in page
    assert "The call is erased" in page
    assert not [word for word in ("tap", "Anna", "07700", "leaks") if word in page]
    assert "£0.012" in page, "what it cost stays"
    assert not (settings.recordings / f"{recorded.uuid}.wav").exists()
    assert not document.exists()
    assert other.exists()
    assert listed(await admin.page("/calls?q=tap")) == []
    async with await admin.post(f"/calls/{uuid4()}/erase") as answer:
        assert answer.status == 404


async def test_nobody_erases_what_they_do_not_see(office: Office, recorded: CallRecord) -> None:
    assert not await office.store.archive.erase(recorded.uuid, Scope.of({office.bright}))
    stored = await office.store.archive.get(recorded.uuid, Scope.all())
    assert stored is not None
    assert stored.erased_at is None


# ---- parts ---------------------------------------------------------------------------------------------------------


def test_days_begin_where_the_calls_are() -> None:
    london = ZoneInfo("Europe/London")
    today = Filters.of({"period": "today"}, london, limit=5, now=datetime(2026, 6, 1, 23, 30, tzinfo=UTC))
    assert today.query.since == datetime(2026, 6, 2, tzinfo=london)
    days = Filters.of({"from": "2026-03-28", "to": "2026-03-29", "period": "7d"}, london, limit=5, now=NOW)
    assert days.values["period"] == "custom"
    assert days.query.until == datetime(2026, 3, 30, tzinfo=london)
    assert days.address(period="7d") == "/calls?period=7d"
    assert days.address() == "/calls?from=2026-03-28&to=2026-03-29"


def test_found_words_are_marked_and_the_rest_is_escaped() -> None:
    text = "a <b> tap & tap"
    assert marked(Snippet("caller", text, ((6, 9), (12, 15)))) == (
        "a &lt;b&gt; <mark>tap</mark> &amp; <mark>tap</mark>"
    )


def test_a_waterfall_has_its_stages_in_proportion() -> None:
    axis = Axis.of([EARLY])
    drawn = draw(EARLY, axis)
    bars = {
        name: (float(left), float(width))
        for name, left, width in re.findall(r'st-(\w+)[^"]*" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', drawn)
    }
    assert set(bars) == {"stt", "endpoint", "llm", "clause", "tts", "gate", "wire"}
    assert bars["stt"][1] == pytest.approx(2 * bars["wire"][1], rel=0.02)
    assert bars["llm"][0] > bars["stt"][0]
    assert "LLM: first word: 150 ms, from 100" in drawn
    assert 0 <= axis.first + 20 <= 20, "nothing was before the end of the speech"


async def test_a_record_of_before_is_shown_as_well() -> None:
    record = CallRecord("u", turns=[TurnRecord("hello there", 10, "hi", "hi", words=spoken("caller", "hello", 0))])
    view = await view_of(record)
    assert [(line.text, len(line.words)) for line in view.lines] == [("hello there", 0), ("hi", 0)]
    assert view.answers == []
    assert (await time_line(record))["speech"] == []
    assert (await view_of(CallRecord("u"))).lines == []
