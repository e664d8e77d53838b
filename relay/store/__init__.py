"""The store: everything that is kept, and the only room that speaks SQL. One repository for each theme.

Knows neither Flask nor targets nor when to try again.
"""

from __future__ import annotations

from relay.models import ClaimedDelivery
from relay.store.admin_pages import CallPage, CallSearch, DeadLetterPage, Hours, Pages, Place, ReasonCount, StoredCall
from relay.store.alert_state import AlertStateStore
from relay.store.call_progress import Calls
from relay.store.clicks import Clicks
from relay.store.engine import Database
from relay.store.erasure import Erased, Erasure, Traces
from relay.store.group_commit import GroupCommit
from relay.store.inbox import AddsTo, Inbox, InsertResult, NewEvent, Route, slot
from relay.store.leases import LeaseRow, Leases, LeaseWatch
from relay.store.operator_actions import Discard, OperatorActions, Reacceptance, Replay, Reroute
from relay.store.queries import CallCounts, Queries, Selection, TargetFigures
from relay.store.queue import AttemptResult, Claim, DeliveryQueue, LaneView, Probe
from relay.store.reports import KnownCall, Reports, ReportState
from relay.store.sessions import AdminSessions
from relay.store.target_state import OperatorFlags, Targets
from relay.store.tokens import TokenStore
from relay.store.waits import Expiry, Waits

__all__ = [
    "AddsTo",
    "AdminSessions",
    "AttemptResult",
    "CallCounts",
    "CallPage",
    "CallSearch",
    "Claim",
    "ClaimedDelivery",
    "DeadLetterPage",
    "Discard",
    "Erased",
    "Expiry",
    "Hours",
    "InsertResult",
    "KnownCall",
    "LaneView",
    "LeaseRow",
    "LeaseWatch",
    "NewEvent",
    "OperatorFlags",
    "Place",
    "Probe",
    "Reacceptance",
    "ReasonCount",
    "Replay",
    "ReportState",
    "Reroute",
    "Route",
    "Selection",
    "Store",
    "StoredCall",
    "TargetFigures",
    "Traces",
    "slot",
]


def open_database(url: str) -> Database:
    """Raises StoreError when the engine's driver is not installed."""
    if url.startswith("sqlite:///"):
        from relay.store.sqlite.database import SqliteDatabase

        return SqliteDatabase(url)
    from relay.store.postgres.database import PostgresDatabase  # psycopg need not be installed for SQLite

    return PostgresDatabase(url)


class Store:
    """Durable changes return after the commit that holds them. All raise StoreError when it cannot be made."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        commits = GroupCommit(self.database)
        self.inbox = Inbox(self.database, commits)
        self.queue = DeliveryQueue(self.database, commits)
        self.calls = Calls(self.database, commits)
        self.waits = Waits(self.database)
        self.leases = Leases(self.database)
        self.targets = Targets(self.database)
        self.operator = OperatorActions(self.database)
        self.erasure = Erasure(self.database)
        self.queries = Queries(self.database)
        self.pages = Pages(self.database)
        self.reports = Reports(self.database)
        self.clicks = Clicks(self.database)
        self.sessions = AdminSessions(self.database)
        self.alert_state = AlertStateStore(self.database)

    def token_store(self, target: str) -> TokenStore:
        return TokenStore(self.database, target)

    def close(self) -> None:
        self.database.close()
