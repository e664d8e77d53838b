"""Taking notifications: how many a second, and what one of them waits."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from bench import load, servers
from bench.figures import Figures, wait_until
from relay.sandbox import uis
from relay.sandbox.server import Sandbox
from relay.sandbox.uis_account import UisAccount, report_row
from relay.store import ReportState, Store

_REPORT = """[sources.trade.report]
key = "sandbox-key"
url = "{url}"
every = "10s"
"""


def ingest(found: Figures) -> None:
    """Requests a second, against the same gunicorn and Flask endpoint storing nothing."""
    rounds, seconds = (2, 2) if found.quick else (5, 5)
    for dispatch in ("off", "on"):
        with (
            servers.sink() as sink,
            servers.relay(found.folder / f"ingest-{dispatch}", [sink.url], RELAY_DISPATCH=dispatch) as relay,
            servers.baseline("silent") as silent,
        ):
            pairs = [(saturate(found, relay.url, seconds), saturate(found, silent.url, seconds)) for _ in range(rounds)]
        bar = ">= 0.80" if dispatch == "off" else "delivering meanwhile"
        found.add_ratio(f"ingest, durable / storing nothing, dispatch {dispatch}", pairs, "a second", bar)


def saturate(found: Figures, url: str, seconds: float) -> float:
    return load.saturate(url, found.folder, found.next_numbers(1_000_000), seconds)


def one(found: Figures) -> None:
    """What the relay adds to a single request, at the median."""
    count = 60 if found.quick else 200
    with (
        servers.sink() as sink,
        servers.relay(found.folder / "one", [sink.url]) as relay,
        servers.baseline("silent") as silent,
    ):
        added = []
        for _ in range(2 if found.quick else 5):
            ours, theirs = (answer_ms(found, url, count) for url in (relay.url, silent.url))
            added.append(ours - theirs)
    found.add("one request at a time, added at the median", f"{statistics.median(added):.2f} ms", "<= 0.8 ms")


def answer_ms(found: Figures, url: str, count: int) -> float:
    answered = load.one_at_a_time(url, found.next_numbers(count), count, 50)
    return load.median_ms([done - sent for _, sent, done in answered])


def report(found: Figures) -> None:
    """What it costs to compare 2,000 calls of the last hours with the store every 10 s (as shipped: every 5 min).

    All that is posted are ends of calls: each is looked up among those that the report brought.
    """
    calls, rounds, seconds = (200, 2, 2) if found.quick else (2000, 7, 8)
    ago, zone = datetime.now(UTC) - timedelta(days=2), ZoneInfo("Europe/Moscow")
    account = UisAccount(minute_limit=1_000_000, day_limit=1_000_000)
    account.add(report_row(call.values) for call in uis.calls(calls, datetime.now(UTC) - timedelta(hours=3), zone))
    systems = Sandbox(uis=account).start()
    lines = _REPORT.format(url=systems.data_api_url)
    with servers.sink() as sink:
        with servers.relay(found.folder / "reading", [sink.url]):
            pass  # creates the database
        store = Store(f"sqlite:///{found.folder / 'reading' / 'relay.db'}")
        store.reports.save(ReportState(source="trade", began_at=ago, checked_to=ago, ran_at=ago))
        store.close()
        with (
            servers.relay(found.folder / "reading", [sink.url], source=lines) as reading,
            servers.relay(found.folder / "alone", [sink.url]) as alone,
        ):
            wait_until(lambda: servers.call(f"{sink.url}/_stats")["total"] >= calls, 60)
            pairs = [
                (saturate(found, reading.url, seconds), saturate(found, alone.url, seconds)) for _ in range(rounds)
            ]
            sizes = [relay.proportional_set_size_mb() for relay in (reading, alone)]
    systems.close()
    found.add_ratio("ingest, UIS's report read meanwhile / not read", pairs, "a second", ">= 0.98")
    found.add("memory, UIS's report read / not read", "{:.0f} / {:.0f} MB".format(*sizes), "<= 10 MB more")
