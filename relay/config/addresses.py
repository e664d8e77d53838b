"""Addresses of machines: each in one form, whichever way a socket or a proxy writes it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from relay.i18n import Message

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED_BITS = 96  # of ::ffff:0:0/96
_SITE_BITS = 64  # what one customer of a provider has at the least: he may take any address within it


def read(text: str) -> Address | None:
    """Return the address, or None for what is none; an IPv4 one mapped into IPv6 (`::ffff:192.0.2.1`) as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def read_network(text: str) -> Network:
    """Return the network, a mapped one as IPv4. Raises ValueError with an example."""
    try:
        network = ip_network(text, strict=False)
    except ValueError as exc:
        problem = Message('%(text)s is no address; write it like "195.211.122.249" or "10.0.0.0/8"', text=repr(text))
        raise ValueError(problem) from exc
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def is_loopback(text: str) -> bool:
    """Is it an address of this machine, that no other can send from?"""
    parsed = read(text)
    return parsed is not None and parsed.is_loopback


def site(text: str) -> str:
    """Return what stands for all addresses that one sender can choose among: of IPv6 the /64."""
    parsed = read(text)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), _SITE_BITS), strict=False))
    return str(parsed) if parsed is not None else text[:_SITE_BITS]


class AllowList(tuple[Network, ...]):
    """The addresses that something may come from; none: from anywhere."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self))

    def admits(self, address: str) -> bool:
        """Is the address on the list, or the list empty?"""
        if not self:
            return True
        parsed = read(address)
        return parsed is not None and any(parsed in network for network in self)
