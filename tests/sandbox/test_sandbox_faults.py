"""Faults, settings and counters at run time, through `/control` and in the process."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from agent.sandbox import Sandbox
from agent.speech_engines import load_voice

DEEPGRAM = {"Authorization": "Token dg-key"}
CARTESIA = {"Authorization": "Bearer car-key", "cartesia-version": "2026-08-14"}
GROQ = {"Authorization": "Bearer groq-key"}
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=8000&interim_results=true&endpointing=300"
CHAT = {
    "model": "openai/gpt-oss-20b",
    "stream": True,
    "messages": [{"role": "user", "content": "My tap is leaking"}],
}
SPEAK = {
    "model_id": "sonic-3",
    "voice": {"id": "x"},
    "context_id": "c",
    "transcript": "We can have a plumber with you within the hour.",
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
}


async def control(http: aiohttp.ClientSession, base: str, **body: Any) -> dict[str, Any]:
    url = base.replace("ws:", "http:").removesuffix("/openai/v1") + "/control"
    async with http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        state: dict[str, Any] = await answer.json()
        return state


async def speak(sandbox: Sandbox, http: aiohttp.ClientSession) -> tuple[list[Any], aiohttp.WSMessage | None]:
    """All events of one generation, until done, the close, or half a second of silence."""
    async with http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket", headers=CARTESIA) as socket:
        await socket.send_str(orjson.dumps(SPEAK).decode())
        events: list[Any] = []
        while not events or not (isinstance(events[-1], dict) and events[-1]["type"] == "done"):
            try:
                message = await socket.receive(timeout=0.5)
            except TimeoutError:
                return events, None
            if message.type != aiohttp.WSMsgType.TEXT:
                return events, message
            try:
                events.append(orjson.loads(message.data))
            except orjson.JSONDecodeError:
                events.append(message.data)
        return events, None


async def chat(sandbox: Sandbox, http: aiohttp.ClientSession) -> tuple[int, bytes]:
    async with http.post(f"{sandbox.groq_url}/chat/completions", json=CHAT, headers=GROQ) as answer:
        return answer.status, await answer.read()


async def test_upgrades_are_refused_as_often_as_told(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.deepgram_url, faults={"refuse_times": 2, "refuse_status": 502})
    for _ in range(2):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM)
        assert refused.value.status == 502
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM):
        pass
    assert sandbox.deepgram.counters["refused_by_fault"] == 2


async def test_a_refusal_may_name_its_retry_after(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    faults = {"refuse_times": 1, "refuse_status": 429, "retry_after_s": 0.5}
    await control(http, sandbox.groq_url, faults=faults)
    async with http.post(f"{sandbox.groq_url}/chat/completions", json=CHAT, headers=GROQ) as answer:
        assert answer.status == 429
        assert answer.headers["retry-after"] == "0.5"
    assert (await chat(sandbox, http))[0] == 200


async def test_answers_come_late(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"delay_times": 1, "delay_ms": 400})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await chat(sandbox, http)
    late = loop.time()
    await chat(sandbox, http)
    assert late - begun > 0.4
    assert loop.time() - late < 0.35


async def test_a_connection_is_closed_in_the_middle(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.cartesia_url, faults={"close_times": 1, "close_after": 2, "close_code": 1012})
    events, end = await speak(sandbox, http)
    assert len(events) == 2
    assert end is not None
    assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1012)
    assert (await speak(sandbox, http))[0][-1]["type"] == "done"


async def test_a_connection_is_dropped(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.cartesia_url, faults={"close_times": 1, "close_after": 1, "close_code": 0})
    events, end = await speak(sandbox, http)
    assert len(events) == 1
    assert end is not None
    assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await control(http, sandbox.groq_url, faults={"close_times": 1, "close_after": 3})
    with pytest.raises(aiohttp.ClientError):
        await chat(sandbox, http)


async def test_an_open_connection_can_be_closed_and_broken_later(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A pool keeps connections open: faults have to reach those too."""
    async with http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket", headers=CARTESIA) as socket:
        await socket.send_str(orjson.dumps(SPEAK | {"transcript": "One."}).decode())
        assert orjson.loads((await socket.receive(timeout=2)).data)["type"] == "chunk"
        while orjson.loads((await socket.receive(timeout=2)).data)["type"] != "done":
            pass
        await control(http, sandbox.cartesia_url, faults={"close_times": 1, "close_after": 1, "close_code": 1012})
        await socket.send_str(orjson.dumps(SPEAK | {"context_id": "d"}).decode())
        assert (await socket.receive(timeout=2)).type == aiohttp.WSMsgType.TEXT
        end = await socket.receive(timeout=2)
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1012)
    for code, kinds in (
        (1001, {aiohttp.WSMsgType.CLOSE}),
        (0, {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}),
    ):
        async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM) as socket:
            receiving = asyncio.create_task(socket.receive(timeout=2))
            await asyncio.sleep(0.02)
            await control(http, sandbox.deepgram_url, close=code)
            assert (await receiving).type in kinds
    await asyncio.sleep(0.05)
    assert not sandbox.deepgram.sockets
    assert not sandbox.deepgram.gauges["streams"]


