"""`voice-agent roll`: new workers in the place of the old ones, while calls go on."""

from __future__ import annotations

import os
import signal

import typer

from agent.cli_shared import DataDir, EnvFile, fail


def roll(env_file: EnvFile = None, data_dir: DataDir = None) -> None:
    """Replace the workers of a running agent one after the other, such as after an update: no call is lost.

    A new worker begins, then an old one takes no more calls, and ends when its last one is over. The agent's log says
    how far it is. What there is one of, the supervisor, stays as it is until a restart.
    """
    from agent.ops.settings import SettingsError, load_settings
    from agent.workers.pid_file import supervisor_of

    try:
        directory = data_dir or load_settings(env_file).data_dir
    except SettingsError as error:
        fail(str(error))
    process = supervisor_of(directory)
    if process is None:
        fail(f"no agent with several workers runs on {directory}: see WORKERS; one without is restarted")
    try:
        os.kill(process, signal.SIGUSR2)
    except OSError as error:
        fail(f"cannot tell process {process}: {error.strerror}; run this as the agent's user")
    typer.echo(f"the workers of process {process} are replaced, one after the other; its log says when that is done")
