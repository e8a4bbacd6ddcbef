"""Deepgram: a WebSocket opened as calls open theirs, and a second of audio."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import orjson

from agent import vendors
from agent.check.finding import Finding, Findings, at_once, error, ok, skipped, warning
from agent.check.refusal import advice_on
from agent.check.subject import Subject
from agent.ops.settings import Settings
from agent.providers.base import ProviderError
from agent.providers.deepgram_options import DeepgramOptions
from agent.providers.websocket import Socket, SocketClosed, open_socket

VENDOR = "Deepgram"
AUDIO_S = 1.0
SLOW_S = 1.0
"""A call waits 2 s in all for its first connection, both attempts together."""
ANSWER_S = 4.0
MESSAGE_BYTES = 1 << 20
ALWAYS = ("model", "encoding", "sample_rate")


async def deepgram(subject: Subject) -> Findings:
    """Each model that may hear a call; the conversation's language, and its terms."""
    settings = subject.settings
    if not settings.deepgram_api_key.get_secret_value():
        yield skipped("deepgram", "not tried: DEEPGRAM_API_KEY is missing")
        return
    conversation = subject.conversations.default if subject.conversations is not None else None
    language = conversation.language if conversation is not None else settings.language
    terms = conversation.boosted_terms if conversation is not None else ()
    models = vendors.stt_names(settings, language)
    asked = [
        _ask(settings, vendors.deepgram_options(settings, model, language, terms), first=model == models[0])
        for model in models
        if model != "local"
    ]
    for finding in await at_once(*asked):
        yield finding
    if "local" in models:
        yield ok("stt-local", "this machine hears calls itself when no vendor does")


@dataclass(frozen=True)
class _Heard:
    connected_s: float
    answered_s: float


async def _ask(settings: Settings, options: DeepgramOptions, *, first: bool) -> Finding:
    name = f"deepgram-{options.model}"
    what = f"{VENDOR} {options.model}" + (
        "" if options.model.startswith("flux-general-en") else f" in {options.language}"
    )
    bad = error if first else warning
    try:
        heard = await _listen(options)
    except ProviderError as refusal:
        if refusal.status == 400 and (option := await _refused_option(options)):
            mend = (
                "set DEEPGRAM_MODEL to one that your account has, such as nova-3"
                if option == "model"
                else _mend(option)
            )
            return bad(name, f"{what}: it refuses {option}: {_without_vendor(refusal)}", mend)
        return bad(name, f"{what}: {_without_vendor(refusal)}", advice_on(refusal, "DEEPGRAM"))
    told = f"{what}: connected in {1000 * heard.connected_s:.0f} ms, and it answers ({AUDIO_S:g} s of audio)"
    if heard.connected_s > SLOW_S:
        return warning(
            name,
            f"{told}; that is slow",
            "callers wait for it before the first word: look at the network, or take an endpoint nearer (DEEPGRAM_URL)",
            seconds=heard.connected_s,
        )
    return ok(name, told, seconds=heard.connected_s)


async def _listen(options: DeepgramOptions) -> _Heard:
    """Send a second of silence and the end of the stream, and wait for what comes back. Raises `ProviderError`."""
    begun = time.monotonic()
    socket = await _open(options, options.listen_url())
    connected = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S):
            await socket.send_bytes(bytes(round(2 * options.sample_rate * AUDIO_S)))
            await socket.send_text(b'{"type":"CloseStream"}')
            document = orjson.loads(await socket.receive())
    except TimeoutError:
        raise ProviderError(VENDOR, f"connected, and said nothing for {ANSWER_S:g} s") from None
    except SocketClosed:
        raise ProviderError(
            VENDOR,
            f"closed the stream: {socket.close_code} {socket.close_reason[:100]}".rstrip(),
            status=socket.close_code,
        ) from None
    except orjson.JSONDecodeError:
        raise ProviderError(VENDOR, "answered with something that is no message of its own") from None
    finally:
        await socket.close()
    if document.get("type") == "Error":
        raise ProviderError(VENDOR, str(document.get("description") or "an error")[:200])
    return _Heard(connected - begun, time.monotonic() - begun)


async def _open(options: DeepgramOptions, url: str) -> Socket:
    headers = {"Authorization": f"Token {options.api_key}"}
    return await open_socket(VENDOR, url, headers, max_message_bytes=MESSAGE_BYTES, client=options.websocket)


async def _refused_option(options: DeepgramOptions) -> str:
    """The parameter over which it refuses the stream: they are added one by one until it does. Empty: none"""
    base, _, query = options.listen_url().partition("?")
    parameters = parse_qsl(query)
    names = [name for name in dict.fromkeys(name for name, _ in parameters) if name not in ALWAYS]
    # UtteranceEnd needs interim results: what is asked for together is added together.
    names.sort(key=lambda name: name == "utterance_end_ms")
    taken = [*ALWAYS]
    for name in ("model", *names):
        if name not in taken:
            taken.append(name)
        try:
            socket = await _open(options, f"{base}?{urlencode([pair for pair in parameters if pair[0] in taken])}")
        except ProviderError as refusal:
            return name if refusal.status == 400 else ""
        socket.abort()
    return ""


def _mend(option: str) -> str:
    settings = {
        "language": "set LANGUAGE, or `language` in the conversation, to one that the model speaks",
        "keyterm": "shorten the terms: DEEPGRAM_KEYTERMS and `boosted_terms` of the conversation",
        "keywords": "leave DEEPGRAM_KEYTERMS empty for this model",
        "endpointing": "set DEEPGRAM_ENDPOINTING_MS to 300",
        "utterance_end_ms": "set DEEPGRAM_UTTERANCE_END_MS to 1000",
        "eot_threshold": "set FLUX_EOT_THRESHOLD to 0.7",
        "eager_eot_threshold": "set FLUX_EAGER_EOT_THRESHOLD to 0.4, or none",
        "eot_timeout_ms": "set FLUX_EOT_TIMEOUT_MS to 2500",
        "language_hint": "set LANGUAGE to one of the ten that flux-general-multi knows",
    }
    return settings.get(option, "the endpoint at DEEPGRAM_URL does not know what Deepgram knows")


def _without_vendor(refusal: ProviderError) -> str:
    return str(refusal).partition(": ")[2]
