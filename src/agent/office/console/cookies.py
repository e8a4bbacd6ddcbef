"""The console's cookies: the session, the key of forms without a session, and a word for the next page."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from aiohttp import web

from agent.office.console.parts import parts_of
from agent.office.users import LONGEST

_SESSION, _FORMS, _WORD = "voice-agent", "voice-agent-forms", "voice-agent-word"
_LONGEST_WORD = 500


def is_secure(request: web.Request) -> bool:
    """Whether people reach the console by https, as `CONSOLE_URL` says."""
    return parts_of(request).settings.console_url.startswith("https://")


def session_token(request: web.Request) -> str:
    """The token of the session, or nothing."""
    return request.cookies.get(_name(request, _SESSION), "")


def keep_session(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Let the browser come back with `token`."""
    _set(request, response, _SESSION, token, int(LONGEST.total_seconds()))


def end_session(request: web.Request, response: web.StreamResponse) -> None:
    """Let the browser forget its session."""
    _set(request, response, _SESSION, "", 0)


def forms_key(request: web.Request) -> str:
    """What a form must carry that is sent before anybody has logged in, or nothing."""
    return request.cookies.get(_name(request, _FORMS), "")


def keep_forms_key(request: web.Request, response: web.StreamResponse, key: str) -> None:
    """Let the browser keep what its log-in form will carry."""
    _set(request, response, _FORMS, key, 86400)


def word(request: web.Request) -> dict[str, str]:
    """What `keep_word` kept: text and kind."""
    raw = request.cookies.get(_name(request, _WORD), "")
    try:
        found = json.loads(urlsafe_b64decode(raw)) if raw else {}
        return {"text": str(found["text"])[:_LONGEST_WORD], "kind": str(found["kind"])} if found else {}
    except (ValueError, KeyError, TypeError):
        return {}


def keep_word(request: web.Request, response: web.StreamResponse, text: str, kind: str) -> None:
    """Keep a word for the next page; without text, forget it."""
    raw = urlsafe_b64encode(json.dumps({"text": text[:_LONGEST_WORD], "kind": kind}).encode()).decode()
    _set(request, response, _WORD, raw if text else "", 60 if text else 0)


def _name(request: web.Request, name: str) -> str:
    # With this prefix a browser takes the cookie only from this very host, by https, for all its paths.
    return f"__Host-{name}" if is_secure(request) else name


def _set(request: web.Request, response: web.StreamResponse, name: str, value: str, seconds: int) -> None:
    # Lax: a link in a mail finds its reader logged in; a form on another site sends no cookie.
    response.set_cookie(
        _name(request, name), value, max_age=seconds, httponly=True, samesite="Lax", secure=is_secure(request)
    )
