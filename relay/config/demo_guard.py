"""Which settings belong to trying out, and when they would swallow real calls."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from relay.config import addresses
from relay.config.schema import Settings, Target, UisApi
from relay.i18n import Message, join

SANDBOX_PORT = 8100
_SHIPPED_TOKENS = {"demo", "demo-click-to-call"}  # the shipped configuration's, known to everybody


def is_loopback(host: str) -> bool:
    return host == "localhost" or addresses.is_loopback(host.strip("[]"))


def is_sandbox(place: Target | UisApi | None) -> bool:
    """Is this target or API of UIS one of the simulators that `make run` starts?"""
    parts = urlsplit("" if place is None else place.address)
    return is_loopback(parts.hostname or "") and parts.port == SANDBOX_PORT


def demo_config_problem(settings: Settings, hosts: Iterable[str], *, on_platform: bool) -> str | None:
    """Return why these settings must not face the world, where a real call would end nowhere. `hosts`: listened on."""
    if not on_platform and all(is_loopback(host) or host.startswith(("unix:", "/")) for host in hosts):
        return None
    problems: list[str] = [
        Message("targets.%(name)s is the sandbox", name=name)
        for name, target in settings.targets.items()
        if is_sandbox(target)
    ]
    problems += [
        Message("sources.%(name)s has the shipped token", name=name)
        for name, source in settings.sources.items()
        if _SHIPPED_TOKENS & {*source.secrets, *(() if source.calls is None else source.calls.token)}
    ]
    if not problems:
        return None
    return Message(
        "%(file)s: %(problems)s: calls would be taken and end nowhere. Put your own targets and tokens there, or set "
        "RELAY_DEMO=1 to try it out all the same",
        file=settings.file,
        problems=join(*problems, by=", "),
    )
