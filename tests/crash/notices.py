"""Kills processes between any two steps of telling, and looks at what has arrived: real webhooks, real mails, SIGKILL.

    python -m tests.crash.notices --points 40 --seed 7

A life opens the office's database and an outbox, and tells what is there. It is killed in front of a step: an SQL
statement of either file, or a stage of sending. Then another life, in peace, tells the rest. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import update
from standardwebhooks import Webhook

from agent.call.record import CallRecord
from agent.office.mail import MailSender, MailServer, mail_target
from agent.office.models import Company
from agent.office.notices import Notices
from agent.office.store import NewBooking, NewCompany, OfficeStore
from agent.office.webhook import WebhookSender, webhook_target
from agent.tools.outbox import Entry, Kind, Outbox, Pace, Send, Target, Verdict
from tests.crash.schedule import fork
from tests.crash.sender import Steps

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
DID = "+442079460123"
LIFE_S = 30.0
HURRY = Pace(
    poll_s=0.02, first_pause_s=0.01, longest_pause_s=0.04, notice_first_pause_s=0.01, notice_longest_pause_s=0.04
)
BOOKINGS, CALLS = 2, 2
NOTICES = 3 * BOOKINGS + 2 * CALLS
"""A booking: its company's webhook and mail, and everybody's webhook; a call: both webhooks."""


# ---- who is told ----------------------------------------------------------------------------------------------------


def receive(folder: Path) -> None:
    """Take webhooks and mails until killed: each is a line of `received.txt`, with its ID and what it said."""
    asyncio.run(_receive(folder))


async def _receive(folder: Path) -> None:
    def note(line: Mapping[str, Any]) -> None:
        with (folder / "received.txt").open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def hook(request: web.Request) -> web.Response:
        event = Webhook(SECRET).verify(await request.read(), dict(request.headers))
        note({"by": request.path, "id": request.headers["webhook-id"], "said": event})
        return web.Response()

    class Mails:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content)
            note({"by": "mail", "id": mail["Message-ID"], "said": mail["Subject"]})
            return "250 OK"

    app = web.Application()
    app.router.add_post("/{way}", hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    mails = await asyncio.get_running_loop().create_server(lambda: SMTP(Mails()), "127.0.0.1", 0)
    ports = [runner.addresses[0][1], mails.sockets[0].getsockname()[1]]
    (folder / "ports.tmp").write_text(json.dumps(ports))
    (folder / "ports.tmp").rename(folder / "ports")
    await asyncio.Event().wait()


# ---- who tells ------------------------------------------------------------------------------------------------------


async def prepare(folder: Path, http_port: int) -> list[str]:
    """A database with something to tell; return the IDs of it."""
    async with await OfficeStore.open(f"sqlite:///{folder / 'office.sqlite3'}") as store:
        await store.add_company(NewCompany("Pipes", "plumbing", "plumber", "£65", (DID,)))
        hook = f"http://127.0.0.1:{http_port}/hook"
        async with store.sessions.begin() as session:
            values = {"webhook_url": hook, "webhook_secret": SECRET, "notify_email": "o@example.org"}
            await session.execute(update(Company).values(**values))
        told = []
        for number in range(BOOKINGS):
            new = NewBooking(f"Caller {number}", "M14 6BT", "12 Acacia Avenue", "a leak", did_number=DID)
            told.append(f"booking:{(await store.create_booking(new))[0].id}")
        for number in range(CALLS):
            uuid = f"6f9b2a52-8a35-4a8e-9c5b-0d7c8a3b1e{number:02}"
            await store.archive.keep(CallRecord(uuid, DID, "+447700900123"))
            told.append(f"call:{uuid}")
    return told


def live(folder: Path, ports: tuple[int, int], kill_at: int = 0) -> None:
    """Tell all there is, or be killed in front of a step."""
    asyncio.run(_live(folder, ports, Steps(kill_at)))


async def _live(folder: Path, ports: tuple[int, int], steps: Steps) -> None:
    async with await OfficeStore.open(f"sqlite:///{folder / 'office.sqlite3'}") as store:
        await store.close()  # its connections are opened anew, and watched
        steps.watch_sql()
        server = MailServer("127.0.0.1", ports[1], "none", "reception@example.org")
        hooks = WebhookSender(store.recipients, url=f"http://127.0.0.1:{ports[0]}/global", secret=SECRET)
        targets: dict[Kind, Target] = {
            "webhook": _watched(webhook_target(hooks), steps),
            "mail": _watched(mail_target(MailSender(server, store.recipients)), steps),
        }
        async with (
            Outbox(folder, targets, pace=HURRY) as outbox,
            Notices(store.sessions, store.archive, outbox, to_everybody=True, mail=True, poll_s=0.02),
            asyncio.timeout(LIFE_S),
        ):
            while True:
                if sum(states["accepted"] for states in outbox.notices().values()) == NOTICES:
                    return
                await asyncio.sleep(0.005)


def _watched(target: Target, steps: Steps) -> Target:
    assert target.send is not None
    send: Send = target.send

    async def step_by_step(entry: Entry) -> Verdict:
        steps()
        verdict = await send(entry)
        steps()
        return verdict

    return replace(target, send=step_by_step)


# ---- the schedule ---------------------------------------------------------------------------------------------------


def _end(process: int) -> bool:
    """Wait for a process; return whether it was killed. Raises `RuntimeError` when it ended in another way."""
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"a life ended with status {os.WEXITSTATUS(status)}")
    return False


def judge(folder: Path, told: list[str]) -> tuple[list[str], int]:
    """Return what is wrong with what has arrived, and how much of it came more than once."""
    wrong = []
    received: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (folder / "received.txt").read_text().splitlines():
        notice = json.loads(line)
        received[notice["by"]].append(notice)
    for way in ("/hook", "/global"):
        ids = {notice["id"] for notice in received[way]}
        wrong += [f"{way}: lost {missing}" for missing in set(told) - ids]
        wrong += [f"{way}: from nowhere {alien}" for alien in ids - set(told)]
    if len({notice["id"] for notice in received["mail"]}) != BOOKINGS:
        wrong.append(f"mails: {received['mail']}")
    repeats = 0
    for way, notices in received.items():
        for notice in notices:
            same = [other["said"] for other in notices if other["id"] == notice["id"]]
            if any(said != same[0] for said in same):
                wrong.append(f"{way}: {notice['id']} said this and that")
        repeats += len(notices) - len({notice["id"] for notice in notices})
    return wrong, repeats


def run(points: int, seed: int) -> dict[str, object]:
    """Kill so many lives, each in a folder of its own, in front of steps spread over all there are; 0: every step."""
    chance = random.Random(seed)
    wrong: list[str] = []
    killed = repeats = 0
    with tempfile.TemporaryDirectory(prefix="crash-") as top:
        place = Path(top)
        receiver = fork(lambda: receive(place))
        try:
            limit = time.monotonic() + 30
            while not (place / "ports").exists():
                if time.monotonic() > limit:
                    raise RuntimeError("the receiver does not start")
                time.sleep(0.01)
            ports = tuple(json.loads((place / "ports").read_text()))
            template = place / "template"
            template.mkdir()
            (place / "told").touch()

            def begin() -> None:
                (place / "told").write_text(json.dumps(asyncio.run(prepare(template, ports[0]))))

            _end(fork(begin))
            told = json.loads((place / "told").read_text())
            step = 0
            while points == 0 or killed < points:
                step += 1 if points == 0 else chance.randint(1, 2 * max(1, 150 // points))
                folder = place / f"step {step}"
                shutil.copytree(template, folder)
                (place / "received.txt").write_text("")
                at = step
                was_killed = _end(fork(lambda folder=folder, at=at: live(folder, ports, at)))  # type: ignore[misc]
                _end(fork(lambda folder=folder: live(folder, ports)))  # type: ignore[misc]
                mistakes, again = judge(place, told)
                wrong += [f"step {step}: {mistake}" for mistake in mistakes]
                killed += was_killed
                repeats += again
                shutil.rmtree(folder)
                if not was_killed:
                    if points == 0:
                        break
                    step = 0  # a life is over sooner than that: from the beginning
        finally:
            os.kill(receiver, signal.SIGKILL)
            os.waitpid(receiver, 0)
    return {"crash_points": killed, "repeats": repeats, "wrong": wrong[:20], "seed": seed}


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=12, help="crash points; 0: each step, one after the other")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    gc.freeze()
    report = run(options.points, options.seed)
    print(json.dumps(report))
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
