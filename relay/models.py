"""The values that pass through the house, frozen: what UIS said, what is to be sent, what a try came to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args

from msgspec import Struct

Words = Annotated[str, "a Message, where it is the relay's own (relay/i18n.py)"]

Kind = Literal["incoming", "answered", "lost", "outgoing", "finished", "recorded", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NOTIFIED_KINDS = KINDS[:5]  #: those of the five notifications of a usual set-up
CALL_KINDS = KINDS[:-1]  #: those that say something of a call

EventState = Literal["accepted", "quarantined", "discarded"]
EVENT_STATES: tuple[EventState, ...] = get_args(EventState)

DeliveryState = Literal["due", "sending", "delivered", "dead", "held", "expired", "discarded"]
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)
UNFINISHED: tuple[DeliveryState, ...] = ("due", "sending")
DEAD_LETTERS: tuple[DeliveryState, ...] = ("dead", "held")

TargetState = Literal["open", "down", "misconfigured"]  # `paused` is the operator's, and stands over these

OutcomeName = Literal["delivered", "refused", "later", "unreachable", "unclear", "failed", "misconfigured"]

ENDPOINTS = ("in", "out", "rec", "any")


class CallEvent(Struct, frozen=True, kw_only=True):
    """What one notification says. Names are UIS's own in snake_case."""

    kind: Kind
    session_id: str | None = None  #: UIS call_session_id; the same in all notifications of a call
    direction: Literal["in", "out"] | None = None
    started_at: datetime | None = None  #: aware, UTC; the sender's clock
    finished_at: datetime | None = None
    notified_at: datetime | None = None
    virtual_number: str | None = None  #: numbers: E.164 when valid, else as given
    caller: str | None = None
    callee: str | None = None
    client_number: str | None = None  #: the other party, whatever the direction
    employee_number: str | None = None
    extension: str | None = None
    employee_ids: tuple[int, ...] = ()
    contact_id: int | None = None
    total_seconds: int | None = None
    wait_seconds: int | None = None
    talk_seconds: int | None = None  #: total - wait where it was not sent; 0 for a lost call
    talk_derived: bool | None = None  #: is it total - wait, which may hold more than a talk: a menu, say
    finish_reason: str | None = None  #: UIS mnemonic, 92 are known, others come
    is_lost: bool | None = None
    lost_reason: str | None = None  #: Russian text
    lost_by: Literal["client", "operator"] | None = None
    record_link: str | None = None  #: opens without a login: a secret
    wav_records: tuple[str, ...] = ()  #: links or ids
    call_source: str | None = None
    scenario: str | None = None
    external_id: str | None = None
    notification_name: str | None = None
    mnemonic: str | None = None
    extra: dict[str, Any] = {}  #: every other key, and every value that could not be typed
    notes: tuple[str, ...] = ()  #: what was repaired or is contradictory


class ToldCall(Struct, frozen=True):
    """A call as its notifications tell it."""

    source: str
    session: str
    first_at: datetime  #: acceptance of the first of them
    events: tuple[CallEvent, ...]  #: in the order of acceptance


class Event(Struct, frozen=True, kw_only=True):
    """A notification as it stands in the store."""

    seq: int = 0  #: order of acceptance; given in the commit that stores it
    id: str
    source: str
    endpoint: str
    kind: Kind | None
    state: EventState
    session: str | None
    received_at: datetime
    raw: bytes  #: as it came, secrets masked
    edited: bytes | None = None  #: what the operator made of it
    is_query_string: bool  #: the bytes are a query string
    zone: str  #: the account's time zone when it was understood
    call: CallEvent | None
    problem: Words | None
    notes: tuple[Words, ...]
    duplicate_times: tuple[datetime, ...] = ()  #: when UIS sent the same again (the latest of them)
    duplicate_count: int = 0  #: how often
    origin: Literal["report"] | None = None  #: UIS's report of calls: no notification of it came; None: it was one

    @property
    def body(self) -> bytes:
        """What is to be read: the operator's version where there is one."""
        return self.raw if self.edited is None else self.edited


class Shard(Struct, frozen=True):
    """A part of a target's calls, which one lane delivers; all of them, unless the configuration splits them."""

    target: str
    number: int = 0
    count: int = 1  #: of the parts that the target is split into

    def part(self, whole: int) -> int:
        """Return the shard's part of what the target may have in all; at least 1."""
        each, odd = divmod(whole, self.count)
        return max(1, each + (self.number < odd))


