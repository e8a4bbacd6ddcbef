"""Each vendor as it is, and wrong in each way that an administrator meets. The emulated ones are strict."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.check import apis, cartesia, clock, deepgram, language_models
from agent.office.store import NewCompany, OfficeStore
from agent.sandbox import Sandbox
from tests.check.conftest import KEYS, VOICE, SubjectMaker, look


async def test_vendors_that_are_well(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors)
    heard = await look(deepgram.deepgram, subject)
    assert {name: finding.level for name, finding in heard.items()} == {"deepgram-nova-3": "ok"}
    thought = await look(language_models.language_models, subject)
    assert {name: finding.level for name, finding in thought.items()} == {"llm-1": "ok", "llm-2": "ok"}
    spoken = await look(cartesia.cartesia, subject)
    assert spoken["cartesia"].level == "ok"
    assert "s of audio" in spoken["cartesia"].text
    assert vendors.deepgram.gauges["streams"] == 0
    # One request to each model, and no more than it takes: it is paid for.
    assert vendors.groq.counters["requests"] == 2


async def test_a_fallback_is_asked_too_and_only_warns(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    heard = await look(deepgram.deepgram, a_subject(vendors, stt_fallbacks=("flux-general-en",)))
    assert {finding.level for finding in heard.values()} == {"ok"}
    assert set(heard) == {"deepgram-nova-3", "deepgram-flux-general-en"}
    thought = await look(
        language_models.language_models, a_subject(vendors, groq_fallback_model="llama-3.3-70b-versatile")
    )
    assert thought["llm-1"].level == "ok"
    assert thought["llm-2"].level == "warning"
    assert "set GROQ_FALLBACK_MODEL" in thought["llm-2"].mend


async def test_a_wrong_key_is_named(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors, **{f"{vendor}_api_key": "another-key" for vendor in KEYS})
    for probe, name, setting in (
        (deepgram.deepgram, "deepgram-nova-3", "DEEPGRAM_API_KEY"),
        (language_models.language_models, "llm-1", "GROQ_API_KEY"),
        (cartesia.cartesia, "cartesia", "CARTESIA_API_KEY"),
    ):
        found = (await look(probe, subject))[name]
        assert found.level == "error", found
        assert "401" in found.text
        assert found.mend.startswith(f"{setting} is wrong")
        assert "another-key" not in str(found)


async def test_a_model_that_is_gone(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(
        vendors, groq_model="llama-3.3-70b-versatile", deepgram_model="nova-9", cartesia_model="sonic-2"
    )
    heard = (await look(deepgram.deepgram, subject))["deepgram-nova-9"]
    assert heard.level == "error"
    assert "refuses model" in heard.text
    thought = (await look(language_models.language_models, subject))["llm-1"]
    assert (thought.level, "model_not_found" in thought.text) == ("error", True)
    assert "set GROQ_MODEL to" in thought.mend
    spoken = (await look(cartesia.cartesia, subject))["cartesia"]
    assert spoken.level == "error"
    assert "CARTESIA_MODEL" in spoken.mend


@pytest.mark.parametrize(
    ("changes", "option", "setting"),
    [
        ({"language": "en-GB-scouse", "conversation": "home_services"}, "language", "LANGUAGE"),
        ({"deepgram_keyterms": tuple(f"a b c d e f g h i j k {n}" for n in range(60))}, "keyterm", "DEEPGRAM_KEYTERMS"),
    ],
)
async def test_the_option_that_is_refused_is_found(
    vendors: Sandbox,
    a_subject: SubjectMaker,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    option: str,
    setting: str,
) -> None:
    """The vendor says "Bad Request" of several things: the parameter is found by adding one after the other."""
    monkeypatch.setattr("agent.providers.deepgram_options.TERM_TOKENS", 1 << 20)
    subject = a_subject(vendors, **changes)
    if option == "language":
        conversations = subject.conversations
        assert conversations is not None
        object.__setattr__(conversations.default, "language", "en-GB-scouse")
    found = (await look(deepgram.deepgram, subject))["deepgram-nova-3"]
    assert found.level == "error"
    assert f"refuses {option}:" in found.text
    assert setting in found.mend


async def test_a_voice_that_is_not_there(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    found = (await look(cartesia.cartesia, a_subject(vendors, cartesia_voice_id="nobody")))["cartesia"]
    assert found.level == "error"
    assert "CARTESIA_VOICE_ID" in found.mend


async def test_voices_of_companies(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors)
    common: dict[str, Any] = {
        "trade_type": "x",
        "trade_label": "x",
        "callout_fee": "",
        "numbers": (),
        "transfer_targets": {},
    }
    async with await OfficeStore.open(subject.settings.database) as store:
        for name, voice in (("A", VOICE), ("B", "gone"), ("C", "")):
            await store.add_company(NewCompany(name=name, voice_id=voice, **common))
    found = [finding async for finding in cartesia.cartesia(subject)]
    assert [(each.name, each.level) for each in found] == [("cartesia", "ok"), ("cartesia-voice", "error")]
    assert found[1].text.startswith("a company's voice gone: ")


async def test_too_many_and_in_trouble(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors, groq_fallback_model="none")
    for status, word in ((429, "limit"), (503, "status page"), (402, "credit")):
        for control in (vendors.deepgram, vendors.groq, vendors.cartesia):
            control.faults.refuse_times, control.faults.refuse_status = 99, status
        for probe in (deepgram.deepgram, language_models.language_models, cartesia.cartesia):
            (found,) = (await look(probe, subject)).values()
            assert found.level == "error"
            assert word in found.mend, (status, found)


async def test_a_slow_vendor_is_a_warning(
    vendors: Sandbox, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (deepgram, language_models, cartesia):
        monkeypatch.setattr(module, "SLOW_S", 0.0)
    subject = a_subject(vendors, groq_fallback_model="none")
    for probe in (deepgram.deepgram, language_models.language_models, cartesia.cartesia):
        (found,) = (await look(probe, subject)).values()
        assert found.level == "warning"
        assert "that is slow" in found.text


async def test_silent_vendors_are_given_up(
    vendors: Sandbox, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (deepgram, language_models, cartesia):
        monkeypatch.setattr(module, "ANSWER_S", 0.3)
    for control in (vendors.deepgram, vendors.groq, vendors.cartesia):
        control.faults.silent_times = 99
    subject = a_subject(vendors, groq_fallback_model="none")
    for probe in (deepgram.deepgram, language_models.language_models, cartesia.cartesia):
        (found,) = (await look(probe, subject)).values()
        assert found.level == "error", found


async def test_a_deepgram_that_takes_the_stream_and_says_nothing(
    a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    monkeypatch.setattr(deepgram, "ANSWER_S", 0.2)
    app = web.Application()
    app.router.add_get("/v1/listen", listen)
    async with TestServer(app) as server:
        found = await look(deepgram.deepgram, a_subject(deepgram_url=f"ws://127.0.0.1:{server.port}"))
    assert (found["deepgram-nova-3"].level, "said nothing" in found["deepgram-nova-3"].text) == ("error", True)


async def test_nobody_there(a_subject: SubjectMaker) -> None:
    nowhere = {"deepgram_url": "ws://127.0.0.1:9", "groq_url": "http://127.0.0.1:9", "cartesia_url": "ws://127.0.0.1:9"}
    subject = a_subject(**nowhere, groq_fallback_model="none")
    for probe in (deepgram.deepgram, language_models.language_models, cartesia.cartesia):
        (found,) = (await look(probe, subject)).values()
        assert found.level == "error"
        assert "firewall" in found.mend


def later(seconds: float) -> float:
    return time.time() + seconds


async def test_the_vendors_clock(vendors: Sandbox, a_subject: SubjectMaker) -> None:
    subject = a_subject(vendors)
    assert (await look(clock.offset, subject))["clock-offset"].level == "ok"
    for seconds, level, word in ((30, "warning", "ahead"), (-4000, "error", "behind")):
        found = [each async for each in clock.offset(subject, partial(later, seconds))]
        assert (found[0].level, word in found[0].text) == (level, True)


async def test_business_apis(a_subject: SubjectMaker) -> None:
    asked: list[tuple[str, str]] = []
    status = {"status": 200}

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        if request.method == "POST" and request.headers.get("X-API-Key") != "context-key":
            return web.Response(status=401)
        return web.json_response({"company_name": "Abbey", "callout_fee": True}, status=status["status"])

    app = web.Application()
    app.router.add_route("*", "/{path}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        urls = {"context_api_url": f"{base}/context", "booking_api_url": f"{base}/book"}
        found = await look(apis.apis, a_subject(**urls, context_api_key="context-key"))
        assert {name: each.level for name, each in found.items()} == {
            "context-api": "warning",  # callout_fee is no fee
            "booking-api": "ok",
            "booking-api-keys": "warning",
        }
        assert "callout_fee" in found["context-api"].text
        assert ("OPTIONS", "/book") in asked
        assert ("POST", "/book") not in asked, "nothing is booked"
        wrong = await look(apis.apis, a_subject(**urls, booking_api_idempotent=True))
        assert wrong["context-api"].level == "error"
        assert "CONTEXT_API_KEY" in wrong["context-api"].mend
        assert "booking-api-keys" not in wrong
        status["status"] = 503
        assert (await look(apis.apis, a_subject(**urls)))["booking-api"].level == "warning"
    gone = await look(apis.apis, a_subject(**urls))
    assert (gone["booking-api"].level, gone["context-api"].level) == ("error", "error")
    assert (await look(apis.apis, a_subject()))["apis"].level == "ok"
