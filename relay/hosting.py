"""Decides what a hosting means: where to listen, and whether the disk of the database outlives a restart. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from relay.i18n import Message

_PLATFORMS = ("DYNO", "AMVERA")  # Heroku and its kin (Dokku), Amvera: a router of theirs stands in front
_SWITCHES = {
    "RELAY_DISPATCH": ("on", "off"),
    "RELAY_PIN": ("on", "off"),
    "RELAY_LANG": ("ru", "en"),
    "LOG_LEVEL": ("info", "debug", "warning", "error", "critical"),
    "LOG_FORMAT": ("text", "json"),
}
_NUMBERS = {"PORT": 65535, "WEB_CONCURRENCY": 64}
_LAYERED = ("overlay", "aufs", "fuse.fuse-overlayfs")  # the file system of a container itself
_IN_MEMORY = ("tmpfs", "ramfs")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    point: PurePath
    kind: str  #: overlay, ext4, …


def on_platform(environ: Mapping[str, str]) -> bool:
    """Does a platform run this process, with its router as the only way in?"""
    return any(environ.get(name) for name in _PLATFORMS)


def bind_address(environ: Mapping[str, str]) -> str:
    """Return what to listen on, as gunicorn has it: unless set this machine alone, behind a router everywhere."""
    host = environ.get("RELAY_LISTEN") or ("0.0.0.0" if on_platform(environ) else "127.0.0.1")  # noqa: S104  # only behind a router
    if host.startswith("unix:"):
        return host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{environ.get('PORT') or '8000'}"


def listen_problem(environ: Mapping[str, str]) -> str | None:
    """Return what is wrong with RELAY_LISTEN, or None. Without this gunicorn would take the port for the host's end."""
    host = environ.get("RELAY_LISTEN", "")
    if host.startswith("unix:") or (host.count(":") != 1 and "]:" not in host):
        return None
    return Message(
        "RELAY_LISTEN is %(host)s; set it to the address alone, like 0.0.0.0, and the port as PORT", host=repr(host)
    )


def environment_problem(environ: Mapping[str, str]) -> str | None:
    """Return what is wrong with the variables that are the relay's own, or None."""
    for name, words in _SWITCHES.items():
        if environ.get(name) and environ[name].lower() not in words:
            text = Message("%(name)s is %(value)s; set it to one of %(words)s")
            return text.fill(name=name, value=repr(environ[name]), words=", ".join(words))
    for name, most in _NUMBERS.items():
        value = environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= most):
            text = Message("%(name)s is %(value)s; set it to a number from 1 to %(most)s")
            return text.fill(name=name, value=repr(value), most=most)
    return listen_problem(environ)


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Return the mounts of Linux's /proc/self/mountinfo, in its order: a later one hides an earlier one."""
    mounts = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 4 and after:
            point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
            mounts.append(Mount(PurePath(point), after.split()[0]))
    return mounts


def disk_problem(environ: Mapping[str, str], database: PurePath, mounts: list[Mount]) -> str | None:
    """Return why a SQLite database will be lost at some restart, or None. `database`: its resolved path."""
    holding = [mount for mount in mounts if database.is_relative_to(mount.point)]
    # the deepest, and of the same depth the last
    mount = max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)
    if environ.get("DYNO") and "DATABASE_URL" not in environ:
        return Message(
            "DYNO is set and the store is a file: on Heroku proper it is lost at every restart, with all notifications "
            "not yet delivered; use a platform with a persistent disk (Dokku with a volume)"
        )
    if mount is None:
        return None
    is_image = mount.kind in _LAYERED or (on_platform(environ) and mount.point == PurePath("/"))
    if is_image and environ.get("AMVERA"):
        return Message(
            "%(database)s is not in the application's persistent storage: it is lost at the next build; set "
            "persistenceMount: /data in amvera.yml, and DATABASE_URL=sqlite:////data/relay.db",
            database=database,
        )
    if is_image:
        return Message(
            "%(database)s is on the container's own file system: it is lost with the container, at the latest when a "
            "new version is deployed; mount a volume (docker run -v relay:/data), and set "
            "DATABASE_URL=sqlite:////data/relay.db; where the hosting has no volumes, use a server of your own",
            database=database,
        )
    if mount.kind in _IN_MEMORY:
        text = Message("%(database)s is in memory (%(kind)s): it is lost when the machine or the container stops")
        return text.fill(database=database, kind=mount.kind)
    return None
