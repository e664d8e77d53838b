"""Fetches a call's recording, for targets that want the file and not the link. The link opens without a login.

The link is what a notification said: so it is followed only to the hosts of the setting, and there only to public
addresses unless the operator has named the host himself.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urljoin

from msgspec.structs import replace
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url  # what sends reads the link with these too

from relay.config import UIS_HOSTS, Bitrix24Target
from relay.i18n import Message
from relay.models import Outcome
from relay.targets.error_text import Mask, secrets_of
from relay.targets.http_client import Client, NoAnswer, Response, TargetError

_MAX = 25 * 1024 * 1024  # an hour and a half as UIS records; three times that is in memory while it is sent
_HOPS = 3
_NAME_MAX = 253
NO_MASK = Mask()  # a file is no text: what looks like a secret in it is none
_WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_MOVED = (301, 302, 303, 307, 308)
_TRANSLATED = IPv6Network("64:ff9b::/96")  # an IPv4 address behind NAT64


def as_file(link: str, name: str, target: Bitrix24Target) -> dict[str, Any]:
    """Return FILENAME and FILE_CONTENT. Raises TargetError, and none of it is the target's fault."""
    place = _Place(target)
    response, path = place.fetch(link)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status != 200 or kind.startswith("text/") or not response.body:
        raise _not_fetched(f"{response.status} {kind}")
    if len(response.body) > _MAX:
        reason = Message("the recording is longer than %(most)s MB", most=_MAX >> 20)
        raise TargetError(Outcome(name="refused", reason=reason, health_hint="well"))
    # without a length or chunks the connection's end ends the file, whoever has cut it
    tells_its_end = not response.headers.keys().isdisjoint(("content-length", "transfer-encoding"))
    if not response.is_whole or not tells_its_end:
        raise _not_fetched(Message("it broke off after %(count)s bytes", count=len(response.body)))
    is_wav = kind in _WAV or path.lower().endswith(".wav")
    return {
        "FILENAME": f"{name}.{'wav' if is_wav else 'mp3'}",
        "FILE_CONTENT": b64encode(response.body).decode("ascii"),
    }


class _Place:
    """Knows where recordings may lie, and fetches from there."""

    def __init__(self, target: Bitrix24Target) -> None:
        self._hosts = tuple(host.lower() for host in target.record_hosts)
        # that the target's own certificate is not looked at says nothing of these hosts
        self._settings = replace(target, verify_tls=True, ca_file=target.record_ca_file)
        self._mask = Mask(secrets_of(target))

    def fetch(self, link: str) -> tuple[Response, str]:
        """Return the last answer, and the path that it was given under. Raises TargetError."""
        with closing(Client(self._settings, mask=NO_MASK, admit=self._admit)) as client:
            for _ in range(_HOPS):
                path = self._admitted(link).path or ""
                try:
                    response = client.request("GET", link, {"Accept": "audio/*"}, body_max=_MAX + 1)
                except NoAnswer as exc:
                    raise _not_fetched(self._mask.text(exc.outcome.reason)) from exc
                if response.status not in _MOVED:
                    break
                link = urljoin(link, response.headers.get("location", ""))
        return response, path

    def _admitted(self, link: str) -> Url:
        """Return the link, when its host is one of the setting's. Raises TargetError."""
        try:
            parts = parse_url(link)
        except LocationParseError as exc:
            raise _forbidden(Message("the link is no address")) from exc
        host = (parts.host or "").strip("[]")
        if parts.scheme not in ("http", "https") or self._named(host) is None:
            place = f"{parts.scheme}://{host[:_NAME_MAX]}"
            raise _forbidden(Message("it lies at %(place)s, and record_hosts does not name that host", place=place))
        return parts

    def _named(self, host: str) -> str | None:
        """Return the entry of the setting that a host falls under: the most particular one."""
        host = host.lower().rstrip(".")
        is_name = not host.rpartition(".")[2].isdigit()  # nothing lies below an address
        entries = [entry for entry in self._hosts if host == entry or (is_name and host.endswith(f".{entry}"))]
        return max(entries, key=len, default=None)

    def _admit(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        """Return those of a host's addresses that may be connected to. Raises TargetError."""
        named = self._named(host)
        if named is not None and named not in UIS_HOSTS:
            return addresses
        public = [address for address in addresses if is_public(address)]
        if not public or named is None:
            raise _forbidden(
                Message(
                    "%(host)s has no public address here; if that is right, name the host in record_hosts", host=host
                )
            )
        return public


def is_public(address: str) -> bool:
    """Does it lie on the open internet, also when it is an IPv4 address in IPv6's clothes?"""
    parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        within = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if parsed in _TRANSLATED:
            within = IPv4Address(int(parsed) & 0xFFFFFFFF)
        parsed = within or parsed
    return parsed.is_global and not parsed.is_multicast


def _forbidden(why: str) -> TargetError:
    return _not_fetched(Message("not allowed: %(why)s", why=why))


def _not_fetched(why: str) -> TargetError:
    reason = Message("the recording cannot be fetched from UIS: %(why)s", why=why)
    return TargetError(Outcome(name="failed", reason=reason, health_hint="well"))
