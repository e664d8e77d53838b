"""Decides what is to be done next for a call at Bitrix24, from what UIS has said and what has been done. Pure.

The server forgets a call when it is finished, tells two calls of the same numbers apart by EXTERNAL_CALL_ID alone,
and answers a repeated `register` of the last 30 minutes with the first one's CALL_ID: so the parameters of the first
are kept, and used again when it is not known whether it arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.calls.call_result import ResultCode, call_result
from relay.config import Bitrix24Target
from relay.i18n import Message
from relay.targets.crm.workflow import NO_NUMBER, CallState, Done, Step, after_the_call, stashed

STATUS_CODES: dict[ResultCode, str] = {
    "talked": "200",
    "missed": "304",
    "busy": "486",
    "declined": "603",
    "wrong_number": "404",
    "unavailable": "480",
    "other": "OTHER",
}


# The steps, by the name of the workflow's method for each:
# register (shall the one user it is registered for see the card?), show and hide (to and from which users),
# ask (whether it was finished, and its recording attached: it was sent, and it is not known what came of it),
# finish (the result), attach (the link of the recording)


def next_step(state: CallState, target: Bitrix24Target) -> Step | Done:
    """Return the one thing to do now."""
    if state.history.client is None and not state.done.get("call_id"):
        if state.history.phase != "over":
            return Done(NO_NUMBER)
        return Done(Message("%(reason)s; Bitrix24 takes no call without one", reason=NO_NUMBER), is_refused=True)
    match state.history.phase:
        case "over":
            return _at_the_end(state, target)
        case "recorded":
            return _record(state, target)
        case "ringing":
            return _while_it_lasts(state, target)
        case _:
            return after_the_call(state.history)


def _while_it_lasts(state: CallState, target: Bitrix24Target) -> Step | Done:
    if state.done.get("finished"):
        return Done(Message("the call is finished already"))
    screens = _screens(state, target)
    if not state.done.get("call_id"):
        return Step("register", (screens == (state.user,),))
    surplus = tuple(user for user in _shown(state) if user not in screens) if state.user is not None else ()
    if surplus:
        return Step("hide", (surplus,))
    missing = tuple(user for user in screens if user not in _shown(state))
    return Step("show", (missing,)) if missing else Done()


def _screens(state: CallState, target: Bitrix24Target) -> tuple[int, ...]:
    """Return whose screens should show the card now."""
    if target.show_to == "nobody" or not state.is_fresh:
        return ()
    if state.user is not None:
        is_ringing_for_all = target.show_to == "all" and state.history.latest.kind == "incoming"
        return tuple(dict.fromkeys((state.user, *target.mapped_users))) if is_ringing_for_all else (state.user,)
    return target.mapped_users if target.show_to == "all" else ()


def _shown(state: CallState) -> Sequence[int]:
    return state.done.get("shown") or ()


def _at_the_end(state: CallState, target: Bitrix24Target) -> Step | Done:
    if state.done.get("finished"):
        return _record(state, target)
    if not state.done.get("call_id"):
        return Step("register", (False,))
    others = tuple(user for user in _shown(state) if user != state.user)
    if others:
        return Step("hide", (others,))
    if state.done.get("finishing") and not state.has_asked:
        return Step("ask")
    return Step("finish", (call_result(state.history),))


def _record(state: CallState, target: Bitrix24Target) -> Step | Done:
    """Attach one recording for each call: Bitrix24 would replace it, and a late or edited event must change nothing."""
    link = state.history.record or state.done.get("record_waits")
    if link is None:
        return Done("" if state.has_acted else Message("the call is finished already"))
    if target.attach_record == "off":
        return Done(Message("attach_record is off"))
    if not state.done.get("finished"):
        return stashed(state, link)
    if state.done.get("attaching") and not state.done.get("recorded") and not state.has_asked:
        return Step("ask")
    if not state.done.get("recorded"):
        return Step("attach", (link,))
    return Done("" if state.has_acted else Message("the call is finished, and has its recording already"))
