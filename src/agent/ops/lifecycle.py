"""`voice-agent serve`: from the settings to the last call, and what signals do.

SIGTERM and SIGINT let running calls end, the second one ends them at once. SIGHUP reads the settings and the
conversations again, for new calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from agent.call.door import GOODBYE_S
from agent.conversations import ConversationError
from agent.ops import collector, files, notify, watchdog
from agent.ops.logs import CarefulFormatter
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.service import Agent
from agent.workers.supervisor import Supervisor

log = logging.getLogger(__name__)

CLOSING_S = 10.0
"""At most, for what is behind the last call: connections, recordings, the databases."""


async def serve(
    settings: Settings,
    *,
    seed: bool,
    report: Callable[[str], None],
    env_file: Path | None = None,
    formatter: CarefulFormatter | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Run the agent until SIGINT or SIGTERM, then drain; a second signal ends it at once.

    SIGHUP reads `env_file` again, and tells `formatter` of keys that are new in it; `given` are settings that win over
    it. SIGUSR2 replaces the workers one after the other, where there are several.
    """
    stop, now, again = asyncio.Event(), asyncio.Event(), asyncio.Event()
    agent: Agent | Supervisor = Agent(settings) if settings.worker_count == 1 else Supervisor(settings)

    def on_stop() -> None:
        (now if stop.is_set() else stop).set()

    files.make_room(settings.max_calls)
    handlers = {signal.SIGINT: on_stop, signal.SIGTERM: on_stop, signal.SIGHUP: again.set}
    with _signals(handlers | {signal.SIGUSR2: lambda: _roll(agent)}):
        async with agent:
            if seed:
                from agent.office.seed import seed_examples

                await seed_examples(agent.store)
            collector.settle()
            host = settings.listen_host
            report(
                f"AudioSocket on {host}:{agent.audio_port}, FastAGI on {host}:{agent.fastagi_port}, "
                f"HTTP on {host}:{agent.http_port}; at most {settings.max_calls} calls"
                + (f" in {len(agent.workers)} workers" if isinstance(agent, Supervisor) else "")
            )
            for line in agent.console.lines() if agent.console is not None else ():
                report(line)
            async with watchdog.fed(agent.responsive):
                notify.ready()
                while await _first(stop, again) is again:
                    again.clear()
                    notify.reloading()
                    await _reload(agent, env_file, formatter, given)
                    notify.ready()
                notify.stopping(agent.settings.stop_grace_seconds + GOODBYE_S + CLOSING_S)
                drain = asyncio.create_task(agent.drain(), name="drain")
                await _first(now, drain)
                drain.cancel()


def _roll(agent: Agent | Supervisor) -> None:
    if isinstance(agent, Supervisor):
        agent.roll()
    else:
        log.warning("there is one process, and nothing to replace one after the other (WORKERS)")


async def _reload(
    agent: Agent | Supervisor, env_file: Path | None, formatter: CarefulFormatter | None, given: Mapping[str, object]
) -> None:
    """Take the settings as they are now; what is wrong is refused whole, and said."""
    try:
        settings = load_settings(env_file, **given)
        if formatter is not None:
            formatter.hide(settings.secrets)
        fixed = await agent.reload(settings)
    except (SettingsError, ConversationError) as error:
        for line in str(error).splitlines():
            log.error("not reloaded: %s", line)
        return
    logging.getLogger().setLevel(settings.log_level.upper())
    for name in fixed:
        log.warning("%s has changed and holds from the next start on", name.upper())
    log.info("reloaded: new calls have the settings and conversations as they are now")


async def _first(event: asyncio.Event, other: asyncio.Event | asyncio.Task[None]) -> object:
    """Wait for one of the two; gives the one that came, the event if both did."""
    waiting = asyncio.create_task(_wait(event), name="signal")
    further = asyncio.create_task(_wait(other), name="signal") if isinstance(other, asyncio.Event) else other
    await asyncio.wait({waiting, further}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if isinstance(other, asyncio.Event):
        further.cancel()
    return event if event.is_set() else other


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


@contextlib.contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
