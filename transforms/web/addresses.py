"""Which addresses may be asked: the public internet, and what the user allows beside it.

A list of URLs is written by strangers, and a build runs where it can reach what strangers cannot:
the machine itself, the network it stands in, the service that hands out its cloud's passwords.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from reelscript.pipeline.errors import StageError
from reelscript.schemas.text import one_line

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Found: TypeAlias = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]
"""One of what socket.getaddrinfo returns."""

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a provider's address translation; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host of an Azure machine: a public number, reached from inside
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments; Teredo
        "2001:db8::/32",
        "3fff::/20",
    )
)
"""From IANA's registries of special-purpose addresses (RFC 6890), written down because the
`ipaddress` module answers differently from one release of Python to the next."""


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """The addresses that may be asked.

    Attributes:
        allowed: networks ("10.1.0.0/16") or single addresses, beside the public internet.

    Raises:
        ValueError: one of `allowed` is neither.
    """

    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _networks(self.allowed)

    def check(self, address: str) -> None:
        """Raises StageError("private_address") where an address may not be asked."""
        self._only_permitted(address, [address])

    def resolve(self, host: str, port: int) -> list[Found]:
        """Returns what socket.getaddrinfo says of a host, only with addresses that may be asked.

        Connect to these, and look up no name again: another answer would be unchecked. All that a
        system takes for an address (`127.1`, `0x7f000001`, `2130706433`) is one here, too.

        Raises:
            StageError: `private_address`: none is left; `bad_address`: it cannot be a name.
            OSError: the name cannot be looked up.
        """
        try:
            if not 0 < port < 1 << 16:  # getaddrinfo would take the remainder
                raise ValueError
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except ValueError as error:  # UnicodeError too: a label of 64 letters
            said = one_line(host, 100)
            raise StageError("bad_address", f"{said}:{port} is no host and port") from error
        kept = self._only_permitted(host, [str(f[4][0]) for f in found])
        return [f for f in found if f[4][0] in kept]

    def _only_permitted(self, host: str, addresses: list[str]) -> list[str]:
        kept = [text for text in addresses if self._permits(text)]
        if not kept:
            said = one_line(host, 100)
            if at := ", ".join(dict.fromkeys(a for a in addresses if a != host)):
                said += f" is {at}, which"
            said += " is no public address: acquire.allow_addresses can allow it"
            raise StageError("private_address", said)
        return kept

    def _permits(self, text: str) -> bool:
        try:
            address = _inner(ipaddress.ip_address(text))
        except ValueError:
            return False
        return _is_public(address) or any(address in n for n in _networks(self.allowed))


@cache
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Returns networks from text. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _inner(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:  # RFC 6052
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NOT_PUBLIC)
