"""The missed calls, for people and for their tables: what became of each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from relay.calls.missed_calls import MissedCall, missed_calls
from relay.i18n import age, gettext, local, moment, ngettext
from relay.operations.serializers import JSONDict
from relay.wiring import Relay

# a spreadsheet would reckon with what begins so, or, if it splits at commas, what stands behind one; numbers may
_FORMULA = re.compile(r"(?:^|[,\n\r])(?:[=@\t\r-]|\+(?!\d+$))")


def missed(relay: Relay, since: datetime, source: str | None = None, *, only_waiting: bool = False) -> list[MissedCall]:
    """Return what was missed since then, in the order the calls began."""
    calls = missed_calls(relay.store.queries.told_calls(since))
    return [call for call in calls if source in (None, call.source) and (call.waits or not only_waiting)]


def became(call: MissedCall, now: datetime) -> str:
    """Return in a few words whether the client was reached."""
    if call.reached is not None:
        after = age(call.reached.at - call.began_at)
        if call.reached.is_call_back:
            return gettext("called back after %(age)s", age=after)
        return gettext("called again after %(age)s, and was answered", age=after)
    if call.client is None:
        return gettext("withheld number: nobody can call back")
    waits = gettext("has waited for %(age)s", age=age(now - call.began_at))
    if not call.tries:
        return waits
    tries = ngettext("called %(count)s time in vain", "called %(count)s times in vain", call.tries)
    return f"{waits}; {tries}"


def heads() -> tuple[str, ...]:
    """Return the heads of the columns that every table of missed calls begins with."""
    return gettext("Began"), gettext("Client"), gettext("Line"), gettext("Employee"), gettext("What became of it")


def row(call: MissedCall, zone: ZoneInfo, now: datetime) -> tuple[str, ...]:
    """Return what stands under them."""
    client, line, employee = call.client or "", call.line or "", call.employee or ""
    return local(call.began_at, zone), client, line, employee, became(call, now)


def record(call: MissedCall) -> JSONDict:
    reached = call.reached
    return {
        "source": call.source,
        "session": call.session,
        "began_at": call.began_at,
        "client": call.client,
        "line": call.line,
        "employee": call.employee,
        "tries": call.tries,
        "reached_at": reached and reached.at,
        "reached_by": reached and reached.employee,
        "reached_in": reached and reached.session,
        "called_back": reached is not None and reached.is_call_back,
    }


def as_csv(calls: Iterable[MissedCall], zone_of: Callable[[str], ZoneInfo], now: datetime) -> str:
    """Return a table that a Russian Excel opens by a double click: semicolons, a byte order mark; times that it can
    sort, and by which clock they are in a column of its own.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL)
    more = (gettext("Reached at"), gettext("Reached by"), gettext("Source"), gettext("Call"), gettext("Time zone"))
    writer.writerow((*heads(), *more))
    for call in calls:
        zone = zone_of(call.source)
        reached = (moment(call.reached.at, zone), call.reached.employee or "") if call.reached else ("", "")
        cells = (moment(call.began_at, zone), *row(call, zone, now)[1:], *reached, call.source, call.session, zone.key)
        writer.writerow([f"'{cell}" if _FORMULA.search(cell) else cell for cell in cells])
    return "\ufeff" + text.getvalue()
