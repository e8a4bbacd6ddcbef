"""The host: installation, settings, files, ports, limits; each as it is, and broken once."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from functools import partial
from pathlib import Path

import pytest

import fastaudio
from agent.check import clock, directories, install, limits, ports, scheduling, settings_file
from agent.check.subject import Host, Subject
from tests.check.conftest import KEYS, SubjectMaker, free_port, look


def write_env(path: Path, *lines: str, mode: int = 0o600) -> Path:
    keys = [f"{vendor.upper()}_API_KEY={key}" for vendor, key in KEYS.items()]
    path.write_text("\n".join([*keys, *lines]) + "\n")
    path.chmod(mode)
    return path


# -- installation -----------------------------------------------------------------------------------------------------


async def test_the_installation(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = a_subject()
    assert (await look(install.python, subject))["python"].level == "ok"
    found = await look(install.wheel, subject)
    assert (found["wheel"].level, found["webrtcvad"].level) == ("ok", "ok")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9.9")
    assert "mixed" in (await look(install.wheel, subject))["wheel"].text
    monkeypatch.undo()
    monkeypatch.setattr(fastaudio, "rms", lambda pcm: 7.0)
    assert (await look(install.wheel, subject))["wheel"].level == "error"
    monkeypatch.undo()
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    assert (await look(install.python, subject))["python"].level == "error"
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    assert (await look(install.wheel, subject))["webrtcvad"].level == "error"


# -- settings ---------------------------------------------------------------------------------------------------------


async def test_settings_in_order(tmp_path: Path, clean_environment: None) -> None:
    subject = Subject.of(write_env(tmp_path / "env", f"DATA_DIR={tmp_path / 'data'}"))
    assert (await look(settings_file.env_file, subject))["env-file"].level == "ok"
    found = await look(settings_file.settings, subject)
    assert {finding.level for finding in found.values()} == {"ok"}


async def test_an_env_file_that_others_may_read(tmp_path: Path, clean_environment: None) -> None:
    subject = Subject.of(write_env(tmp_path / "env", mode=0o644))
    found = (await look(settings_file.env_file, subject))["env-file"]
    assert (found.level, found.mend) == ("error", f"chmod 600 {tmp_path / 'env'}")
    # What is in it is looked at all the same.
    assert subject.settings_ is not None
    assert (await look(settings_file.settings, subject))["keys"].level == "ok"


async def test_an_env_file_that_is_not_there(tmp_path: Path, clean_environment: None) -> None:
    subject = Subject.of(tmp_path / "none")
    assert (await look(settings_file.env_file, subject))["env-file"].level == "error"


async def test_names_that_are_no_settings(tmp_path: Path, clean_environment: None) -> None:
    file = write_env(tmp_path / "env", "MAX_CALS=5", "CALLS_MAX=5", "TZ=Europe/London", "XYZZY=1")
    subject = Subject.of(file)
    told = [finding async for finding in settings_file.env_file(subject)]
    unknown = {finding.text.split()[0]: finding for finding in told if finding.name == "unknown-setting"}
    assert set(unknown) == {"CALLS_MAX", "XYZZY"}, "MAX_CALS is an error, and TZ is the process's"
    assert unknown["CALLS_MAX"].mend == "is MAX_CALLS meant?"
    found = await look(settings_file.settings, subject)
    assert (found["unknown-setting"].level, found["unknown-setting"].mend) == ("error", "is MAX_CALLS meant?")


async def test_values_and_keys_that_are_wrong(tmp_path: Path, clean_environment: None) -> None:
    file = write_env(tmp_path / "env", "MAX_CALLS=0", "DEFAULT_TIMEZONE=Europe/Londn")
    subject = Subject.of(file)
    assert subject.settings_ is None
    texts = [finding.text async for finding in settings_file.settings(subject) if finding.level == "error"]
    assert sorted(text.split()[0] for text in texts) == ["DEFAULT_TIMEZONE", "MAX_CALLS"]
    file.write_text("GROQ_API_KEY=x\n")
    texts = [finding.text async for finding in settings_file.settings(Subject.of(file)) if finding.name == "keys"]
    assert texts == ["DEEPGRAM_API_KEY is missing", "CARTESIA_API_KEY is missing"]


async def test_a_conversation_a_price_list_and_a_region_that_are_wrong(tmp_path: Path, a_subject: SubjectMaker) -> None:
    found = await look(settings_file.settings, a_subject(conversation="dentists"))
    assert found["conversation"].level == "error"
    (tmp_path / "prices.toml").write_text("currency = ")
    found = await look(settings_file.settings, a_subject(prices_file=tmp_path / "prices.toml"))
    assert found["prices"].level == "error"
    found = await look(settings_file.settings, a_subject(default_timezone="Europe/Berlin"))
    assert "DEFAULT_REGION" in found["region"].mend
    assert "region" not in await look(
        settings_file.settings, a_subject(default_timezone="Europe/Berlin", default_region="DE")
    )


async def test_what_a_conversation_s_tools_want_is_no_misspelling(tmp_path: Path, clean_environment: None) -> None:
    own = tmp_path / "conversations" / "mine"
    subject = Subject.of(None)
    packaged = Path(settings_file.__file__).parents[1] / "conversations" / "dentist"
    own.mkdir(parents=True)
    for file in packaged.iterdir():
        if file.is_file():
            (own / file.name).write_bytes(file.read_bytes())
    with (own / "conversation.toml").open("a") as toml:
        toml.write(
            '\n[url_tools.ask_crm]\ndescription = "Ask."\nurl = "https://crm.example.com/ask"\n'
            'headers = { Authorization = "Bearer ${CRM_TOKEN}" }\n'
        )
    file = write_env(tmp_path / "env", "CRM_TOKEN=secret", f"CONVERSATIONS_DIR={own.parent}", "CONVERSATION=mine")
    text = (own / "conversation.toml").read_text()
    (own / "conversation.toml").write_text(text.replace("\ntools = [", '\ntools = ["ask_crm", ', 1))
    subject = Subject.of(file)
    found = await look(settings_file.settings, subject)
    assert found["conversation"].level == "ok", found["conversation"]
    assert "ask_crm" in found["conversation"].text
    assert "unknown-setting" not in await look(settings_file.env_file, subject)


# -- files ------------------------------------------------------------------------------------------------------------


async def test_directories(tmp_path: Path, a_subject: SubjectMaker) -> None:
    subject = a_subject()
    data = subject.settings.data_dir
    found = await look(directories.directories, subject)
    assert {finding.level for finding in found.values()} == {"ok"}
    data.chmod(0o755)
    assert (await look(directories.directories, subject))["data-dir"].level == "warning"
    data.chmod(0o711)  # as the systemd unit has it: Asterisk's user passes through
    assert (await look(directories.directories, subject))["data-dir"].level == "ok"
    (data / "office.sqlite3").touch(mode=0o644)
    assert (await look(directories.directories, subject))["data-mode"].mend == f"chmod 600 {data / 'office.sqlite3'}"
    (data / "calls").touch()
    assert (await look(directories.directories, subject))["records-dir"].level == "error"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which only root may")
async def test_a_file_that_somebody_else_left(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    file = subject.settings.data_dir / "outbox.sqlite3"
    file.touch(mode=0o600)
    os.chown(file, 12345, 12345)
    found = (await look(directories.directories, subject))["data-owner"]
    assert found.level == "error"
    assert str(file) in found.mend


@pytest.mark.skipif(os.geteuid() != 0, reason="root looks in the place of another user")
async def test_root_judges_by_the_user_whose_env_file_it_is(tmp_path: Path, a_subject: SubjectMaker) -> None:
    subject = a_subject()
    subject.env_file = write_env(tmp_path / "env")
    assert (await look(directories.directories, subject))["data-dir"].level == "ok"
    os.chown(subject.env_file, 12345, 12345)
    found = (await look(directories.directories, subject))["data-dir"]
    assert (found.level, "user 12345 may not write it" in found.text) == ("error", True)
    os.chown(subject.settings.data_dir, 12345, 12345)
    assert (await look(directories.directories, subject))["data-dir"].level == "ok"


@pytest.mark.parametrize(
    ("mode", "level"), [(0o2770, "ok"), (0o770, "error"), (0o2777, "error"), (0o2700, "error"), (0o700, "error")]
)
async def test_the_directory_of_the_script(a_subject: SubjectMaker, mode: int, level: str) -> None:
    subject = a_subject()
    subject.settings.metadata.mkdir()
    subject.settings.metadata.chmod(mode)
    found = (await look(directories.directories, subject))["metadata-dir"]
    assert found.level == level
    assert bool(found.mend) == (level == "error")


async def test_disk(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    for free, level, told in (
        (500 << 30, "ok", "4700 hours"),
        (2 << 30, "warning", "19 hours"),
        (100 << 20, "error", "hours"),
    ):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: usage(0, 0, free))
        found = (await look(directories.disk, a_subject()))["disk"]
        assert (found.level, told in found.text) == (level, True), found
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 2 << 30))
    assert "hours" not in (await look(directories.disk, a_subject(record_calls=False)))["disk"].text


# -- ports ------------------------------------------------------------------------------------------------------------


async def test_free_ports(a_subject: SubjectMaker) -> None:
    found = await look(ports.ports, a_subject())
    assert {finding.level for finding in found.values()} == {"ok"}
    assert "no agent runs" in found["agent"].text


async def test_a_port_that_is_taken(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    with socket.create_server(("127.0.0.1", subject.settings.fastagi_port)):
        found = await look(ports.ports, subject)
    assert found["port-fastagi"].level == "error"
    assert f"process {os.getpid()}" in found["port-fastagi"].text
    assert "FASTAGI_PORT" in found["port-fastagi"].mend
    assert found["port-audiosocket"].level == "ok"


async def test_a_port_of_an_agent_that_does_not_answer(
    a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "owner_of", lambda port, proc: (77, "voice-agent"))
    subject = a_subject()
    with socket.create_server(("127.0.0.1", subject.settings.listen_port)):
        found = (await look(ports.ports, subject))["port-audiosocket"]
    assert (found.level, "does not answer at HTTP_PORT" in found.text) == ("error", True)


async def test_an_address_of_another_host_a_low_port_and_one_port_twice(
    a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await look(ports.ports, a_subject(listen_host="192.0.2.1"))
    assert found["port-http"].level == "error"
    assert "LISTEN_HOST" in found["port-http"].mend
    port = free_port()
    assert (await look(ports.ports, a_subject(listen_port=port, http_port=port)))["port-twice"].level == "error"
    monkeypatch.setattr(ports, "_bind", lambda host, port: errno.EACCES)
    assert "1024" in (await look(ports.ports, a_subject()))["port-http"].text


@pytest.mark.parametrize(
    ("changes", "name", "level"),
    [
        ({}, "allowed-peers", "ok"),
        ({"listen_host": "0.0.0.0"}, "allowed-peers", "warning"),
        ({"allowed_peers": ("10.0.0.10",)}, "allowed-peers", "warning"),
        ({"listen_host": "0.0.0.0", "allowed_peers": ("0.0.0.0/0",)}, "allowed-peers", "warning"),
        ({"listen_host": "0.0.0.0", "allowed_peers": ("10.0.0.10",)}, "allowed-peers", "ok"),
        ({"listen_host": "0.0.0.0", "allowed_peers": ("10.0.0.10",)}, "office-keys", "warning"),
        ({"console": True, "console_host": "0.0.0.0"}, "console-host", "warning"),
    ],
)
async def test_who_may_connect(a_subject: SubjectMaker, changes: dict[str, object], name: str, level: str) -> None:
    found = await look(ports.peers, a_subject(**changes))
    assert found[name].level == level


# -- host -------------------------------------------------------------------------------------------------------------


async def test_the_clock(a_subject: SubjectMaker) -> None:
    subject = a_subject()
    for status, level in ((0x2001, "ok"), (clock.STA_UNSYNC, "warning")):
        found = [each async for each in clock.synchronised(subject, partial(int, status))]
        assert found[0].level == level

    def untold() -> int:
        raise OSError(errno.EPERM, "adjtimex")

    assert [each.level async for each in clock.synchronised(subject, untold)] == ["skipped"]
    assert clock.kernel_status() >= 0


def a_host(tmp_path: Path, **files: str) -> Host:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(proc=tmp_path / "proc", sys=tmp_path / "sys")


async def test_limits(tmp_path: Path, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    group = "sys__fs__cgroup__service__"
    host = a_host(
        tmp_path,
        **{
            "proc__self__cgroup": "0::/service\n",
            "proc__meminfo": "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n",
            f"{group}pids_dot_max": "20\n",
            f"{group}pids_dot_current": "5\n",
            f"{group}memory_dot_max": "314572800\n",
            f"{group}memory_dot_current": "1048576\n",
        },
    )
    subject = a_subject(host=host, max_calls=100)
    assert (await look(limits.threads, subject))["threads"].level == "error"
    found = (await look(limits.memory, subject))["memory"]
    assert (found.level, "299 MB" in found.text) == ("ok", True)
    found = (await look(limits.memory, a_subject(host=host, max_calls=100, workers=2)))["memory"]
    assert (found.level, "may take 550" in found.text) == ("warning", True)
    (tmp_path / "sys/fs/cgroup/service/pids.max").write_text("max\n")
    (tmp_path / "sys/fs/cgroup/service/memory.max").write_text("max\n")
    assert (await look(limits.threads, subject))["threads"].level == "ok"
    assert (await look(limits.memory, subject))["memory"].level == "ok"
    monkeypatch.setattr("resource.getrlimit", lambda which: (256, 256))
    found = (await look(limits.files, subject))["files"]
    assert (found.level, "LimitNOFILE=692" in found.mend) == ("error", True)
    assert (await look(limits.files, a_subject(max_calls=10)))["files"].level == "ok"


async def test_more_workers_than_processors(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    assert (await look(limits.processors, a_subject(workers=2)))["processors"].level == "ok"
    found = (await look(limits.processors, a_subject(workers=3)))["processors"]
    assert (found.level, found.mend.startswith("WORKERS=2")) == ("warning", True)


async def test_the_media_thread_is_timed(a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = (await look(scheduling.lateness, a_subject()))["lateness"]
    assert found.text.startswith("frames of 20 calls for 1 s")
    monkeypatch.setattr(scheduling, "LOOK_S", 0.1)
    monkeypatch.setattr(scheduling, "LATE_MS", -1.0)
    assert (await look(scheduling.lateness, a_subject()))["lateness"].level == "warning"


async def test_time_that_other_guests_took(
    tmp_path: Path, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = a_host(tmp_path, proc__stat="cpu  100 0 100 800 0 0 0 0 0 0\n")
    monkeypatch.setattr(scheduling, "LOOK_S", 0.3)
    subject = a_subject(host=host)
    looking = asyncio.create_task(look(scheduling.lateness, subject))
    await asyncio.sleep(0.1)
    (tmp_path / "proc/stat").write_text("cpu  110 0 110 820 0 0 0 10 0 0\n")
    assert "20 %" in (await looking)["steal"].text


async def test_scheduling(tmp_path: Path, a_subject: SubjectMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host(tmp_path, sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="powersave\n")
    monkeypatch.setattr(scheduling, "_timer_slack", lambda: 4_000_000)
    found = await look(scheduling.scheduling, a_subject(host=host))
    assert found["rtprio"].level == "ok"
    assert found["governor"].level == "warning"
    assert "4.0 ms" in found["timer-slack"].text
