"""`voice-agent user`: who may log in to the console."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agent.cli_shared import DataDir, EnvFile, fail, lesson, teach

app = typer.Typer(
    help="Who may log in to the console: add, list, password, remove.",
    epilog=lesson("console.md", "voice-agent user add anna --role admin", "voice-agent user list"),
    no_args_is_help=True,
)

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="read the password from the standard input instead of asking")
]


def user_add(
    name: str,
    role: Annotated[Literal["viewer", "operator", "admin"], typer.Option(help="what they may do")] = "viewer",
    company: Annotated[list[str] | None, typer.Option(help="a company that is theirs; again for more")] = None,
    password_stdin: PasswordStdin = False,
    data_dir: DataDir = None,
    env_file: EnvFile = None,
) -> None:
    """Add a user. The password is asked for, never an argument: other users of the host see those."""
    from agent.office.user_command import add_user, read_password

    _on_users(
        env_file, data_dir, lambda chosen: add_user(chosen, name, role, company or (), read_password(password_stdin))
    )


def user_list(data_dir: DataDir = None, env_file: EnvFile = None) -> None:
    """List all users: name, role, when last seen, companies."""
    from agent.office.user_command import list_users

    _on_users(env_file, data_dir, list_users)


def user_password(
    name: str, password_stdin: PasswordStdin = False, data_dir: DataDir = None, env_file: EnvFile = None
) -> None:
    """Give a user another password; it logs them out everywhere."""
    from agent.office.user_command import change_password, read_password

    _on_users(env_file, data_dir, lambda chosen: change_password(chosen, name, read_password(password_stdin)))


def user_remove(name: str, data_dir: DataDir = None, env_file: EnvFile = None) -> None:
    """Take a user away, and log them out everywhere. The last admin stays."""
    from agent.office.user_command import remove_user

    _on_users(env_file, data_dir, lambda chosen: remove_user(chosen, name))


def _on_users(env_file: Path | None, data_dir: Path | None, work: Any) -> None:
    from agent.office.console.command import settings_of
    from agent.office.database import DatabaseError
    from agent.office.passwords import PasswordError
    from agent.office.users import UserError
    from agent.ops.settings import SettingsError

    try:
        typer.echo(asyncio.run(work(settings_of(env_file, data_dir))))
    except (SettingsError, DatabaseError, PasswordError, UserError) as error:
        fail(str(error))


teach(
    app,
    user_add,
    "console.md",
    "voice-agent user add anna --role admin",
    'voice-agent user add vera --company "Thames Plumbing"',
    name="add",
)
teach(app, user_list, "console.md", "voice-agent user list", name="list")
teach(app, user_password, "console.md", "voice-agent user password anna", name="password")
teach(app, user_remove, "console.md", "voice-agent user remove anna", name="remove")
