"""What people send: forms, checked to come from the console's own pages before any handler sees them."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.typedefs import Handler
from multidict import MultiDict, MultiDictProxy, MultiMapping

from agent.office.console import cookies
from agent.office.console.access import visitor_of
from agent.office.console.parts import parts_of

FIELD, HEADER = "_csrf", "X-CSRF-Token"
WORD_SHOWN = web.RequestKey("word_shown", bool)
_FORM = web.RequestKey("form", MultiDictProxy[str])
_WORD = web.RequestKey("word", tuple[str, str])
_KEY = web.RequestKey("forms_key", str)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def form_of(request: web.Request) -> MultiDictProxy[str]:
    """The fields of the form that was sent, stripped; `getall(name, [])` where one comes several times."""
    return request[_FORM]


def say_later(request: web.Request, text: str, kind: str = "good") -> None:
    """Show `text` on the next page that is rendered: "Saved." `kind`: good, warn or bad."""
    request[_WORD] = (text, kind)


def csrf_of(request: web.Request) -> str:
    """What a form of this request's page must carry."""
    user = visitor_of(request)
    if user is not None:
        return user.csrf
    key = request.get(_KEY) or cookies.forms_key(request) or secrets.token_urlsafe(32)
    request[_KEY] = key
    return key


@web.middleware
async def check_forms(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what another site made a browser send: by where it says it comes from, and by the token it must carry."""
    _refuse_nul(request.query)
    if request.method not in _SAFE or "Upgrade" in request.headers:
        _check_origin(request)
    if request.method not in _SAFE:
        await _read_form(request)
        _check_token(request)
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        _keep(request, answer)
        raise
    _keep(request, response)
    return response


async def _read_form(request: web.Request) -> None:
    form: MultiDict[str] = MultiDict()
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        try:
            sent = await request.post()
        except (ValueError, LookupError, BadHttpMessage) as error:
            raise web.HTTPBadRequest(text="This form cannot be read.") from error
        for name, value in sent.items():
            if isinstance(value, str):
                form.add(name, value.strip() if "password" not in name else value)
        _refuse_nul(form)
    request[_FORM] = MultiDictProxy(form)


def _refuse_nul(fields: MultiMapping[str]) -> None:
    """No text has a NUL, and PostgreSQL takes none."""
    if any("\0" in name or "\0" in value for name, value in fields.items()):
        raise web.HTTPBadRequest(text="A text with a NUL in it cannot be read.")


def _check_token(request: web.Request) -> None:
    user = visitor_of(request)
    expected = user.csrf if user is not None else cookies.forms_key(request)
    given = request.headers.get(HEADER) or form_of(request).get(FIELD) or ""
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        raise web.HTTPForbidden(text="This page was open for too long: load it anew and try again.")


def _check_origin(request: web.Request) -> None:
    """Of a browser that says where a request comes from (they all do today), only the console itself is heard."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise web.HTTPForbidden(text="This was sent by another site.")
    origin = request.headers.get("Origin")
    if origin is None:
        return
    parsed, own = urlsplit(origin), urlsplit(parts_of(request).settings.console_url)
    if not parsed.netloc or parsed.netloc not in (request.host, own.netloc):
        raise web.HTTPForbidden(text="This was sent by another site. Behind a reverse proxy, set CONSOLE_URL.")


def _keep(request: web.Request, response: web.StreamResponse) -> None:
    if response.prepared:
        return
    if _WORD in request:
        cookies.keep_word(request, response, *request[_WORD])
    elif response.status == 200 and WORD_SHOWN in request:
        cookies.keep_word(request, response, "", "")
    if _KEY in request and request[_KEY] != cookies.forms_key(request):
        cookies.keep_forms_key(request, response, request[_KEY])
