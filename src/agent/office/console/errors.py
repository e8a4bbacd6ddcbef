"""What goes wrong, told as a page to people and as JSON to scripts."""

from __future__ import annotations

import asyncio
import logging
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.office.console.access import wants_page
from agent.office.console.render import render
from agent.office.passwords import Busy

log = logging.getLogger(__name__)

_TITLES = {
    400: "That cannot be read",
    401: "Log in first",
    403: "Not for you",
    404: "Nothing is here",
    405: "Not this way",
    409: "It has changed meanwhile",
    413: "That is too much",
    421: "Not by this name",
    429: "Too often",
    500: "Something went wrong",
    503: "Too busy just now",
}
_TEXTS = {
    404: "There is no such page, or it belongs to a company that is not among yours.",
    405: "This address is there, but not for what was asked of it.",
    413: "What was sent is larger than anything the console asks for.",
}


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn each error into an answer. The log has what happened under the number that the page shows."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        text = answer.text if answer.text != f"{answer.status}: {answer.reason}" else ""
        return _answer(request, answer.status, text or _TEXTS.get(answer.status, answer.reason), answer)
    except Busy:
        return _answer(request, 503, "Too many are logging in at this moment. Try again in a few seconds.")
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:
        mark = secrets.token_hex(4)
        log.exception("console: %s %s failed [%s]", request.method, _where(request), mark)
        return _answer(request, 500, f"It has been noted in the log under the mark {mark}.")


def _where(request: web.Request) -> str:
    """The address by its pattern: a search is a caller's name or number, and no word for the log."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "?"


def _answer(request: web.Request, status: int, text: str, answer: web.HTTPException | None = None) -> web.Response:
    if wants_page(request):
        title = _TITLES.get(status, "That did not work")
        response = render(request, "error.html", status=status, title=title, text=text)
    else:
        response = web.json_response({"error": text}, status=status)
    for name in ("Allow", "Retry-After"):
        if answer is not None and name in answer.headers:
            response.headers[name] = answer.headers[name]
    return response
