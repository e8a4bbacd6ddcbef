"""What goes over the bus comes out as it was."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
import pytest

from agent.call.company import CompanyContext, default_context
from agent.ops.settings import Settings, load_settings
from agent.telephony import CallInfo
from agent.workers.pid_file import PidFile, supervisor_of
from agent.workers.wire import pack_context, pack_info, pack_settings, unpack_context, unpack_info, unpack_settings

if TYPE_CHECKING:
    from collections.abc import Callable


def test_an_announcement(agent_settings: Callable[..., Settings]) -> None:
    info = CallInfo(uuid4(), "+442079460123", "+447700900123", "Ann Ü", "1.1", "1.0", "PJSIP/x-1", "fastagi")
    assert unpack_info(orjson.loads(orjson.dumps(pack_info(info)))) == info


@pytest.mark.parametrize(
    "context",
    [
        default_context("+447700900123", reason="timeout"),
        CompanyContext(
            company_id=7,
            opening_hours=MappingProxyType({"mon": ((540, 750), (810, 1080)), "sun": ()}),
            transfer_targets=MappingProxyType({"Office": "2001"}),
            keyterms=("tap", "boiler"),
            bad_fields=("area",),
            repeat_caller=True,
        ),
    ],
)
def test_a_company(context: CompanyContext) -> None:
    there = unpack_context(orjson.loads(orjson.dumps(pack_context(context))))
    assert there == context
    assert there.keyterms == context.keyterms
    assert dict(there.opening_hours) == dict(context.opening_hours)


def test_settings_keep_every_value_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    env_file = tmp_path / "env"
    env_file.touch(0o600)
    env_file.write_text("DEEPGRAM_API_KEY=key\nDEEPGRAM_KEYTERMS=tap,boiler\nMAX_CALLS=7\nWORKERS=auto\n")
    settings = load_settings(env_file, data_dir=tmp_path, stt_fallbacks=("none",))
    packed = orjson.loads(orjson.dumps(pack_settings(settings)))
    monkeypatch.setenv("MAX_CALLS", "9")
    monkeypatch.setenv("GROQ_API_KEY", "another")
    there = unpack_settings(packed)
    assert there == settings
    assert there.environment["DEEPGRAM_KEYTERMS"] == "tap,boiler", "a conversation's tools find their secrets"
    defaults = load_settings()
    assert unpack_settings(orjson.loads(orjson.dumps(pack_settings(defaults)))) == defaults


def test_a_supervisor_is_found_for_as_long_as_it_lives(tmp_path: Path) -> None:
    assert supervisor_of(tmp_path) is None
    with PidFile(tmp_path):
        pid = supervisor_of(tmp_path)
        assert pid is not None
        with PidFile(tmp_path):
            assert supervisor_of(tmp_path) == pid
    assert supervisor_of(tmp_path) is None
