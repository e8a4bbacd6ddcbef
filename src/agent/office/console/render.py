"""Pages from templates: what is put into one is escaped, and what is missing is an error, not an empty place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from types import CodeType
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from agent.office.console import cookies, formats
from agent.office.console.access import visitor_of
from agent.office.console.forms import FIELD, WORD_SHOWN, csrf_of
from agent.office.console.parts import parts_of
from agent.office.console.static_files import STATIC, static_url
from agent.office.steps import in_steps

ENVIRONMENT = web.AppKey("environment", Environment)
NAVIGATION = (
    ("/", "Live", "live", "l", "viewer"),
    ("/calls", "Calls", "calls", "c", "viewer"),
    ("/bookings", "Bookings", "bookings", "b", "viewer"),
    ("/companies", "Companies", "companies", "o", "viewer"),
    ("/figures", "Numbers", "figures", "n", "viewer"),
    ("/users", "Users", "users", "u", "admin"),
)
"""Address, title, icon, the key after `g`, and the role that sees it."""


class _Compiled(BytecodeCache):
    """Templates as they were compiled before in this process."""

    _kept: ClassVar[dict[str, tuple[str, CodeType]]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what was kept, if it is of this very text."""
        checksum, code = self._kept.get(bucket.key, ("", None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        assert bucket.code is not None
        self._kept[bucket.key] = bucket.checksum, bucket.code


def set_up_templates(app: web.Application, region: str, zone: ZoneInfo) -> None:
    """Give `app` its templates, filters and functions. Static files must be there already."""
    environment = Environment(
        loader=PackageLoader("agent.office.console"),
        autoescape=True,
        undefined=StrictUndefined,
        bytecode_cache=_Compiled(),
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def local_time(moment: datetime | None, how: str = "full", there: str | ZoneInfo = "") -> Any:
        return formats.local_time(moment, zone_of(there, zone), how)

    environment.filters.update(
        money=formats.money,
        duration=formats.duration,
        long_duration=formats.long_duration,
        ms=formats.milliseconds,
        place=formats.place,
        number=formats.number,
        percent=formats.percent,
        ago=formats.ago,
        sentence=formats.sentence,
        phone=partial(formats.phone, region=region),
        local=local_time,
    )
    environment.globals.update(static=partial(static_url, app[STATIC]), navigation=NAVIGATION, csrf_field=FIELD)
    # Now, and not while calls go on: to compile the largest one takes a twentieth of a second.
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)
    app[ENVIRONMENT] = environment


def zone_of(name: str | ZoneInfo, otherwise: ZoneInfo) -> ZoneInfo:
    """The time zone of that name; `otherwise` where it is empty or unknown."""
    if isinstance(name, ZoneInfo):
        return name
    try:
        return ZoneInfo(name) if name else otherwise
    except (ZoneInfoNotFoundError, ValueError):
        return otherwise


def render(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """The page that `template` makes of `values`. It also has `user`, `csrf`, `path`, `word` and `settings`.

    `word` is what `say_later` said before; it is shown once.
    """
    return _page("".join(_pieces(request, template, values)), status)


async def render_long(request: web.Request, template: str, **values: Any) -> web.Response:
    """The same for a page that may take long: calls that go on have their turn meanwhile."""
    return _page("".join(await in_steps(_pieces(request, template, values))), 200)


def _pieces(request: web.Request, template: str, values: dict[str, Any]) -> Iterator[str]:
    word = cookies.word(request)
    if word:
        request[WORD_SHOWN] = True
    return (
        request.app[ENVIRONMENT]
        .get_template(template)
        .generate(
            user=visitor_of(request),
            csrf=csrf_of(request),
            path=request.path,
            word=word,
            settings=parts_of(request).settings,
            **values,
        )
    )


def _page(text: str, status: int) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)
