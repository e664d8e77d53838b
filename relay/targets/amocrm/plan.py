"""What is to be done next for a call at amoCRM, from what UIS has said and what has been done. Pure.

amoCRM takes a call once, when it is over, and cannot be asked for it by its id: whether one that may have been
taken was, is found in the notes that it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from relay.config import AmoCrmTarget
from relay.targets.crm.call_result import ResultCode
from relay.targets.crm.history import CallHistory
from relay.targets.crm.workflow import Done, Reject, StashRecording

# 4 talked, 5 wrong number, 6 no connection, 7 busy (amocrm.ru, calls-api; the choice is that of telephony bridges)
CALL_STATUSES: dict[ResultCode, int] = {
    "talked": 4, "missed": 6, "busy": 7, "declined": 6, "wrong_number": 5, "unavailable": 6, "other": 6,
}  # fmt: skip


class PopUp(Struct, frozen=True):
    users: tuple[int, ...]


class LookUp(Struct, frozen=True):
    """Was it taken? It had been sent before, and it is not known what came of it."""


class PostCall(Struct, frozen=True):
    """To the entity with this phone."""


class PostUnsorted(Struct, frozen=True):
    """Into «Неразобранное»: nobody has this phone."""


class Accept(Struct, frozen=True):
    """What was posted into «Неразобранное» goes to a stage of the pipeline at once."""

    uid: str
    status_id: int


class PostContact(Struct, frozen=True):
    """Somebody with this phone, so that the call has a place."""


class PostNote(Struct, frozen=True):
    """The link of a recording that came after the call."""

    link: str


Step = PopUp | LookUp | PostCall | PostUnsorted | Accept | PostContact | PostNote

_NO_NUMBER = "UIS gave no number of the client"


class CallState(Struct, frozen=True, kw_only=True):
    history: CallHistory
    done: Mapping[str, Any]
    user: int | None  #: whose call it is, when that is known
    is_fresh: bool  #: has the notification come just now? A pop-up of an old one would be of no use
    looked_up: bool  #: in this attempt already
    acted: bool  #: in this attempt already
    is_unknown: bool  #: amoCRM has just said that nobody has this phone

    @property
    def is_posted(self) -> bool:
        return any(self.done.get(name) for name in ("call", "unsorted", "skipped"))


def next_step(view: CallState, target: AmoCrmTarget) -> Step | StashRecording | Done | Reject:
    """The one thing to do now."""
    match view.history.phase:
        case "over":
            return _at_the_end(view, target)
        case "recorded":
            return _record(view)
        case "ringing":
            return _while_it_rings(view, target)
        case _:
            return Done(
                "the call is over already"
                if view.history.already_ended
                else "the notification of the end is still to come"
            )


def _while_it_rings(view: CallState, target: AmoCrmTarget) -> Step | StashRecording | Done | Reject:
    if view.is_posted:
        return Done("the call is over already")
    if view.history.client is None:
        return Done(_NO_NUMBER)
    if not target.popup:
        return Done("popup is off")
    if view.done.get("popup"):
        return Done()
    if not view.is_fresh:
        return Done("too late for a pop-up")
    users = target.mapped_users if view.user is None else (view.user,)
    return PopUp(users) if users else Done("nobody is named in `users` to show a pop-up to")


def _at_the_end(view: CallState, target: AmoCrmTarget) -> Step | StashRecording | Done | Reject:
    if view.done.get("unsorted") and view.done.get("accept"):
        return Accept(view.done["unsorted"], view.done["accept"])
    if view.is_posted:
        return _record(view)
    if view.history.client is None:
        return Reject(f"{_NO_NUMBER}; amoCRM takes no call without one")
    if view.done.get("posting") and target.look_up and not view.looked_up:
        return LookUp()
    if not view.is_unknown:
        return PostCall()
    how = target.unknown_phone
    if how == "unsorted" and view.history.direction == "out":
        how = "contact"  # «Неразобранное» is for calls that came in
    if how == "skip":
        return Done("amoCRM knows nobody with this phone, and unknown_phone is skip")
    return PostUnsorted() if how == "unsorted" else PostContact()


def _record(view: CallState) -> Step | StashRecording | Done | Reject:
    """One link for each call: a late or edited event must change nothing."""
    link = view.history.record or view.done.get("record_waits")
    if link is None:
        return Done("" if view.acted or not view.is_posted else "the call is there already")
    if not view.is_posted:
        is_kept = view.done.get("record_waits") == link
        return Done("the recording waits for the end of the call") if is_kept else StashRecording(link)
    if view.done.get("linked"):
        return Done("" if view.acted else "the call is there, and has its recording already")
    if not view.done.get("entity"):
        return Done("the call has no place in amoCRM that a link could be noted at")
    if view.done.get("noting") and not view.looked_up:
        return LookUp()
    return PostNote(link)
