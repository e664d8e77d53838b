"""Where the relay listens, and whether its disk is thrown away, on each kind of hosting."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from relay import hosting
from relay.hosting import Mount

SERVER = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw
31 27 0:25 / /run rw,nosuid - tmpfs tmpfs rw
33 27 8:1 / /mnt/two\040words rw master:2 propagate_from:3 - xfs /dev/sda1 rw
"""
CONTAINER = """655 600 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d
656 655 0:63 / /proc rw,nosuid - proc proc rw
"""
VOLUME = "671 655 259:1 /var/lib/docker/volumes/relay/_data /data rw,relatime - ext4 /dev/nvme0n1p1 rw\n"
HIDDEN = "672 671 0:70 / /data rw,relatime - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("environ", "bound"),
    [
        ({}, "127.0.0.1:8000"),
        ({"PORT": "5000"}, "127.0.0.1:5000"),
        ({"PORT": ""}, "127.0.0.1:8000"),
        ({"DYNO": "web.1", "PORT": "5000"}, "0.0.0.0:5000"),
        ({"AMVERA": "1", "PORT": "80"}, "0.0.0.0:80"),
        ({"RELAY_LISTEN": "0.0.0.0"}, "0.0.0.0:8000"),
        ({"RELAY_LISTEN": "localhost", "PORT": "1"}, "localhost:1"),
        ({"RELAY_LISTEN": "127.0.0.1", "DYNO": "web.1"}, "127.0.0.1:8000"),
        ({"RELAY_LISTEN": "::"}, "[::]:8000"),
        ({"RELAY_LISTEN": "[::1]"}, "[::1]:8000"),
        ({"RELAY_LISTEN": "unix:/run/relay.sock", "PORT": "1"}, "unix:/run/relay.sock"),
    ],
)
def test_it_listens_where_it_is_told_and_else_where_it_is_safe(environ: dict[str, str], bound: str) -> None:
    assert hosting.bind_address(environ) == bound
    assert hosting.listen_problem(environ) is None


@pytest.mark.parametrize("host", ["0.0.0.0:8000", "localhost:80", "[::]:8000"])
def test_a_port_in_the_address_is_refused(host: str) -> None:
    assert "PORT" in (hosting.listen_problem({"RELAY_LISTEN": host}) or "")


def test_mounts_are_read_with_their_kinds() -> None:
    assert hosting.parse_mounts(SERVER) == [
        Mount(PurePath("/proc"), "proc"),
        Mount(PurePath("/"), "ext4"),
        Mount(PurePath("/run"), "tmpfs"),
        Mount(PurePath("/mnt/two words"), "xfs"),
    ]
    assert hosting.parse_mounts("") == hosting.parse_mounts("no table at all\n") == []


@pytest.mark.parametrize(
    ("environ", "database", "mountinfo", "says"),
    [
        ({}, "/opt/relay/relay.db", SERVER, None),
        ({}, "/mnt/two words/relay.db", SERVER, None),
        ({}, "/opt/relay/relay.db", "", None),  # no Linux: nobody knows
        ({}, "/run/relay.db", SERVER, "in memory (tmpfs)"),
        ({}, "/app/relay.db", CONTAINER, "docker run -v"),
        ({}, "/data/relay.db", CONTAINER, "docker run -v"),  # the folder is there, the volume is not
        ({}, "/data/relay.db", CONTAINER + VOLUME, None),
        ({}, "/database/relay.db", CONTAINER + VOLUME, "docker run -v"),  # begins alike, lies elsewhere
        ({}, "/data/relay.db", CONTAINER + VOLUME + HIDDEN, "in memory (tmpfs)"),
        ({"DYNO": "web.1"}, "/app/relay.db", SERVER, "on Heroku proper"),
        ({"DYNO": "web.1", "DATABASE_URL": "sqlite:////app/relay.db"}, "/app/relay.db", SERVER, "docker run -v"),
        ({"DYNO": "web.1", "DATABASE_URL": "sqlite:////data/relay.db"}, "/data/relay.db", CONTAINER + VOLUME, None),
        ({"AMVERA": "1"}, "/app/relay.db", CONTAINER, "persistenceMount"),
        ({"AMVERA": "1"}, "/app/relay.db", SERVER, "persistenceMount"),
        ({"AMVERA": "1"}, "/data/relay.db", CONTAINER + VOLUME, None),
    ],
)
def test_a_disk_that_is_thrown_away_is_seen(
    environ: dict[str, str], database: str, mountinfo: str, says: str | None
) -> None:
    problem = hosting.disk_problem(environ, PurePath(database), hosting.parse_mounts(mountinfo))
    assert problem is None if says is None else says in (problem or "")