async def test_a_connection_goes_silent(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.cartesia_url, faults={"silent_times": 1, "silent_after": 2})
    events, end = await speak(sandbox, http)
    assert len(events) == 2
    assert end is None
    assert sandbox.cartesia.counters["messages_withheld"] > 0
    await control(http, sandbox.groq_url, faults={"silent_times": 1, "silent_after": 2})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await chat(sandbox, http)


async def test_deepgram_goes_silent(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.deepgram_url, faults={"silent_times": 1})
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM) as socket:
        sound = load_voice("tones").speak("Hello, is anybody there?", 8000).samples
        await socket.send_bytes(np.concatenate([sound, np.zeros(8000, np.int16)]).tobytes())
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.4)


async def test_a_message_is_garbage(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.cartesia_url, faults={"garbage_times": 1})
    events, _ = await speak(sandbox, http)
    assert isinstance(events[0], str)
    assert events[-1]["type"] == "done"
    await control(http, sandbox.groq_url, faults={"garbage_times": 1})
    _, body = await chat(sandbox, http)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body.split(b"\n\n")[0].removeprefix(b"data: "))
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_later_message_of_groqs_is_garbage(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"garbage_times": 1, "garbage_after": 4})
    _, body = await chat(sandbox, http)
    events = body.split(b"\n\n")
    assert [index for index, event in enumerate(events) if event == b"data: {garbage"] == [4]
    assert b"{garbage" not in (await chat(sandbox, http))[1]


async def test_a_stream_of_groqs_is_cut_short_in_good_order(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"cut_times": 1, "cut_after": 5})
    status, body = await chat(sandbox, http)
    assert (status, body.count(b"data: ")) == (200, 5)
    assert b'finish_reason":"' not in body
    assert b"[DONE]" not in body
    assert (await chat(sandbox, http))[1].endswith(b"data: [DONE]\n\n")


async def test_a_request_to_groq_is_dropped_unanswered(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"drop_times": 1})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await chat(sandbox, http)
    assert (await chat(sandbox, http))[0] == 200
    assert sandbox.groq.counters["dropped_by_fault"] == 1


async def test_an_error_inside_a_stream(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"error_times": 1, "error_after": 3})
    status, body = await chat(sandbox, http)
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]
    assert status == 200
    assert len(chunks) == 4
    assert chunks[-1]["error"]["message"]
    await control(http, sandbox.cartesia_url, faults={"error_times": 1, "error_after": 1})
    events, _ = await speak(sandbox, http)
    assert (events[1]["type"], events[1]["status_code"]) == ("error", 500)
    await control(http, sandbox.deepgram_url, faults={"error_times": 1, "error_after": 0})
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM) as socket:
        await socket.send_str('{"type":"CloseStream"}')
        assert orjson.loads((await socket.receive(timeout=2)).data)["type"] == "Error"


async def test_an_end_marker_is_left_out(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.groq_url, faults={"omit_done_times": 1})
    _, body = await chat(sandbox, http)
    assert b"[DONE]" not in body
    assert b'"finish_reason":"stop"' in body
    await control(http, sandbox.cartesia_url, faults={"omit_done_times": 1})
    events, _ = await speak(sandbox, http)
    assert events[-1]["type"] == "chunk"


