"""The store: everything that is kept, and the only room that speaks SQL.

Knows neither Flask nor targets nor when to try again.
"""

from __future__ import annotations

from relay.store.admin_pages import Call, CallPage, DeadLetterPage, Hour
from relay.store.inbox import InsertResult, NewEvent, Route
from relay.store.operator_actions import Discard, Reacceptance, Replay, Reroute
from relay.store.queries import Selection, TargetFigures
from relay.store.queue import AttemptResult, Claim, ClaimedDelivery
from relay.store.sessions import AdminSessions
from relay.store.store import Store
from relay.store.target_state import LeaseRow, OperatorFlags
from relay.store.waits import Expiry

__all__ = [
    "AdminSessions",
    "AttemptResult",
    "Call",
    "CallPage",
    "Claim",
    "ClaimedDelivery",
    "DeadLetterPage",
    "Discard",
    "Expiry",
    "Hour",
    "InsertResult",
    "LeaseRow",
    "NewEvent",
    "OperatorFlags",
    "Reacceptance",
    "Replay",
    "Reroute",
    "Route",
    "Selection",
    "Store",
    "TargetFigures",
]
