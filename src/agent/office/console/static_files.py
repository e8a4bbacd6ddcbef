"""Style sheets, scripts and icons: read once, named by their content, so that a browser keeps them for ever."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.office.console.access import open_to_everybody

FOLDER = Path(__file__).parent / "static"
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, as it goes out."""

    body: bytes
    zipped: bytes | None
    kind: str
    version: str


def read_static(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """Every file below `folder`, by its path there."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        body = path.read_bytes()
        kind = {".js": "text/javascript", ".woff2": "font/woff2"}.get(path.suffix) or mimetypes.guess_type(path)[0]
        text = path.suffix in (".css", ".js", ".svg")
        files[path.relative_to(folder).as_posix()] = StaticFile(
            body,
            gzip.compress(body, mtime=0) if text else None,
            f"{kind}; charset=utf-8" if text else kind or "application/octet-stream",
            hashlib.sha256(body).hexdigest()[:16],
        )
    return files


STATIC = web.AppKey("static", dict[str, StaticFile])


def static_url(files: dict[str, StaticFile], name: str) -> str:
    """The address of a file in this very version. Raises `KeyError` when there is none."""
    return f"/static/{name}?v={files[name].version}"


@open_to_everybody
async def static_file(request: web.Request) -> web.StreamResponse:
    """A file, with what a browser needs to keep it."""
    name = request.match_info["name"]
    file = request.app[STATIC].get(name)
    is_named = name.startswith("fonts/")  # style sheets name a font without `static`, so its name has its version
    if file is None:
        raise web.HTTPNotFound(text="There is no such file.")
    headers = {
        "Content-Type": file.kind,
        "ETag": f'"{file.version}"',
        "Vary": "Accept-Encoding",
        "Cache-Control": _FOR_EVER if is_named or request.query.get("v") == file.version else "no-cache",
    }
    if file.version in (tag.value for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    if file.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=file.zipped, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=file.body, headers=headers)
