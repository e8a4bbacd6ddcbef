"""The dialplan's questions by HTTP, for hosts whose dialplan has `CURL()` and no FastAGI.

`POST /start` with a form (`did`, `caller_id`, `caller_name`, `presentation`, `unique_id`, `linked_id`, `channel`, and
`uuid` where the dialplan makes it) answers `OK <uuid>`, `FULL` or `ERROR`. `GET /next/<uuid>` answers `hangup`,
`transfer <target>`, `menu`, or `unknown` with status 404. `POST /transferred/<uuid>` with a form (`dial`, `queue`,
`abandoned`: Asterisk's DIALSTATUS, QUEUESTATUS, ABANDONED) tells how a transfer ended. All of it is one line of
text/plain, since `CURL()` gives the dialplan the body and nothing else: an answer that is not one of these words is its
fallback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl
from uuid import uuid4

from aiohttp import web

from agent.telephony.desk import Desk, uuid_of
from agent.telephony.texts import call_info

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8192
"""A form is well under 1 KB: URIENCODE() makes three characters of one at most, and numbers and names are short."""
MAX_FIELDS = 16


class DialplanHttp:
    """The three pages. Who may ask is for the HTTP port to say; what one may do is limited as it is over FastAGI.

    `counters` holds `start_ok`, `start_full`, `start_error`, `next_<answer>`, `transferred_<answer>` and one
    `refused_<reason>` for each way in which a request was turned away: `requests`, `timeout`, `body`, `bad_uuid`.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        max_requests: int = 256,
        request_timeout_s: float = 2.0,
        on_refused: Callable[[str, str], None] | None = None,
    ) -> None:
        """`on_refused` is told the reason and the address of each client that is turned away, which is logged else."""
        self.counters: Counter[str] = Counter()
        self._on_refused = on_refused
        self._desk = desk
        self._max_requests = max_requests
        self._request_timeout_s = request_timeout_s
        self._requests = 0

    def add_pages(self, app: web.Application) -> None:
        """Serve them on this application."""
        app.router.add_post("/start", self._start)
        app.router.add_get("/next/{uuid}", self._next)
        app.router.add_post("/transferred/{uuid}", self._transferred)

    @contextlib.contextmanager
    def _place(self) -> Iterator[bool]:
        """One of the requests that are served at once; False when there are too many."""
        self._requests += 1
        try:
            yield self._requests <= self._max_requests
        finally:
            self._requests -= 1

    async def _start(self, request: web.Request) -> web.Response:
        with self._place() as room:
            texts = await self._form(request) if room else self._refuse(request, "requests", 503)
            if isinstance(texts, web.Response):
                return texts
            uuid = uuid_of(texts["uuid"]) if texts.get("uuid") else uuid4()
            if uuid is None:
                return self._refuse(request, "bad_uuid", 400)
            answer = await self._desk.start(call_info(uuid, texts, "http"))
            self.counters[f"start_{answer.lower()}"] += 1
            return web.Response(text=f"OK {uuid}" if answer == "OK" else answer)

    async def _transferred(self, request: web.Request) -> web.Response:
        with self._place() as room:
            texts = await self._form(request) if room else self._refuse(request, "requests", 503)
            if isinstance(texts, web.Response):
                return texts
            statuses = (texts.get(name, "") for name in ("dial", "queue", "abandoned"))
            answer = self._desk.transferred(request.match_info["uuid"], *statuses)
            self.counters[f"transferred_{answer}"] += 1
            return web.Response(text=answer, status=404 if answer == "unknown" else 200)

    async def _form(self, request: web.Request) -> dict[str, str] | web.Response:
        """The fields of a form; or what it is refused with."""
        try:
            async with asyncio.timeout(self._request_timeout_s):
                body = await request.content.read(MAX_BODY_BYTES + 1)
                while len(body) <= MAX_BODY_BYTES and (more := await request.content.read(MAX_BODY_BYTES)):
                    body += more
        except TimeoutError:
            return self._refuse(request, "timeout", 408)
        if len(body) > MAX_BODY_BYTES:
            return self._refuse(request, "body", 413)
        try:
            fields = parse_qsl(body.decode("utf-8", "replace"), errors="replace", max_num_fields=MAX_FIELDS)
        except ValueError:
            return self._refuse(request, "body", 400)
        # The first value of a name counts, as over FastAGI.
        return dict(reversed(fields))

    async def _next(self, request: web.Request) -> web.Response:
        with self._place() as room:
            if not room:
                return self._refuse(request, "requests", 503)
            verdict = await self._desk.next(request.match_info["uuid"])
            self.counters[f"next_{verdict.action if verdict else 'unknown'}"] += 1
            if verdict is None:
                return web.Response(text="unknown", status=404)
            return web.Response(text=f"{verdict.action} {verdict.target}".strip())

    def _refuse(self, request: web.Request, reason: str, status: int) -> web.Response:
        self.counters[f"refused_{reason}"] += 1
        if self._on_refused is not None:
            self._on_refused(reason, request.remote or "")
        else:
            log.warning("a dialplan's HTTP request of %s is refused: %s", request.remote, reason)
        return web.Response(text="ERROR", status=status)
