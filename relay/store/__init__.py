"""The store: everything that is kept, and the only room that speaks SQL.

Knows neither Flask nor targets nor when to try again.
"""

from __future__ import annotations

from relay.store.changes import Admission, Discard, Replay
from relay.store.health import Orders
from relay.store.leases import LeaseRow
from relay.store.notifications import Consignee, NewEvent, Stored
from relay.store.pages import Call, Calls, Hour, Letters
from relay.store.queries import Selection, TargetFigures
from relay.store.sessions import AdminSessions
from relay.store.store import Store
from relay.store.waiting import Ending, Move
from relay.store.work import Claim, Job, Result

__all__ = [
    "AdminSessions",
    "Admission",
    "Call",
    "Calls",
    "Claim",
    "Consignee",
    "Discard",
    "Ending",
    "Hour",
    "Job",
    "LeaseRow",
    "Letters",
    "Move",
    "NewEvent",
    "Orders",
    "Replay",
    "Result",
    "Selection",
    "Store",
    "Stored",
    "TargetFigures",
]
