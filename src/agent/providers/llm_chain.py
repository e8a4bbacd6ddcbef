"""Language models in a chain: when one fails, is over its limit or says nothing, the next one goes on.

The rules, with their times. Before its first word a model that sends not a byte for `SILENT_S`, or no word for
`FIRST_WORD_S`, is not waited for: the next is asked as well, and whichever speaks first is heard; the others are let
go, so that a second answer costs tokens (`hedges`) and is never heard or acted on. A model that fails is replaced at
once. One that breaks off or falls silent in mid-reply is replaced by one that goes on behind the words that were given
on. Tool calls are given on at the end of a reply, and only those of the model that is heard; those that were complete
when it broke off are a whole reply.

A model that failed for others is left alone (`Breaker`) while another can be asked. When all have been, one that did
not refuse is asked once more, or a limit is waited for that passes within `LONGEST_WAIT_S`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall
from agent.providers.breaker import Breaker, Breakers
from agent.providers.joint import Joint
from agent.providers.metering import METER
from agent.providers.openai_chat import VENDOR, Alive, ChatModel

log = logging.getLogger(__name__)

SILENT_S = 1.0
FIRST_WORD_S = 1.5
LONGEST_WAIT_S = 1.0  # a caller waits no longer for a limit to pass; then the reply fails
AGAIN = 1
WAITING = 64  # events of all models asked that were not looked at yet: then their connections are held back
_OF_THE_REQUEST = frozenset((400, 413, 422))

_Heard: TypeAlias = "tuple[_Leg, LlmEvent | Alive | ProviderError]"


class LlmChain:
    """Streams replies from the first of its models that can give one."""

    def __init__(self, models: Sequence[ChatModel], breakers: Breakers) -> None:
        """The models in the order in which they are preferred; what one call finds out of them all calls know."""
        self.links = [Link(model, breakers.of(name_of(model, models[0]))) for model in models]
        self._counters: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        """`replies`, `errors`, `fallbacks` (another model was asked after a failure), `hedges` (or after a silence),
        `hedges_won` (and was heard), `went_on` (a reply in two models' words), `whole_calls` (a reply that broke off
        behind its tool call), `rested` (a model was left alone), `silent` (one lost to another by its silence), and
        those of the models.
        """
        total = self._counters.copy()
        for link in self.links:
            total.update(link.model.counters)
        return total

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        """The reply as it comes, each word once. Raises `ProviderError` when nobody is left who can go on with it."""
        self._counters["replies"] += 1
        reply = _Reply(self.links, self._counters, messages, tools)
        try:
            async with aclosing(reply.events()) as events:
                async for event in events:
                    yield event
        finally:
            await reply.close()


class Link:
    """One model of the chain."""

    def __init__(self, model: ChatModel, breaker: Breaker) -> None:
        self.model = model
        self.breaker = breaker


def name_of(model: ChatModel, first: ChatModel) -> str:
    """The name of a model's breaker; that of a URL that is not the first one's names its host."""
    options = model.options
    if options.url == first.options.url:
        return f"llm {options.model}"
    return f"llm {host_of(options.url)} {options.model}"


def host_of(url: str) -> str:
    """Host and port of a URL, without a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


class _Leg:
    """One request for a reply, or for the rest of it. What comes goes into the reply's inbox."""

    def __init__(self, link: Link, joint: Joint, now: float, *, told: bool) -> None:
        self.link = link
        self.told = told
        """It was asked in words to go on."""
        self.joint = joint
        self.asked = self.heard = now
        self.speaks = False
        """It has given words on, and the others were let go."""
        self.worded = False
        """It has given words, if perhaps only such as were said before."""
        self.calls: tuple[ToolCall, ...] = ()
        """Tool calls that it has made and that are complete."""
        self.pump: asyncio.Task[None] | None = None

    def late_at(self) -> float:
        """From when on it is not waited for any more (the event loop's time)."""
        silent = self.heard + SILENT_S
        return silent if self.speaks else min(silent, self.asked + FIRST_WORD_S)


