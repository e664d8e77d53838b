"""The store: everything that is kept, and the only room that speaks SQL.

Knows neither Flask nor targets nor when to try again.
"""

from __future__ import annotations

from relay.store.changes import Admission, Replay
from relay.store.notifications import Consignee, NewEvent, Stored
from relay.store.queries import Selection, TargetFigures
from relay.store.store import Store
from relay.store.work import Claim, Job, Result

__all__ = [
    "Admission",
    "Claim",
    "Consignee",
    "Job",
    "NewEvent",
    "Replay",
    "Result",
    "Selection",
    "Store",
    "Stored",
    "TargetFigures",
]
