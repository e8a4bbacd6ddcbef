"""Where the dialplan, the AGI script, the samples and the systemd units lie: in the wheel, or in a clone.

Their one place in the repository is `asterisk/` and `deploy/systemd/` at its top; CMakeLists.txt installs both into
this package.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_CLONE = _HERE.parents[2]


def asterisk_files() -> Path:
    """Directory of `voice-agent.conf`, `voice-agent-site.conf`, `extensions_custom.conf`, `voice-agent.agi`, `sample/`.

    Raises `FileNotFoundError` where the package was installed without them.
    """
    return _directory("asterisk", _CLONE / "asterisk")


def systemd_files() -> Path:
    """Directory of the systemd units; raises `FileNotFoundError` where the package was installed without them."""
    return _directory("systemd", _CLONE / "deploy" / "systemd")


def _directory(name: str, in_clone: Path) -> Path:
    packaged = _HERE / name
    for directory in (packaged, in_clone):
        if directory.is_dir():
            return directory
    raise FileNotFoundError(f"{packaged} is missing: this installation is not whole, install the package again")
