"""`relay missed`: which calls were missed, and whether the client was reached later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from relay.cli.options import as_json, as_moment, open_relay, print_json, say
from relay.errors import Conflict
from relay.operations import missed_records
from relay.operations.filters import refuse_unknown

_SINCE = timedelta(days=7)


@click.command()
@click.option("--source", help="Only this source.")
@click.option("--since", metavar="WHEN", help="Calls begun since: 24h, 2026-03-02; 7 days unless set.")
@click.option("--waiting", is_flag=True, help="Only clients who were not reached yet.")
@click.option("--csv", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a table for Excel.")
@as_json
def missed(source: str | None, since: str | None, waiting: bool, file: Path | None, json_lines: bool) -> None:
    """Lists missed calls, the oldest first, and whether the client was reached later."""
    relay = open_relay()
    refuse_unknown(relay, None, source)
    now, zone = relay.clock(), relay.settings.timezone
    calls = missed_records.missed(
        relay, as_moment(since, zone, "--since") or now - _SINCE, source, only_waiting=waiting
    )
    if file is not None:
        try:
            file.write_text(missed_records.as_csv(calls, zone, now), encoding="utf-8")
        except OSError as exc:
            raise Conflict("%(file)s cannot be written: %(why)s", file=file, why=exc.strerror or "") from exc
        click.echo(f"{file}: {len(calls)}")
    elif json_lines:
        print_json(map(missed_records.record, calls))
    elif calls:
        table = Table(*missed_records.heads(), box=None)
        for call in calls:
            cells = (cell or "–" for cell in missed_records.row(call, zone, now))
            table.add_row(*cells, style="red" if call.waits else "")
        Console(markup=False).print(table)
    else:
        say("no missed calls")
