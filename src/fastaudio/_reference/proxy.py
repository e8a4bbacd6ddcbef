"""The header of the PROXY protocol, version 2 (HAProxy: doc/proxy-protocol.txt, 2.2)."""

import ipaddress
import struct

from fastaudio._reference.types import Buffer
from fastaudio.errors import ProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TEXT_SIGNATURE = b"PROXY "
"""How the header of version 1 begins."""
HEAD_BYTES = 16
BYTES_MAX = 4096
"""Of the whole header."""

LOCAL, PROXY = 0, 1
UNSPEC, INET, INET6, UNIX = range(4)
STREAM, DATAGRAM = 1, 2
ADDRESS_BYTES = {UNSPEC: 0, INET: 12, INET6: 36, UNIX: 216}


class ProxyHeader:
    """Takes any split of the stream, and not one byte more than the header."""

    def __init__(self) -> None:
        self.error: str | None = None
        self._header = b""
        self._length = HEAD_BYTES

    @property
    def wants(self) -> int:
        """How many bytes may be read without reading what follows the header; 0 when it is whole."""
        return self._length - len(self._header)

    @property
    def source(self) -> tuple[str, int] | None:
        """Address and port of who is connected to the balancer, once the header is whole and if it tells."""
        if self.error is not None or self.wants:
            return None
        command, family, transport = self._header[12] & 0x0F, self._header[13] >> 4, self._header[13] & 0x0F
        if command == LOCAL or transport != STREAM or family not in (INET, INET6):
            return None
        layout = "!4s4sH" if family == INET else "!16s16sH"
        address, _, port = struct.unpack_from(layout, self._header, HEAD_BYTES)
        return str(ipaddress.ip_address(address)), port

    def feed(self, data: Buffer) -> int:
        """How many bytes of `data` are the header's.

        Raises:
            ProtocolError: It is no such header; so does each later call with data.

        """
        used = 0
        for byte in bytes(data):
            if self.error is not None or not self.wants:
                break
            self._header += bytes([byte])
            used += 1
            self.error = self._check()
        if self.error is not None and data:
            raise ProtocolError(self.error, len(self._header))
        return used

    def _check(self) -> str | None:
        """What is wrong with what is there so far."""
        header = self._header
        if len(header) <= len(SIGNATURE):
            if header == TEXT_SIGNATURE:
                return "proxy_v1"
            begins = SIGNATURE.startswith(header) or TEXT_SIGNATURE.startswith(header)
            return None if begins else "no_proxy"
        version, command = header[12] >> 4, header[12] & 0x0F
        if version != 2 or command not in (LOCAL, PROXY):
            return "bad_proxy"
        if len(header) != HEAD_BYTES:
            return None
        (length,) = struct.unpack_from("!H", header, 14)
        if HEAD_BYTES + length > BYTES_MAX:
            return "bad_proxy"
        self._length = HEAD_BYTES + length
        if command == LOCAL:  # whatever it says of addresses is to be ignored
            return None
        family, transport = header[13] >> 4, header[13] & 0x0F
        if family not in ADDRESS_BYTES or transport not in (0, STREAM, DATAGRAM):
            return "bad_proxy"
        if (family == UNSPEC) != (transport == 0) or length < ADDRESS_BYTES[family]:
            return "bad_proxy"
        return None