async def test_settings_counters_and_reset(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await chat(sandbox, http)
    state = await control(http, sandbox.groq_url, settings={"queue": {"p50": 1, "p90": 2, "p99": 3}})
    assert state["counters"]["requests"] == 1
    assert state["counters"]["streams_completed"] == 1
    assert state["settings"]["queue"] == {"p50": 1.0, "p90": 2.0, "p99": 3.0}
    assert "groq-key" not in orjson.dumps(state).decode()
    await control(http, sandbox.groq_url, faults={"refuse_times": 5})
    state = await control(http, sandbox.groq_url, reset=True)
    assert state["counters"] == {}
    assert state["faults"]["refuse_times"] == 0
    assert (await chat(sandbox, http))[0] == 200


async def test_gauges_show_what_runs(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM):
        url = sandbox.deepgram_url.replace("ws:", "http:") + "/control"
        async with http.get(url) as answer:
            assert (await answer.json())["now"] == {"streams": 1}


async def test_faults_come_at_their_moments(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The second request from now on is the one that a step marks, and what it orders comes so much later."""
    await chat(sandbox, http)
    step = {"when": "requests", "count": 2, "after_ms": 50, "do": {"faults": {"refuse_times": 1}}}
    state = await control(http, sandbox.groq_url, schedule=[step])
    assert [waiting["count"] for waiting in state["schedule"]] == [2]
    assert [(await chat(sandbox, http))[0] for _ in range(2)] == [200, 200], "the step comes behind the request"
    await asyncio.sleep(0.1)
    assert [(await chat(sandbox, http))[0] for _ in range(2)] == [503, 200]
    assert not (await control(http, sandbox.groq_url))["schedule"]


async def test_a_scheduled_close_meets_the_connections_of_its_moment(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await control(http, sandbox.deepgram_url, schedule=[{"when": "upgrades", "after_ms": 30, "do": {"close": 1011}}])
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM) as socket:
        assert (await socket.receive(timeout=2)).data == 1011


async def test_a_reset_forgets_the_schedule(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    later: dict[str, Any] = {"do": {"faults": {"refuse_times": 1}}}
    await control(http, sandbox.groq_url, schedule=[later | {"after_ms": 30}, later | {"when": "requests"}])
    state = await control(http, sandbox.groq_url, reset=True)
    assert not state["schedule"]
    await asyncio.sleep(0.06)
    assert [(await chat(sandbox, http))[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"faults": {"refuse": 1}}, "refuse"),
        ({"faults": {"refuse_times": -1}}, "refuse_times"),
        ({"settings": {"idle": 3}}, "idle"),
        ({"settings": {"idle_s": 0}}, "idle_s"),
        ({"close": "now"}, "close"),
        ({"setting": {}}, "settings"),
        ({"schedule": [{"do": {"faults": {"refuse": 1}}}]}, "refuse"),
        ({"schedule": [{"when": "requests"}]}, "do"),
        ([], "object"),
    ],
)
async def test_wrong_controls_are_named(sandbox: Sandbox, http: aiohttp.ClientSession, body: Any, says: str) -> None:
    async with http.post(sandbox.deepgram_url.replace("ws:", "http:") + "/control", json=body) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]


async def test_a_connection_is_closed_after_so_much_audio(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.cartesia.config.chunk_ms = 20
    await control(http, sandbox.cartesia_url, faults={"close_times": 1, "close_after_ms": 410, "close_code": 1008})
    events, end = await speak(sandbox, http)
    assert [event["type"] for event in events].count("chunk") == 21
    assert end is not None
    assert end.data == 1008


async def test_one_context_goes_silent_and_others_on_its_connection_do_not(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.cartesia.config.chunk_ms = 20
    await control(http, sandbox.cartesia_url, faults={"mute_times": 1, "mute_after_ms": 100})
    async with http.ws_connect(f"{sandbox.cartesia_url}/tts/websocket", headers=CARTESIA) as socket:
        for context in ("a", "b"):
            await socket.send_json({**SPEAK, "context_id": context})
        events: list[Any] = []
        while not events or events[-1]["type"] != "done":
            events.append(await socket.receive_json(timeout=3))
    assert events[-1]["context_id"] == "b"
    assert len([event for event in events if event["type"] == "chunk" and event["context_id"] == "a"]) == 5


async def test_a_context_ends_with_an_error_that_names_it(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    faults = {"context_error_times": 1, "context_error_status": 503, "context_error_code": "unavailable"}
    await control(http, sandbox.cartesia_url, faults=faults)
    events, _ = await speak(sandbox, http)
    assert [(e["type"], e["context_id"], e["status_code"], e["error_code"]) for e in events] == [
        ("error", "c", 503, "unavailable")
    ]
    assert (await speak(sandbox, http))[0][-1]["type"] == "done"


async def test_a_message_of_a_type_that_nobody_knows(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.cartesia_url, faults={"unknown_times": 1})
    events, _ = await speak(sandbox, http)
    assert (events[0]["type"], events[-1]["type"]) == ("from_tomorrow", "done")


# ---- Deepgram -------------------------------------------------------------------------------------------------------

TURNS = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=8000"


@pytest.mark.parametrize("path", [LISTEN, TURNS])
async def test_deepgram_closes_after_so_much_audio(sandbox: Sandbox, http: aiohttp.ClientSession, path: str) -> None:
    """In mid-word, though nothing is to be said just then."""
    await control(http, sandbox.deepgram_url, faults={"close_times": 1, "close_after_ms": 300, "close_code": 1008})
    async with http.ws_connect(sandbox.deepgram_url + path, headers=DEEPGRAM) as socket:
        for _ in range(3):
            await socket.send_bytes(bytes(2 * 8 * 80))
        await asyncio.sleep(0.05)
        assert not socket.closed
        await socket.send_bytes(bytes(2 * 8 * 80))
        while (end := await socket.receive(timeout=2)).type == aiohttp.WSMsgType.TEXT:
            pass
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_faults_of_one_model_leave_the_other_alone(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await control(http, sandbox.deepgram_url, faults={"model": "nova-3", "refuse_times": 5, "silent_times": 5})
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM)
    async with http.ws_connect(sandbox.deepgram_url + TURNS, headers=DEEPGRAM) as socket:
        assert orjson.loads((await socket.receive(timeout=2)).data)["type"] == "Connected"
    assert sandbox.deepgram.faults.refuse_times == 4
    assert sandbox.deepgram.faults.silent_times == 5


async def test_unknown_and_binary_messages_come_before_those_that_are_due(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await control(http, sandbox.deepgram_url, faults={"unknown_times": 1, "binary_times": 1})
    async with http.ws_connect(sandbox.deepgram_url + TURNS, headers=DEEPGRAM) as socket:
        binary, unknown, due = [await socket.receive(timeout=2) for _ in range(3)]
    assert binary.type == aiohttp.WSMsgType.BINARY
    assert orjson.loads(unknown.data)["type"] == "from_tomorrow"
    assert orjson.loads(due.data)["type"] == "Connected"


@pytest.mark.parametrize("kept", ["audio", "KeepAlive", "ping", ""])
async def test_nova_closes_what_is_idle_and_a_ping_does_not_count(
    sandbox: Sandbox, http: aiohttp.ClientSession, kept: str
) -> None:
    await control(http, sandbox.deepgram_url, settings={"idle_s": 0.5})
    async with http.ws_connect(sandbox.deepgram_url + LISTEN, headers=DEEPGRAM) as socket:
        for _ in range(8):
            if kept == "audio":
                await socket.send_bytes(bytes(160))
            elif kept == "KeepAlive":
                await socket.send_str('{"type":"KeepAlive"}')
            elif kept == "ping":
                await socket.ping()
            await asyncio.sleep(0.1)
        assert sandbox.deepgram.counters["closed_net_0001"] == int(kept in ("ping", ""))
        if kept in ("ping", ""):
            while (end := await socket.receive(timeout=2)).type == aiohttp.WSMsgType.TEXT:
                pass
            assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1011)
            assert "net0001" in str(end.extra)
