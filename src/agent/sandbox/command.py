"""`voice-agent sandbox`: the emulated vendors as a process of their own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import typer
from pydantic import ValidationError

from agent.sandbox.config import ConfigError, SandboxConfig, describe
from agent.sandbox.profiles import Profile, profiled
from fastaudio.extras import how_to_install

Ports = tuple[int | None, int | None, int | None]
"""Of Deepgram, Groq and Cartesia; none leaves the setting as it is."""


def start(file: Path | None, engines: str | None, ports: Ports, *, profile: Profile | None) -> int:
    """Run the sandbox until it is told to stop; the exit status. What is wrong goes to standard error."""
    try:
        return asyncio.run(serve(configure(file, engines, ports, profile=profile)))
    except ConfigError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
    except ImportError as error:
        typer.secho(
            f"the sandbox needs the package {error.name!r}: {how_to_install('local')}",
            fg=typer.colors.RED,
            err=True,
        )
    except RuntimeError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
    except OSError as error:
        typer.secho(
            f"cannot listen: {error.strerror or error}; choose other ports, or 0 for free ones",
            fg=typer.colors.RED,
            err=True,
        )
    return 2


def configure(
    file: Path | None, engines: str | None = None, ports: Ports = (None, None, None), *, profile: Profile | None = None
) -> SandboxConfig:
    """Settings from a file, with what the command line says on top. Raises `ConfigError`."""
    config = SandboxConfig.read(file) if file is not None else SandboxConfig()
    if profile is not None:
        config = profiled(config, profile)
    values = config.model_dump()
    if engines is not None:
        values["engines"] = engines
    for name, port in zip(("deepgram", "groq", "cartesia"), ports, strict=True):
        if port is not None:
            values[name]["port"] = port
    try:
        return SandboxConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(describe(error)) from error


async def serve(config: SandboxConfig) -> int:
    """Run until SIGINT or SIGTERM; prints the settings to give to the agent, then `ready`."""
    from agent.sandbox.server import Sandbox

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(config) as sandbox:
        parts = ((config.deepgram, "DEEPGRAM"), (config.groq, "GROQ"), (config.cartesia, "CARTESIA"))
        urls = (sandbox.deepgram_url, sandbox.groq_url, sandbox.cartesia_url)
        for (part, name), url in zip(parts, urls, strict=True):
            typer.echo(f"{name}_URL={url}")
            typer.echo(f"{name}_API_KEY={'<one of the configured keys>' if part.keys else 'sandbox'}")
        typer.echo("ready")
        await stop.wait()
    return 0
