"""A call that ended is in the back office, as its document says; the office is never in a call's way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from agent.office.scope import Scope

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

SCRIPT = "say: How soon can you come\n"


async def stored(rig: Rig, uuid: str) -> None:
    assert UUID(uuid)
    async with asyncio.timeout(5):
        while await rig.store.archive.get(uuid, Scope.all()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_call_is_in_the_database_when_it_is_over(rig: Rig) -> None:
    _, record = await rig.call(SCRIPT)
    await stored(rig, record.uuid)
    call = await rig.store.archive.get(record.uuid, Scope.all())
    assert call is not None
    assert [turn.caller for turn in call.record.turns] == [turn.caller for turn in record.turns]
    assert [turn.words for turn in call.record.turns] == [turn.words for turn in record.turns]
    assert call.company_id is not None
    assert rig.agent.office.keeper.counters["kept"] == 1


async def test_a_call_whose_office_was_away_comes_with_its_document(rig: Rig) -> None:
    async def away(_record: object) -> bool:
        raise ConnectionError

    rig.agent.office.keeper._keep = away
    _, record = await rig.call(SCRIPT)
    async with asyncio.timeout(5):
        while not rig.agent.office.keeper.counters["failed"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await rig.store.archive.get(record.uuid, Scope.all()) is None
    assert await rig.agent.office.housekeeping.look()
    assert await rig.store.archive.get(record.uuid, Scope.all()) is not None


async def test_a_new_retention_period_holds_at_once(a_rig: RigMaker) -> None:
    async with a_rig(retention_days=30) as rig:
        await rig.agent.reload(rig.agent.settings.model_copy(update={"retention_days": 7}))
        assert rig.agent.office.housekeeping.retention_days == 7