class Delivery(Struct, frozen=True, kw_only=True):
    """One event for one target."""

    seq: int
    id: str
    event_seq: int
    event: str
    target: str
    kind: Kind
    source: str
    session: str | None
    ordered: bool  #: does it keep its place within the call?
    slot: int = 0  #: of its call: which shard it belongs to
    state: DeliveryState
    attempts: int = 0  #: tries so far, counted anew by a replay
    failures: int = 0  #: those that count against the event itself
    unclear: int = 0  #: those that may have arrived
    due_at: datetime
    age_started_at: datetime  #: acceptance or last replay, and later by pauses: `give_up_after`, `expire` count from it
    replayed: bool = False
    tried_at: datetime | None = None
    delivered_at: datetime | None = None
    reason: Words | None = None
    remote_id: str | None = None  #: what the target called it


class ClaimedDelivery(Struct, frozen=True):
    """A claimed delivery with its event: on disk it stands as `sending` under this epoch."""

    delivery: Delivery
    event: Event
    epoch: int


class Exchange(Struct, frozen=True, kw_only=True):
    """One request to a target and its answer, as people are shown them: without secrets, long bodies cut."""

    method: str
    url: str
    headers: dict[str, str]
    body: str = ""
    is_cut: bool = False  #: was the request's body longer?
    status: int | None = None  #: None: there was no answer
    phrase: str = ""  #: of the status line, where it is not the usual one
    answer_headers: dict[str, str] = {}  #: those that say something
    answer: str = ""
    took_ms: int


class Outcome(Struct, frozen=True, kw_only=True):
    """What an attempt came to, in the words that the schedule acts on."""

    name: OutcomeName
    reason: str = ""  #: for people, without secrets; the target's own words where it had any
    status: int | None = None  #: HTTP status, where there was an answer
    wait: timedelta | None = None  #: what the target asked for; never cut short
    remote_id: str | None = None
    health_hint: Literal["well", "not_asked", "perhaps_restarting"] | None = None
    """What it shows of the target, where that is not what the name says: `well`, it works, and only this event it
    does not take now; `not_asked`, no request was needed; `perhaps_restarting`, it may be misconfigured."""
    exchanges: tuple[Exchange, ...] = ()  #: what was sent and answered, in order


class Verdict(Struct, frozen=True, kw_only=True):
    """What becomes of a delivery, and why."""

    state: DeliveryState
    at: datetime  #: when it was decided: the end of the attempt, if there was one
    next_try_at: datetime | None = None  #: of a delivery that is due again
    failures: int
    unclear: int
    reason: Words | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """One try, as it stands in the store."""

    number: int
    at: datetime
    took_ms: int
    status: int | None
    outcome: OutcomeName
    reason: Words
    exchanges: tuple[Exchange, ...] | None = None  #: what was sent and answered; kept of a delivery's last attempt


ClickState = Literal["started", "refused", "misconfigured", "later", "unclear"]


class Click(Struct, frozen=True, kw_only=True):
    """A call that somebody asked for by a click, as it stands in the store: kept before UIS is asked."""

    seq: int = 0
    source: str
    external_id: str  #: names the click; at Bitrix24 the CALL_ID
    at: datetime
    phone: str  #: to be called
    employee: str  #: who clicked: his extension, or what is known of him
    target: str | None = None  #: the Bitrix24 that has registered the call under the external id
    state: ClickState = "unclear"  #: until UIS has answered, and for ever if it does not
    session: str | None = None  #: of the call that UIS has begun
    error: str | None = None  #: why not, in a word for programs
    reason: Words | None = None  #: the same for people


class TargetHealth(Struct, frozen=True, kw_only=True):
    """What a lane knows of its target, as it stands in the store."""

    state: TargetState = "open"
    reason: Words | None = None  #: why it is not open, with the target's own words
    since: datetime | None = None  #: when it stopped being open
    probes: int = 0  #: sent since then
    probe_at: datetime | None = None  #: no probe before
    retry_not_before: datetime | None = None  #: the target asked for time: no request before
    forbidden_since: datetime | None = None  #: 403 or 404 and nothing else since


class TokenPair(Struct, frozen=True, kw_only=True):
    """What OAuth gives, each pair for one use of its refresh token."""

    fingerprint: str  #: which configured token it began with: another one begins anew
    access: str
    refresh: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"TokenPair(expires_at={self.expires_at})"