class _Reply:
    """One reply: who was asked for it, what came of it, and who goes on."""

    def __init__(
        self,
        links: Sequence[Link],
        counters: Counter[str],
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
    ) -> None:
        self._links = links
        self._counters = counters
        self._messages = messages
        self._tools = tools
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[_Heard] = asyncio.Queue(WAITING)
        self._given = ""  # the words that were given on
        self._legs: list[_Leg] = []  # those that may still be heard
        self._pumps: list[asyncio.Task[None]] = []
        self._asked: list[Link] = []
        self._refused: list[Link] = []
        self._rested: list[Link] = []
        self._again = AGAIN
        self._waited = False
        self._nobody_left = False

    async def events(self) -> AsyncGenerator[LlmEvent]:
        """The reply."""
        await self._ask_first()
        while True:
            heard = await self._next()
            if heard is None:
                late = self._legs[-1]
                if not late.calls:
                    self._ask_as_well()
                    continue
                heard = late, ProviderError(VENDOR, "silent behind its tool calls")
            leg, event = heard
            if leg not in self._legs:
                continue  # it was let go
            leg.heard = self._loop.time()
            if isinstance(event, ProviderError):
                self._failed(leg, event)
                if leg.calls:
                    for last in self._whole(leg):
                        yield last
                    return
                await self._replace(leg, event)
            elif isinstance(event, Alive):
                leg.calls = event.calls or leg.calls
            elif isinstance(event, Text):
                leg.worded = True
                if words := leg.joint.take(event.text):
                    yield self._say(leg, words)
            else:
                if words := leg.joint.rest():
                    yield self._say(leg, words)
                if isinstance(event, Finished):
                    if self._took_it_for_whole(leg):
                        continue
                    if not self._given and not leg.speaks:
                        empty = ProviderError(VENDOR, f"an empty reply (finish_reason {event.reason[:20]})")
                        self._failed(leg, empty)
                        await self._replace(leg, empty)
                        continue
                    self._prefer(leg)
                    leg.link.breaker.succeeded()
                    self._legs.clear()
                    yield event
                    return
                self._prefer(leg)
                leg.speaks = leg.worded = True
                yield event

    async def close(self) -> None:
        """The reply is over, or nobody wants it any more."""
        for leg in self._legs:
            if leg.speaks:
                leg.link.breaker.succeeded()
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)
            self._pumps.clear()  # they have errors, whose tracebacks have this reply: it would stay until a collection

    # -- who is heard ------------------------------------------------------------------------------------------------

    async def _next(self) -> _Heard | None:
        """What comes next; None when the one who was asked last is late and another may be asked."""
        if self._inbox.empty() and not (self._nobody_left and not self._legs[-1].calls):
            try:
                async with asyncio.timeout_at(self._legs[-1].late_at()):
                    return await self._inbox.get()
            except TimeoutError:
                return None
        return await self._inbox.get()

    def _say(self, leg: _Leg, words: str) -> Text:
        self._prefer(leg)
        if self._given and not leg.speaks:
            self._counters["went_on"] += 1
        leg.speaks = True
        self._given += words
        return Text(words)

    def _prefer(self, leg: _Leg) -> None:
        """Let the others go, before anything of theirs is heard."""
        if len(self._legs) == 1:
            return
        now = self._loop.time()
        if leg is not self._legs[0]:
            self._counters["hedges_won"] += 1
        for other in self._legs:
            if other is leg:
                continue
            if now >= other.late_at():
                self._counters["silent"] += 1
                METER.get().failed("llm")
                other.link.breaker.failed(ProviderError(VENDOR, "silent"))
            if other.pump is not None:
                other.pump.cancel()
        self._legs = [leg]

    def _whole(self, leg: _Leg) -> list[LlmEvent]:
        """The end of a reply that broke off when its tool calls were complete."""
        self._counters["whole_calls"] += 1
        words = leg.joint.rest()
        said = [self._say(leg, words)] if words else []
        self._prefer(leg)
        self._legs.clear()
        return [*said, *leg.calls, Finished("tool_calls", 0, 0, leg.link.model.options.model)]

    # -- who is asked ------------------------------------------------------------------------------------------------

    async def _ask_first(self) -> None:
        link = self._candidate() or await self._waited_for()
        if link is None:
            METER.get().failed("llm")
            rest_s = min(link.breaker.rest_s for link in self._links)
            raise ProviderError(
                VENDOR, f"every model is over its limit or refuses, for {rest_s:.0f} s yet", status=429,
                retry_after_s=rest_s,
            )  # fmt: skip
        self._ask(link)

    def _ask_as_well(self) -> None:
        """The one who was asked last is late."""
        link = self._candidate()
        if link is None:
            self._nobody_left = True
            return
        self._counters["hedges"] += 1
        log.warning(
            "LLM: nothing from %s for %.1f s, %s is asked",
            self._legs[-1].link.breaker.name, self._loop.time() - self._legs[-1].heard, link.breaker.name,
        )  # fmt: skip
        self._ask(link)

    async def _replace(self, leg: _Leg, error: ProviderError) -> None:
        """A model failed: another one takes its place, unless one is asked already. Raises when nobody is left."""
        self._legs.remove(leg)
        if self._legs:
            return
        link = self._candidate() or await self._waited_for()
        if link is None:
            raise error
        self._counters["fallbacks"] += 1
        self._ask(link)

    def _failed(self, leg: _Leg, error: ProviderError) -> None:
        self._counters["errors"] += 1
        METER.get().failed("llm")
        log.warning("%s (%s)", error, leg.link.breaker.name)
        if error.status:
            self._refused.append(leg.link)
        if error.status in _OF_THE_REQUEST:
            # It may be this conversation that is refused: no reason to keep others away at once.
            error = ProviderError(VENDOR, "refused the request")
        leg.link.breaker.failed(error)

    def _candidate(self) -> Link | None:
        """Who is to be asked next."""
        for link in self._links:
            if link in self._asked or link in self._rested:
                continue
            if link.breaker.allows():
                return link
            self._rested.append(link)
            self._counters["rested"] += 1
        for link in self._rested:
            if link not in self._asked and not link.breaker.told:
                return link
        if self._again > 0:
            for link in self._asked:
                if link not in self._refused:
                    self._again -= 1
                    return link
        return None

    async def _waited_for(self) -> Link | None:
        """Who asked to be left alone, when that is over soon; only once."""
        limited = [link for link in self._links if link.breaker.told and link.breaker.rest_s <= LONGEST_WAIT_S]
        if self._waited or not limited:
            return None
        self._waited = True
        link = min(limited, key=lambda link: link.breaker.rest_s)
        await asyncio.sleep(link.breaker.rest_s)
        return link

    def _took_it_for_whole(self, leg: _Leg) -> bool:
        """Whether it had nothing to add to a sentence that is not whole; then it is asked in words, once."""
        cut = self._given.rstrip()[-1:] not in ("", ".", "!", "?", "…", '"')
        if leg.worded or not cut:
            return False
        in_words = not leg.told and self._again > 0
        if not in_words and len(self._legs) == 1:
            return False
        self._legs.remove(leg)  # another one that was late may still go on
        if in_words:
            self._again -= 1
            self._ask(leg.link, told=True)
        return True

    def _ask(self, link: Link, *, told: bool = False) -> None:
        self._asked.append(link)
        leg = _Leg(link, Joint(self._given), self._loop.time(), told=told)
        self._legs.append(leg)
        leg.pump = asyncio.create_task(self._pump(leg, self._given), name="llm")
        self._pumps.append(leg.pump)

    async def _pump(self, leg: _Leg, given: str) -> None:
        """Everything that comes of one request, in order."""
        stream = leg.link.model.stream(self._messages, self._tools, partial=given, told=leg.told)
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    await self._inbox.put((leg, event))
        except ProviderError as error:
            error.forget_where()
            await self._inbox.put((leg, error))
        except Exception as error:
            log.exception("LLM: the client of %s failed", leg.link.breaker.name)
            await self._inbox.put((leg, ProviderError(VENDOR, f"its client failed: {type(error).__name__}")))
        finally:
            leg.pump = None  # see close
