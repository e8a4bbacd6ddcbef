"""Lets a caller who hears nothing, and should, know that somebody is there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from agent.call.agent_turn import AgentTurn
from agent.call.chronicle import Chronicle
from agent.call.prompts import Prompt
from agent.call.turn import State, Turn
from agent.call.waiting import Waiting


class Presence:
    """Of one call: looks at whose turn it is and what the caller hears, and has a few recorded words for them."""

    def __init__(
        self,
        turn: Turn,
        agent: AgentTurn,
        log: Chronicle,
        counters: Counter[str],
        recorded: Callable[[Prompt], tuple[bytes, str]],
        bytes_a_ms: int,
    ) -> None:
        """`recorded` knows the audio of each prompt, and its words."""
        self._turn = turn
        self._agent = agent
        self._log = log
        self._counters = counters
        self._recorded = recorded
        self._bytes_a_ms = bytes_a_ms
        self._waiting = Waiting()

    def heard(self, now_ms: float) -> None:
        """The caller hears the agent, or has just heard it."""
        self._waiting.heard(now_ms)

    def due_ms(self) -> float:
        """When the caller, who hears nothing and should, is to be told that somebody is there; infinite for never."""
        now_ms = self._log.now_ms()
        if self._turn.held:
            return math.inf
        if self._turn.state in (State.SPEAKING, State.ENDING):
            unheard_ms = self._agent.unheard_ms
            if unheard_ms is not None:
                return self._waiting.due_in_answer_ms(now_ms, unheard_ms)
            if not self._agent.silent:
                return math.inf
        waits = self._turn.waits_since_ms
        return self._waiting.due_ms(*waits) if waits is not None else math.inf

    def tell(self) -> None:
        """An answer is late, whatever the reason: nobody is left in silence."""
        greeting = self._turn.state is State.SPEAKING and len(self._log.record.turns) == 1
        prompt, pcm = self._waiting.next_words(
            self._log.now_ms(),
            Prompt.HELLO if greeting and not self._waiting.count else None,
            lambda prompt: self._recorded(prompt)[0],
            self._bytes_a_ms,
        )
        self._log.mark("bear_with_me", prompt.name.lower())
        self._counters["bear_with_me"] += 1
        self._agent.mention(pcm)
