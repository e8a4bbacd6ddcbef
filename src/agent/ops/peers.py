"""Who may connect: networks from the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence


class Peers:
    """Networks that may connect. Raises `ValueError` for a text that is no network."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)

    def allow(self, host: str | None) -> bool:
        """Whether a peer of this address may; an IPv4 address mapped into IPv6 counts as itself."""
        if not host:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)
