"""What is to be done next for a call at amoCRM, from what UIS has said and what has been done. Pure.

amoCRM takes a call once, when it is over, and cannot be asked for it by its id: whether one that may have been
taken was, is found in the notes that it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from relay.settings import AmoCrmTarget
from relay.targets.endings import Result
from relay.targets.journey import Keep, Nothing, Refuse
from relay.targets.story import Story

# 4 talked, 5 wrong number, 6 no connection, 7 busy (amocrm.ru, calls-api; the choice is that of telephony bridges)
CALL_STATUSES: dict[Result, int] = {
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


class View(Struct, frozen=True, kw_only=True):
    story: Story
    done: Mapping[str, Any]
    user: int | None  #: whose call it is, when that is known
    is_fresh: bool  #: has the notification come just now? A pop-up of an old one would be of no use
    looked_up: bool  #: in this attempt already
    acted: bool  #: in this attempt already
    is_unknown: bool  #: amoCRM has just said that nobody has this phone

    @property
    def is_posted(self) -> bool:
        return any(self.done.get(name) for name in ("call", "unsorted", "skipped"))


def next_step(view: View, target: AmoCrmTarget) -> Step | Keep | Nothing | Refuse:
    """The one thing to do now."""
    match view.story.stage:
        case "over":
            return _at_the_end(view, target)
        case "recorded":
            return _record(view)
        case "ringing":
            return _while_it_rings(view, target)
        case _:
            return Nothing(
                "the call is over already" if view.story.was_over else "the notification of the end is still to come"
            )


def _while_it_rings(view: View, target: AmoCrmTarget) -> Step | Keep | Nothing | Refuse:
    if view.is_posted:
        return Nothing("the call is over already")
    if view.story.client is None:
        return Nothing(_NO_NUMBER)
    if not target.popup:
        return Nothing("popup is off")
    if view.done.get("popup"):
        return Nothing()
    if not view.is_fresh:
        return Nothing("too late for a pop-up")
    users = target.mapped_users if view.user is None else (view.user,)
    return PopUp(users) if users else Nothing("nobody is named in `users` to show a pop-up to")


def _at_the_end(view: View, target: AmoCrmTarget) -> Step | Keep | Nothing | Refuse:
    if view.done.get("unsorted") and view.done.get("accept"):
        return Accept(view.done["unsorted"], view.done["accept"])
    if view.is_posted:
        return _record(view)
    if view.story.client is None:
        return Refuse(f"{_NO_NUMBER}; amoCRM takes no call without one")
    if view.done.get("posting") and target.look_up and not view.looked_up:
        return LookUp()
    if not view.is_unknown:
        return PostCall()
    how = target.unknown_phone
    if how == "unsorted" and view.story.direction == "out":
        how = "contact"  # «Неразобранное» is for calls that came in
    if how == "skip":
        return Nothing("amoCRM knows nobody with this phone, and unknown_phone is skip")
    return PostUnsorted() if how == "unsorted" else PostContact()


def _record(view: View) -> Step | Keep | Nothing | Refuse:
    """One link for each call: a late or edited event must change nothing."""
    link = view.story.record or view.done.get("record_waits")
    if link is None:
        return Nothing("" if view.acted or not view.is_posted else "the call is there already")
    if not view.is_posted:
        is_kept = view.done.get("record_waits") == link
        return Nothing("the recording waits for the end of the call") if is_kept else Keep(link)
    if view.done.get("linked"):
        return Nothing("" if view.acted else "the call is there, and has its recording already")
    if not view.done.get("entity"):
        return Nothing("the call has no place in amoCRM that a link could be noted at")
    if view.done.get("noting") and not view.looked_up:
        return LookUp()
    return PostNote(link)
