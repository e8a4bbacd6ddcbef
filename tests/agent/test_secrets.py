"""No key, number or word of a caller leaves by the log, by a page, by an error or by a repr, whatever goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from agent.call.company import CompanyContext
from agent.ops.logs import HIDDEN, CarefulFormatter, one_line, set_up_logging
from agent.ops.settings import Settings, load_settings
from agent.providers.cartesia import CartesiaOptions
from agent.providers.flux import FluxOptions
from agent.providers.nova import NovaOptions
from agent.providers.openai_chat import ChatOptions
from agent.providers.quoting import without_quotes
from agent.tools.registry import Endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.agent.conftest import RigMaker

NUMBER = "+447700900456"
NAME = 'Zebulon "Z" Quux\r\nSET VARIABLE X "1"\x1b[31m<script>alert(1)</script>'
WORDS = "wombats in the cistern"
MARKED = {
    "deepgram_api_key": "dg-MARKED-0001", "groq_api_key": "gsk-MARKED-0002", "cartesia_api_key": "sk-MARKED-0003",
    "context_api_key": "ctx-MARKED-0004", "booking_api_key": "book-MARKED-0005",
}  # fmt: skip


def told_of(text: str) -> list[str]:
    """What must not be there and is."""
    secret = [NUMBER, NUMBER[3:], "Zebulon", "Quux", "<script>", WORDS, "wombats", *MARKED.values(), "MARKED"]
    return [word for word in secret if word in text]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that a service would log at its most talkative level, as it would log it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    text = io.StringIO()
    yield text
    root.handlers[:], level = before
    root.setLevel(level)


def listen(settings: Settings, text: io.StringIO) -> None:
    formatter = set_up_logging(settings)
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter)
    logging.getLogger().handlers[:] = [handler]


@contextlib.asynccontextmanager
async def parrot() -> AsyncIterator[str]:
    """A vendor that refuses everything, and repeats what it was sent: the key, and the words."""

    async def refuse(request: web.Request) -> web.Response:
        body = await request.text()
        quoted = body[body.find(WORDS) - 5 :][:50] if WORDS in body else body[-50:]
        said = json.dumps({"error": {"message": f"bad: {quoted} {dict(request.headers)}"}})
        headers = {"dg-error": " ".join(f"{name}={value}" for name, value in request.headers.items())}
        return web.Response(status=400, text=said, content_type="application/json", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("broken", ["", "deepgram", "groq", "cartesia", "business"])
async def test_nothing_of_a_caller_and_no_key_is_told(a_rig: RigMaker, log: io.StringIO, broken: str) -> None:
    async with parrot() as bird:
        settings: dict[str, Any] = {"log_level": "debug", **MARKED}
        settings |= {
            "deepgram": {"deepgram_url": f"ws://{bird}"},
            "groq": {"groq_url": f"http://{bird}"},
            "cartesia": {"cartesia_url": f"ws://{bird}"},
            "business": {"context_api_url": f"http://{bird}/did_context", "booking_api_url": f"http://{bird}/book"},
        }.get(broken, {})
        async with a_rig(**settings) as rig, aiohttp.ClientSession() as http:
            for vendor, key in (("deepgram", "0001"), ("groq", "0002"), ("cartesia", "0003")):
                getattr(rig.vendors, vendor).config.keys = tuple(k for k in MARKED.values() if k.endswith(key))
            listen(rig.agent.settings, log)
            base = f"http://127.0.0.1:{rig.agent.http_port}"
            call = uuid4()
            form = {
                "uuid": str(call), "did": "+442079460123", "caller_id": NUMBER, "caller_name": NAME,
                "unique_id": "1.1", "linked_id": "1.1", "channel": "PJSIP/x",
            }  # fmt: skip
            async with http.post(f"{base}/start", data=form) as answer:
                assert (await answer.text()).startswith("OK ")
            plan = rig.plan(announced=False, call=call, patience_s=3.0)
            await rig.dial(f"say: {WORDS}\nwait: 1s\nhangup", plan)
            record = await rig.record_of(call, 25)
            if broken in ("", "groq", "cartesia"):
                assert record.caller_id == NUMBER
            async with http.post(f"{base}/create_booking", headers={"X-API-Key": "wrong-MARKED"}) as answer:
                pages = await answer.text()
            for path in ("/health", "/ready", "/metrics", "/live", "/nowhere"):
                async with http.get(base + path) as answer:
                    pages += await answer.text()
            services = rig.agent.services
            agent = (rig.agent.settings, services, services.endpoints, services.tts, services.new_stt(CompanyContext()))
            shown = repr(agent)
    text = log.getvalue()
    assert "CALL_METRICS" in text
    if broken in ("deepgram", "groq", "cartesia"):
        assert HIDDEN in text, "the vendor did repeat the key"
    assert told_of(text) == [], text
    assert told_of(pages) == []
    assert told_of(shown) == []
    kept = (rig.agent.settings.records / f"{call}.json").read_text()
    assert "MARKED" not in kept


def test_a_name_stays_on_its_line(log: io.StringIO, agent_settings: Callable[..., Settings]) -> None:
    listen(agent_settings(), log)
    logging.getLogger("agent.x").warning("a call of %s", NAME)
    text = log.getvalue()
    assert text.count("\n") == 1
    assert "\\r\\nSET VARIABLE" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call +447700900456 fails", "call *** fails"),
        ("number 07700 900456, again", "number ***, again"),
        ("from 0044 7700 900456", "from ***"),
        ("(020) 7946 0123", "(020) 7946 0123"),
        ("127.0.0.1:45678 took 12345 ms at 2026-11-23 02:53:53,475", None),
        ("ca50cb2e-ac64-4430-a6d0-123456789012 of BK-MCHYDCVC", None),
        ("picows 1.11.0 and 1732330433.4755", None),
    ],
)
def test_numbers_are_hidden_and_what_is_none_is_not(text: str, shown: str | None) -> None:
    formatter = CarefulFormatter("%(message)s", ())
    record = logging.LogRecord("x", logging.INFO, "", 0, text, (), None)
    assert formatter.format(record) == (text if shown is None else shown)
    assert CarefulFormatter("%(message)s", (), show_numbers=True).format(record) == text


def test_a_traceback_shows_no_key_either() -> None:
    formatter = CarefulFormatter("%(message)s", ("sk-MARKED-0003", "sk-MARKED"))
    try:
        raise ValueError("no such key: sk-MARKED-0003 of +447700900456")
    except ValueError as error:
        record = logging.LogRecord("x", logging.INFO, "", 0, "it failed", (), (ValueError, error, error.__traceback__))
    text = formatter.format(record)
    assert told_of(text) == []
    assert "ValueError: no such key: *** of ***" in text
    formatter.hide(["another"])
    assert "sk-MARKED" not in formatter.format(record)


def test_settings_and_options_hide_their_keys(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path,
        database_url="postgresql://agent:pw-MARKED-0006@db/agent",
        **MARKED,  # type: ignore[arg-type]
    )
    assert "pw-MARKED-0006" in settings.secrets
    assert set(MARKED.values()) < set(settings.secrets)
    assert told_of(repr(settings) + str(settings)) == []


def test_options_of_vendors_hide_their_key() -> None:
    key = MARKED["groq_api_key"]
    options = (
        ChatOptions("http://x", key, "model"),
        CartesiaOptions("ws://x", key),
        NovaOptions("ws://x", key, "nova-3"),
        FluxOptions("ws://x", key, "flux-general-en"),
        Endpoints("http://x", key),
    )
    assert told_of(repr(options)) == []
    assert "http://x" in repr(options)


def test_a_refusal_does_not_quote_the_caller() -> None:
    messages = [
        {"role": "system", "content": "You answer the phone of a plumber."},
        {"role": "user", "content": "My tap leaks, it is Zebulon Quux."},
        {"role": "user", "content": "Zebulon"},
    ]
    assert without_quotes("invalid 'messages[1]': \"it is Zebulon Quux\"", messages) == "invalid 'messages[1]': \"…\""
    assert without_quotes("zebulon's request", messages) == "…'s request"
    assert without_quotes("the model gpt is not of a plumber", messages) == "the model gpt is not of a plumber"
    assert without_quotes("", messages) == ""


def test_a_long_text_is_cut() -> None:
    assert one_line("x" * 5000).endswith("… (5000 characters)")
    assert len(one_line("x" * 5000)) < 2100
