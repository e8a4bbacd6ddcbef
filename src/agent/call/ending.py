"""How a call comes to its end: the last words, whatever still has a voice, and the verdict behind them."""

from __future__ import annotations

from collections.abc import Callable

import fastaudio
from agent.call.actions import Resume
from agent.call.agent_turn import AgentTurn
from agent.call.chronicle import Chronicle
from agent.call.company import CompanyContext
from agent.call.parting import TRAIL_MS, Parting
from agent.call.prompts import Prompt
from agent.call.record import CallRecord
from agent.call.turn import State, Turn
from agent.telephony import Verdict


class Ending:
    """Of one call. Once it has begun, nothing that the caller says or that a vendor does keeps the call from it."""

    def __init__(
        self,
        call: fastaudio.Call,
        turn: Turn,
        agent: AgentTurn,
        parting: Parting,
        log: Chronicle,
        company: CompanyContext,
        recorded: Callable[[Prompt], tuple[bytes, str]],
    ) -> None:
        """`recorded` knows the audio of each prompt, and its words."""
        self.verdict: Verdict | None = None
        """What the dialplan is to do; None, when the call ends, leaves it to its fallback."""
        self.failed = False
        """Something that the call needs is gone for good."""
        self._call = call
        self._turn = turn
        self._agent = agent
        self._parting = parting
        self._log = log
        self._company = company
        self._recorded = recorded

    @property
    def begun(self) -> bool:
        """Whether the last words are being said, or have been."""
        return self._turn.state is State.ENDING

    # -- the last words ----------------------------------------------------------------------------------------------

    async def say(self, text: str, verdict: Verdict) -> None:
        """End with these words."""
        await self._agent.interrupt()
        self.behind_the_answer(verdict)
        await self._agent.say(text)

    async def recite(self, verdict: Verdict | None, *prompts: Prompt) -> None:
        """End with words that were recorded: they need no voice, and all calls may say them at once."""
        await self._agent.interrupt()
        self.behind_the_answer(verdict)
        said = [self._recorded(prompt) for prompt in prompts]
        await self._agent.recite(b"".join(pcm for pcm, _ in said), " ".join(text for _, text in said))

    def behind_the_answer(self, verdict: Verdict | None) -> None:
        """What is being said are the last words: nothing interrupts them any more."""
        self.verdict = verdict
        if verdict is not None and verdict.action == "transfer":
            self._log.outcome("transferred")
        self._call.set_barge_in(fastaudio.BargeInOptions(enabled=False))
        for action in self._turn.ending(self._log.now_ms()):
            if isinstance(action, Resume):
                self._call.resume()

    async def trouble(self, what: str) -> None:
        """A vendor is gone for good: the company's first transfer target takes the caller, or the dialplan's fallback.

        That is where a call goes without a verdict.
        """
        if self.failed:
            return
        self._log.mark(what)
        self.failed = True
        if self.begun:
            await self.words_are_over()
        elif targets := list(self._company.transfer_targets.values()):
            await self.recite(Verdict("transfer", targets[0], what), Prompt.SORRY, Prompt.TRANSFERRING)
        else:
            await self.recite(None, Prompt.SORRY)

    async def words_are_done(self, *, failed: bool) -> bool:
        """Something has been said, or `failed` to be; False when it was not the end."""
        if self.verdict is not None and failed and not self.failed:
            self.failed = True  # the last words could not be said: others are, which need no voice
            transfers = self.verdict.action == "transfer"
            await self._agent.recite(*self._recorded(Prompt.TRANSFERRING if transfers else Prompt.SORRY_GOODBYE))
            return True
        if self.verdict is None and not self.failed:
            return False
        await self.words_are_over()
        return True

    # -- the line ----------------------------------------------------------------------------------------------------

    async def words_are_over(self) -> None:
        """The caller has heard the last of them."""
        if self.verdict is not None:
            await self._parting.begin(self.verdict)
        else:
            self._call.hangup(TRAIL_MS)

    async def hang_up(self, verdict: Verdict) -> None:
        """The last words do not come to their end: without them."""
        self.verdict = verdict
        await self._parting.begin(verdict)

    def note(self, record: CallRecord) -> None:
        """The call is over: write down how."""
        if self.verdict is not None:
            record.verdict = f"{self.verdict.action} {self.verdict.target}".strip()
        if self._parting.redirected:
            record.ended_by = "agent"
        if self.failed:
            self._log.outcome("failed")
