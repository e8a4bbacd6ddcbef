"""Setting a host up: the files that Asterisk and systemd get, and `voice-agent init`, which hands them out."""

from __future__ import annotations

from agent.setup.files import asterisk_files, systemd_files

__all__ = ["asterisk_files", "systemd_files"]
