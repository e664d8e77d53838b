"""What is to be done next for a call at Bitrix24, from what UIS has said and what has been done. Pure.

The server forgets a call when it is finished, tells two calls of the same numbers apart by EXTERNAL_CALL_ID alone,
and answers a repeated `register` of the last 30 minutes with the first one's CALL_ID: so the parameters of the first
are kept, and used again when it is not known whether it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from relay.config import Bitrix24Target
from relay.targets.crm.call_result import ResultCode, call_result
from relay.targets.crm.history import CallHistory
from relay.targets.crm.workflow import Done, Reject, StashRecording

STATUS_CODES: dict[ResultCode, str] = {
    "talked": "200", "missed": "304", "busy": "486", "declined": "603", "wrong_number": "404",
    "unavailable": "480", "other": "OTHER",
}  # fmt: skip

_NO_NUMBER = "UIS gave no number of the client"


class Register(Struct, frozen=True):
    show: bool  #: on the screen of the one user it is registered for


class Show(Struct, frozen=True):
    users: tuple[int, ...]


class Hide(Struct, frozen=True):
    users: tuple[int, ...]


class Ask(Struct, frozen=True):
    """Was it finished, was the recording attached? It had been sent before, and it is not known what came of it."""


class Finish(Struct, frozen=True):
    status_code: str
    seconds: int
    reason: str | None


class Attach(Struct, frozen=True):
    link: str


Step = Register | Show | Hide | Ask | Finish | Attach


class CallState(Struct, frozen=True, kw_only=True):
    """What there is to decide by."""

    history: CallHistory
    done: Mapping[str, Any]
    user: int | None  #: whose call it is, when that is known
    is_fresh: bool  #: has the notification come just now? A card of an old one would be of no use
    asked: bool  #: in this attempt already
    acted: bool  #: in this attempt already

    @property
    def shown(self) -> tuple[int, ...]:
        return tuple(self.done.get("shown") or ())


def call_type(history: CallHistory) -> int:
    """TYPE: an outgoing call, an incoming one, or a call-back. That those are UIS's sources for it is inferred."""
    if history.is_call_back:
        return 4
    return 2 if history.direction == "in" else 1


def next_step(view: CallState, target: Bitrix24Target) -> Step | StashRecording | Done | Reject:
    """The one thing to do now."""
    if view.history.client is None and not view.done.get("call_id"):
        is_over = view.history.phase == "over"
        return Reject(f"{_NO_NUMBER}; Bitrix24 takes no call without one") if is_over else Done(_NO_NUMBER)
    match view.history.phase:
        case "over":
            return _at_the_end(view, target)
        case "recorded":
            return _record(view, target)
        case "ringing":
            return _while_it_lasts(view, target)
        case _:
            return Done(
                "the call is over already"
                if view.history.already_ended
                else "the notification of the end is still to come"
            )


def _while_it_lasts(view: CallState, target: Bitrix24Target) -> Step | StashRecording | Done | Reject:
    if view.done.get("finished"):
        return Done("the call is finished already")
    wanted = _screens(view, target)
    if not view.done.get("call_id"):
        return Register(show=wanted == (view.user,))
    surplus = tuple(user for user in view.shown if user not in wanted) if view.user is not None else ()
    if surplus:
        return Hide(surplus)
    missing = tuple(user for user in wanted if user not in view.shown)
    return Show(missing) if missing else Done()


def _screens(view: CallState, target: Bitrix24Target) -> tuple[int, ...]:
    """Whose screens should show the card now."""
    if target.show_to == "nobody" or not view.is_fresh:
        return ()
    if view.user is not None:
        is_ringing_for_all = target.show_to == "all" and view.history.present.kind == "incoming"
        return _with(view.user, target.mapped_users) if is_ringing_for_all else (view.user,)
    return target.mapped_users if target.show_to == "all" else ()


def _with(user: int, others: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((user, *others)))


def _at_the_end(view: CallState, target: Bitrix24Target) -> Step | StashRecording | Done | Reject:
    if view.done.get("finished"):
        return _record(view, target)
    if not view.done.get("call_id"):
        return Register(show=False)
    others = tuple(user for user in view.shown if user != view.user)
    if others:
        return Hide(others)
    if view.done.get("finishing") and not view.asked:
        return Ask()
    end = call_result(view.history)
    return Finish(STATUS_CODES[end.result], end.seconds, end.reason)


def _record(view: CallState, target: Bitrix24Target) -> Step | StashRecording | Done | Reject:
    """One recording for each call: Bitrix24 would replace it, and a late or edited event must change nothing."""
    link = view.history.record or view.done.get("record_waits")
    if link is None:
        return Done("" if view.acted else "the call is finished already")
    if target.attach_record == "off":
        return Done("attach_record is off")
    if not view.done.get("finished"):
        is_kept = view.done.get("record_waits") == link
        return Done("the recording waits for the end of the call") if is_kept else StashRecording(link)
    if view.done.get("attaching") and not view.done.get("recorded") and not view.asked:
        return Ask()
    if not view.done.get("recorded"):
        return Attach(link)
    return Done("" if view.acted else "the call is finished, and has its recording already")
