"""Every row of the table "When things fail", each in the ways in which it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.chaos.desk import Mood
from tests.chaos.row import FOREVER, Act, Fault, Row

NO_OTHER_STT = {"STT_FALLBACKS": "none"}
OTHER_LLM = {
    "LLM_FALLBACK_URL": "{foreign}",
    "LLM_FALLBACK_MODEL": "openai/gpt-oss-20b",
    "LLM_FALLBACK_API_KEY": "chaos-vendor-key",
}
NOVA = "nova-3"
ONLY_FLUX = {"DEEPGRAM_MODEL": "flux-general-en", "STT_FALLBACKS": "none"}


def _faults(vendor: Any, when: str = "", after_ms: tuple[float, float] = (0, 0), **faults: Any) -> Fault:
    return Fault(vendor, {"faults": faults}, when, after_ms=after_ms)


def _close(vendor: Any, code: int, when: str, after_ms: tuple[float, float], count: tuple[int, int] = (1, 1)) -> Fault:
    return Fault(vendor, {"close": code}, when, count, after_ms)


def _down(vendor: Any, when: str = "", after_ms: tuple[float, float] = (0, 0), status: int = 503) -> tuple[Fault, ...]:
    """Down for good: what is open is dropped, and nothing new is taken."""
    refuse = {"faults": {"refuse_times": FOREVER, "refuse_status": status}}
    return (Fault(vendor, refuse | {"close": 0}, when, after_ms=after_ms),)


DEEPGRAM = (
    *(
        Row(
            f"deepgram-refuses-{status}",
            "Deepgram",
            f"the connection is refused with {status} to the first callers",
            faults=(_faults("deepgram", refuse_times=2, refuse_status=status),),
        )
        for status in (429, 500)
    ),
    Row(
        "deepgram-accepts-slowly",
        "Deepgram",
        "a connection takes 2.5 s",
        faults=(_faults("deepgram", delay_times=2, delay_ms=2500),),
    ),
    *(
        Row(
            f"deepgram-closes-{code}",
            "Deepgram",
            f"connections close ({code or 'without a close'}) while callers speak, three times",
            faults=(
                _close("deepgram", code, "audio_frames", (0, 400), (5, 40)),
                _close("deepgram", code, "audio_frames", (0, 400), (60, 120)),
                _close("deepgram", code, "audio_frames", (0, 400), (150, 220)),
            ),
            shows={"stt.reconnected": 1},
        )
        for code in (1000, 0, 1008, 1011)
    ),
    Row(
        "deepgram-goes-silent",
        "Deepgram",
        "streams stay open and say nothing more",
        faults=(_faults("deepgram", "audio_frames", (0, 500), silent_times=2),),
        exact=False,
        ends=("goodbye", "transfer"),
    ),
    Row(
        "deepgram-sends-garbage",
        "Deepgram",
        "messages that are no JSON, and such of unknown types",
        faults=(_faults("deepgram", garbage_times=2, unknown_times=3),),
    ),
    *(
        Row(
            f"deepgram-down-{status}",
            "Deepgram",
            f"refuses every connection with {status}, from the beginning, and there is no other STT",
            faults=_down("deepgram", status=status),
            settings=NO_OTHER_STT,
            exact=False,
            booked="each who asked",
            ends=("transfer",),
            says=("I'm having a small technical issue|Sorry, we're experiencing issues",),
            shows={"mark.no_stt": 1},
        )
        for status in (401, 402, 503)
    ),
    Row(
        "flux-closes-1011",
        "Deepgram",
        "Flux's connections close (1011) while callers speak, three times",
        faults=(
            _close("deepgram", 1011, "audio_frames", (0, 400), (5, 40)),
            _close("deepgram", 1011, "audio_frames", (0, 400), (60, 120)),
            _close("deepgram", 1011, "audio_frames", (0, 400), (150, 220)),
        ),
        settings=ONLY_FLUX,
        shows={"stt.reconnected": 1},
    ),
    Row(
        "flux-refuses-500",
        "Deepgram",
        "Flux refuses the first connections with 500, and there is no other STT",
        faults=(_faults("deepgram", refuse_times=2, refuse_status=500),),
        settings=ONLY_FLUX,
    ),
    Row(
        "deepgram-other-model",
        "Deepgram",
        "Nova refuses every connection, from the beginning: Flux hears the callers",
        faults=(_faults("deepgram", model=NOVA, refuse_times=FOREVER, refuse_status=503),),
        shows={"stt.took flux-general-en": 1},
    ),
    Row(
        "deepgram-other-model-in-the-call",
        "Deepgram",
        "Nova goes away in the middle of calls, for good: Flux hears what was said meanwhile",
        faults=(
            Fault(
                "deepgram",
                {"faults": {"model": NOVA, "refuse_times": FOREVER, "refuse_status": 503}, "close": 1011},
                "audio_frames",
                (30, 60),
                (0, 800),
            ),
        ),
        shows={"stt.took flux-general-en": 1},
    ),
    Row(
        "deepgram-lost-in-the-call",
        "Deepgram",
        "goes away in the middle of calls, for good, and there is no other STT",
        faults=_down("deepgram", "audio_frames", (0, 1500)),
        settings=NO_OTHER_STT,
        exact=False,
        booked="each who asked",
        ends=("transfer",),
        says=("I'm having a small technical issue|Sorry, we're experiencing issues",),
    ),
)

GROQ = (
    Row(
        "groq-limits",
        "Groq",
        "429 with a Retry-After of 1 s",
        faults=(_faults("groq", refuse_times=2, refuse_status=429, retry_after_s=1),),
    ),
    Row(
        "groq-limits-for-long",
        "Groq",
        "429 with a Retry-After of a minute, from one model: the other one answers",
        faults=(_faults("groq", refuse_times=1, refuse_status=429, retry_after_s=60),),
    ),
    *(
        Row(
            f"groq-fails-{status}",
            "Groq",
            f"{status} to every other request",
            faults=tuple(
                Fault("groq", {"faults": {"refuse_times": 1, "refuse_status": status}}, "requests", (count, count))
                for count in (1, 3, 5)
            ),
        )
        for status in (500, 503)
    ),
    Row(
        "groq-first-byte-late",
        "Groq",
        "the first byte takes 6 s, twice",
        faults=(_faults("groq", delay_times=2, delay_ms=6000),),
    ),
    Row(
        "groq-silent-in-mid-stream",
        "Groq",
        "answers stop in the middle, and the connection stays open",
        faults=(_faults("groq", silent_times=2, silent_after=14),),
    ),
    *(
        Row(
            f"groq-breaks-after-{chunks}",
            "Groq",
            f"the connection breaks after {chunks} chunks, twice",
            faults=(_faults("groq", close_times=2, close_after=chunks),),
        )
        for chunks in (0, 8, 14, 20)
    ),
    Row(
        "groq-error-in-the-stream",
        "Groq",
        "an error inside an answer of 200",
        faults=(_faults("groq", error_times=2, error_after=14),),
    ),
    Row("groq-garbage", "Groq", "a chunk is no JSON", faults=(_faults("groq", garbage_times=2),)),
    Row("groq-no-done", "Groq", "answers end without [DONE]", faults=(_faults("groq", omit_done_times=4),)),
    Row(
        "groq-model-gone",
        "Groq",
        "the model does not exist any more: the fallback model answers",
        faults=(Fault("groq", {"settings": {"models": ["openai/gpt-oss-20b"]}}),),
    ),
    Row(
        "groq-down",
        "Groq",
        "every request fails, of either model, from the first one, and there is no other URL",
        faults=_down("groq"),
        exact=False,
        booked="each who asked",
        ends=("transfer",),
        says=("Bear with me, I'm having a small technical issue.",),
        shows={"mark.no_llm": 1},
    ),
    Row(
        "groq-down-other-url",
        "Groq",
        "every request fails, of either model, from the first one: another vendor's URL answers",
        faults=_down("groq"),
        settings=OTHER_LLM,
    ),
    Row(
        "groq-down-nobody-to-transfer-to",
        "Groq",
        "the same, and the company has nobody to put a caller through to",
        faults=_down("groq"),
        target=False,
        exact=False,
        booked="each who asked",
        ends=("goodbye", "fallback"),
        says=("Bear with me, I'm having a small technical issue.",),
    ),
    Row(
        "groq-hangs-for-good",
        "Groq",
        "no request is ever answered, of either model",
        faults=(_faults("groq", delay_times=FOREVER, delay_ms=60_000),),
        exact=False,
        booked="each who asked",
        ends=("transfer",),
        says=("Bear with me",),
    ),
)

CARTESIA = (
    *(
        Row(
            f"cartesia-refuses-{status}",
            "Cartesia",
            f"two connections are refused with {status} in the middle of calls",
            faults=(
                Fault(
                    "cartesia",
                    {"faults": {"refuse_times": 2, "refuse_status": status}, "close": 1001},
                    "contexts",
                    (2, 3),
                    (0, 900),
                ),
            ),
        )
        for status in (429, 500)
    ),
    *(
        Row(
            f"cartesia-closes-{code}",
            "Cartesia",
            f"connections close ({code or 'without a close'}) while the agent speaks, three times",
            faults=tuple(_close("cartesia", code, "contexts", (80, 600), (count, count)) for count in (2, 4, 6)),
        )
        for code in (1001, 0, 1011)
    ),
    Row(
        "cartesia-goes-silent",
        "Cartesia",
        "a connection says nothing more in the middle of a sentence",
        faults=(_faults("cartesia", "contexts", (0, 0), silent_times=1, silent_after=8),),
    ),
    Row(
        "cartesia-mutes-a-context",
        "Cartesia",
        "a context gives no more audio, and the others go on",
        faults=(_faults("cartesia", "contexts", (0, 0), mute_times=2, mute_after_ms=500),),
    ),
    Row(
        "cartesia-limits",
        "Cartesia",
        "more contexts at once than the plan has: concurrency_limited, three times",
        faults=(
            _faults(
                "cartesia",
                "contexts",
                (0, 0),
                context_error_times=3,
                context_error_status=429,
                context_error_code="concurrency_limited",
            ),
        ),
    ),
    Row(
        "cartesia-ends-a-context",
        "Cartesia",
        "a context ends with an error in the middle of a sentence",
        faults=(_faults("cartesia", "contexts", (0, 0), context_error_times=2, context_error_after_ms=500),),
    ),
    Row(
        "cartesia-sends-garbage",
        "Cartesia",
        "messages that are no JSON, and such of unknown types",
        faults=(_faults("cartesia", "contexts", (0, 0), garbage_times=2, unknown_times=3),),
        exact=False,
    ),
    Row(
        "cartesia-lost-in-the-call",
        "Cartesia",
        "goes away in the middle of calls, for good",
        faults=_down("cartesia", "contexts", (300, 2500)),
        exact=False,
        booked="each who asked",
        ends=("transfer",),
        says=("Sorry, we're experiencing issues",),
        shows={"mark.no_tts": 1},
    ),
    Row(
        "cartesia-down",
        "Cartesia",
        "refuses every connection, from the beginning",
        faults=_down("cartesia"),
        exact=False,
        booked="each who asked",
        ends=("transfer",),
        says=("Sorry, we're experiencing issues",),
        shows={"mark.no_tts": 1},
    ),
    Row(
        "cartesia-down-nobody-to-transfer-to",
        "Cartesia",
        "the same, and the company has nobody to put a caller through to",
        faults=_down("cartesia"),
        target=False,
        exact=False,
        booked="each who asked",
        ends=("goodbye", "fallback"),
        says=("Sorry, we're experiencing issues",),
    ),
)

CONTEXT = tuple(
    Row(
        f"context-{name}",
        "context API",
        fails,
        moods=(mood,),
        exact=False,
        shows={"mark.default_context": 1} if defaults else {},
        says=("Hello, Home Services",) if defaults else (),
    )
    for name, fails, mood, defaults in (
        ("down", "the connection breaks off", Mood("did_context", "down"), True),
        ("fails", "answers 503", Mood("did_context", "fails"), True),
        ("silent", "never answers", Mood("did_context", "silent"), True),
        ("slow", "takes 0.7 s", Mood("did_context", "slow", seconds=0.7), False),
        ("garbage", "answers with a page", Mood("did_context", "garbage"), True),
    )
)


def _booking(name: str, fails: str, *moods: Mood, **more: Any) -> Row:
    values: Mapping[str, Any] = {"exact": True} | more
    return Row(f"booking-{name}", "booking API", fails, moods=moods, **values)


BOOKING = (
    _booking("down", "the connection breaks off, until the calls are over", Mood("create_booking", "down")),
    _booking("down-once", "the connection breaks off once", Mood("create_booking", "down", 1)),
    _booking("fails", "answers 503, until the calls are over", Mood("create_booking", "fails")),
    _booking("slow", "takes 3 s", Mood("create_booking", "slow", seconds=3.0)),
    _booking("silent", "never answers, until the calls are over", Mood("create_booking", "silent")),
    _booking("loses-its-answer", "books, and the answer is lost, twice", Mood("create_booking", "lost", 2)),
    _booking("loses-every-answer", "books, and every answer is lost", Mood("create_booking", "lost")),
    _booking("garbage", "answers with a page, until the calls are over", Mood("create_booking", "garbage")),
    _booking(
        "loses-its-answer-without-keys",
        "books without a look at the key, and the answer is lost: shown as uncertain, not sent again",
        Mood("create_booking", "lost"),
        settings={"BOOKING_API_IDEMPOTENT": "false"},
        kept=("uncertain",),
    ),
    _booking(
        "refuses",
        "refuses what is booked",
        Mood("create_booking", "refuses"),
        booked="maybe",
        kept=("refused",),
    ),
    _booking(
        "fails-then-refuses",
        "answers 503, and refuses what is sent later",
        Mood("create_booking", "fails", 8),
        Mood("create_booking", "refuses"),
        booked="maybe",
        kept=("refused",),
    ),
)

FULL = (
    Row(
        "agent-full",
        "full",
        "as many calls as MAX_CALLS run",
        settings={"MAX_CALLS": "1"},
        callers=3,
        ends=("goodbye", "turned away"),
        booked="each who asked",
    ),
    Row(
        "vendor-full",
        "full",
        "the STT's plan has room for one stream (DEEPGRAM_MAX_STREAMS)",
        settings={"DEEPGRAM_MAX_STREAMS": "1"},
        callers=3,
        ends=("goodbye", "turned away"),
        booked="each who asked",
    ),
)

STOPPING = (
    Row(
        "stopping",
        "stopping",
        "SIGTERM in the middle of calls: they end by themselves within the grace time",
        acts=(Act("terminate", "groq.requests", (1, 2), (0, 500)),),
        settings={"STOP_GRACE_SECONDS": "40"},
        ends=("goodbye", "turned away"),
        booked="each who asked",
    ),
    Row(
        "stopping-with-little-time",
        "stopping",
        "SIGTERM, and the calls are longer than the grace time of 2 s",
        acts=(Act("terminate", "groq.requests", (1, 2), (0, 500)),),
        settings={"STOP_GRACE_SECONDS": "2"},
        ends=("goodbye", "turned away"),
        exact=False,
        booked="each who asked",
        kept=("accepted", "waiting"),
        says=("Please call again in a few minutes. Goodbye.",),
    ),
)

CRASHED = (
    Row(
        "crash-in-mid-call",
        "crashed",
        "kill -9 in the middle of calls",
        acts=(Act("kill", "groq.requests", (2, 3), (0, 1500)), Act("start")),
        ends=("fallback", "turned away"),
        exact=False,
        booked="each who asked",
    ),
    Row(
        "crash-with-a-booking-under-way",
        "crashed",
        "kill -9 while the booking API holds a booking, and a new start",
        moods=(Mood("create_booking", "slow", 1, seconds=1.0),),
        acts=(Act("kill", "desk.create_booking", (1, 1), (50, 900)), Act("start")),
        ends=("fallback", "turned away"),
        exact=False,
        booked="each who asked",
    ),
    Row(
        "crash-with-a-booking-kept",
        "crashed",
        "the booking API is down; kill -9 behind the first attempt, and a new start",
        moods=(Mood("create_booking", "down"),),
        acts=(Act("kill", "desk.create_booking", (1, 2), (50, 900)), Act("start")),
        ends=("fallback", "turned away"),
        exact=False,
        booked="each who asked",
    ),
)

ABUSE = (
    Row(
        "too-many-calls-of-one-caller",
        "abuse",
        "a caller rings more often than CALLS_PER_CALLER_HOUR",
        settings={"CALLS_PER_CALLER_HOUR": "1"},
        callers=3,
        one_number=True,
        shows={"mark.refused": 2},
        exact=False,
        booked="each who asked",
    ),
    Row(
        "too-long-a-call",
        "abuse",
        "a call is longer than MAX_CALL_SECONDS",
        settings={"MAX_CALL_SECONDS": "10"},
        exact=False,
        booked="each who asked",
        says=("I have to end the call here",),
    ),
)

ROWS = (*DEEPGRAM, *GROQ, *CARTESIA, *CONTEXT, *BOOKING, *FULL, *STOPPING, *CRASHED, *ABUSE)
