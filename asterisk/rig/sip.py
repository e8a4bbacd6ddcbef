"""As much SIP as one caller needs: messages, a dialog, and the SDP of one PCMU stream (RFC 3261, 4566).

Over UDP on loopback nothing is lost, so requests are not sent again; the server's repeats are answered again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

EVENT_PAYLOAD = 101
"""RTP payload type that the caller offers for telephone events (RFC 4733)."""


@dataclass(slots=True)
class Message:
    """One SIP message: first line, headers in order (names in lower case), body."""

    first: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    @property
    def status(self) -> int:
        """The status code of a response; 0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request, or that of the request which a response answers."""
        return self.get("cseq").split()[-1] if self.status else self.first.split()[0]

    def get(self, name: str) -> str:
        """The first header of this name; empty when absent."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """Each header of this name."""
        return [value for key, value in self.headers if key == name]

    def encode(self) -> bytes:
        """The message as it goes over the wire."""
        body = self.body.encode()
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


_SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}


def parse(data: bytes) -> Message:
    """Read one datagram. Raises `ValueError` when it is no SIP message."""
    head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    if "SIP/2.0" not in first:
        raise ValueError("not a SIP message")
    message = Message(first, body=body)
    for line in lines:
        name, _, value = line.partition(":")
        name = _SHORT.get(name.strip().lower(), name.strip().lower())
        if name != "content-length":
            message.headers.append((name, value.strip()))
    return message


def offer(port: int) -> str:
    """The SDP that offers PCMU in packets of 20 ms, and telephone events, at 127.0.0.1 and `port`."""
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 {EVENT_PAYLOAD}\r\na=rtpmap:0 PCMU/8000\r\n"
        f"a=rtpmap:{EVENT_PAYLOAD} telephone-event/8000\r\na=fmtp:{EVENT_PAYLOAD} 0-16\r\n"
        "a=ptime:20\r\na=sendrecv\r\n"
    )


def media_address(sdp: str) -> tuple[str, int]:
    """Where the other side takes RTP. Raises `ValueError` when its SDP has no audio."""
    host, port = "", 0
    for line in sdp.splitlines():
        if line.startswith("c=IN IP4 "):
            host = line.split()[2]
        elif line.startswith("m=audio "):
            port = int(line.split()[1])
    if not host or not port:
        raise ValueError("the answer has no audio")
    return host, port


@dataclass(slots=True)
class Dialog:
    """The caller's half of one call: who, tags, routes, sequence number."""

    local: str
    remote: str
    target: str
    contact: str
    call_id: str = field(default_factory=lambda: secrets.token_hex(8))
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    remote_to: str = ""
    routes: list[str] = field(default_factory=list)
    sequence: int = 1
    branch: str = field(default_factory=lambda: secrets.token_hex(8))

    def request(self, method: str, body: str = "", extra: list[tuple[str, str]] | None = None) -> Message:
        """A request of this dialog; ACK and CANCEL carry the sequence number of their INVITE."""
        if method not in ("INVITE", "ACK", "CANCEL"):
            self.sequence += 1
        if method not in ("INVITE", "CANCEL"):
            self.branch = secrets.token_hex(8)
        address = self.contact.partition("@")[2].rstrip(">")
        headers = [
            ("via", f"SIP/2.0/UDP {address};branch=z9hG4bK{self.branch};rport"),
            ("max-forwards", "70"),
            ("from", f"{self.local};tag={self.tag}"),
            ("to", self.remote_to if self.remote_to and method != "CANCEL" else self.remote),
            ("call-id", self.call_id),
            ("cseq", f"{self.sequence} {method}"),
            ("contact", self.contact),
            *(("route", route) for route in self.routes),
            *(extra or []),
        ]
        if body:
            headers.append(("content-type", "application/sdp"))
        return Message(f"{method} {self.target} SIP/2.0", headers, body)

    def acknowledge_failure(self, response: Message) -> Message:
        """The ACK of a refused INVITE: part of its transaction, so with its branch (RFC 3261, 17.1.1.3)."""
        branch = self.branch
        ack = self.request("ACK")
        self.branch = branch
        via = ack.headers[0][1].split("z9hG4bK")[0] + f"z9hG4bK{branch};rport"
        ack.headers[0] = ("via", via)
        ack.headers = [(name, response.get("to") if name == "to" else value) for name, value in ack.headers]
        return ack

    def established(self, response: Message) -> None:
        """Take the other side's tag, contact and routes from its 200."""
        self.remote_to = response.get("to")
        contact = response.get("contact")
        self.target = contact[contact.index("<") + 1 : contact.index(">")] if "<" in contact else contact
        self.routes = list(reversed(response.all("record-route")))


def respond(request: Message, status: str) -> Message:
    """The response to a request of the other side, for example "200 OK"."""
    kept = ("via", "from", "to", "call-id", "cseq", "record-route")
    return Message(f"SIP/2.0 {status}", [header for header in request.headers if header[0] in kept])
