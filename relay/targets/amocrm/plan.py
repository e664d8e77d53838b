"""Decides what is to be done next for a call at amoCRM, from what UIS has said and what has been done. Pure.

amoCRM takes a call once, when it is over, cannot be asked for it by its id, and does not recognise a repeated `uniq`:
whether one that may have been taken was, is found in the notes that it leaves.
"""

from __future__ import annotations

from relay.calls.call_result import ResultCode
from relay.config import AmoCrmTarget
from relay.i18n import Message
from relay.targets.crm.workflow import NO_NUMBER, CallState, Done, Step, after_the_call, stashed

# 4 talked, 5 wrong number, 6 no connection, 7 busy (amocrm.ru, calls-api; the choice is that of telephony bridges)
CALL_STATUSES: dict[ResultCode, int] = {
    "talked": 4,
    "missed": 6,
    "busy": 7,
    "declined": 6,
    "wrong_number": 5,
    "unavailable": 6,
    "other": 6,
}


# The steps, by the name of the workflow's method for each:
# pop_up (to which users), look_up (was it taken? it had been sent before, and it is not known what came of it),
# post_call (to the entity with this phone), post_unsorted (into «Неразобранное»: nobody has this phone),
# accept (what was posted there into a stage of the pipeline: its uid, the stage), post_contact (somebody with this
# phone, so that the call has a place), post_note (the link of a recording that came after the call)


def next_step(state: CallState, target: AmoCrmTarget, *, is_unknown: bool) -> Step | Done:
    """Return the one thing to do now. `is_unknown`: amoCRM has just said that nobody has this phone."""
    match state.history.phase:
        case "over":
            return _at_the_end(state, target, is_unknown=is_unknown)
        case "recorded":
            return _record(state)
        case "ringing":
            return _while_it_rings(state, target)
        case _:
            return after_the_call(state.history)


def _while_it_rings(state: CallState, target: AmoCrmTarget) -> Step | Done:
    if is_posted(state):
        return Done(Message("the call is over already"))
    if state.history.client is None:
        return Done(NO_NUMBER)
    if not target.popup:
        return Done(Message("popup is off"))
    if state.done.get("popup"):
        return Done()
    if not state.is_fresh:
        return Done(Message("too late for a pop-up"))
    users = target.mapped_users if state.user is None else (state.user,)
    return Step("pop_up", (users,)) if users else Done(Message("nobody is named in `users` to show a pop-up to"))


def _at_the_end(state: CallState, target: AmoCrmTarget, *, is_unknown: bool) -> Step | Done:
    if state.done.get("unsorted") and state.done.get("accept"):
        return Step("accept", (state.done["unsorted"], state.done["accept"]))
    if is_posted(state):
        return _record(state)
    if state.history.client is None:
        return Done(Message("%(reason)s; amoCRM takes no call without one", reason=NO_NUMBER), is_refused=True)
    if state.done.get("posting") and target.look_up and not state.has_asked:
        return Step("look_up")
    if not is_unknown:
        return Step("post_call")
    how = target.unknown_phone
    if how == "unsorted" and state.history.direction == "out":
        how = "contact"  # «Неразобранное» is for calls that came in
    if how == "skip":
        return Done(Message("amoCRM knows nobody with this phone, and unknown_phone is skip"))
    return Step("post_unsorted") if how == "unsorted" else Step("post_contact")


def is_posted(state: CallState) -> bool:
    """Is the call there, or left out for good?"""
    return any(state.done.get(name) for name in ("call", "unsorted", "skipped"))


def _record(state: CallState) -> Step | Done:
    """Note one link for each call: a late or edited event must change nothing."""
    link = state.history.record or state.done.get("record_waits")
    if link is None:
        return Done("" if state.has_acted or not is_posted(state) else Message("the call is there already"))
    if not is_posted(state):
        return stashed(state, link)
    if state.done.get("linked"):
        return Done("" if state.has_acted else Message("the call is there, and has its recording already"))
    if not state.done.get("entity"):
        return Done(Message("the call has no place in amoCRM that a link could be noted at"))
    if state.done.get("noting") and not state.has_asked:
        return Step("look_up")
    return Step("post_note", (link,))
