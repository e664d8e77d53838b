"""A call as UIS has told it so far: who, when, whose, and how it ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from relay.config import CrmTarget
from relay.models import CallEvent

_CALL_BACKS = ("sitephone", "callapi")
Phase = Literal["ringing", "over", "recorded", "nothing"]


class CallHistory(Struct, frozen=True):
    """What the notifications up to the present one say together; the present one is the last."""

    said: tuple[CallEvent, ...]

    @property
    def present(self) -> CallEvent:
        return self.said[-1]

    @property
    def phase(self) -> Phase:
        """What the present notification means for the call."""
        if _ends(self.said):
            return "over"
        if self.present.kind == "recorded":
            return "recorded"
        if self.present.kind in ("incoming", "answered", "outgoing") and not self.already_ended:
            return "ringing"
        return "nothing"

    @property
    def already_ended(self) -> bool:
        """Had it ended before the present notification? Notifications may come in any order."""
        return any(_ends(self.said[: count + 1]) for count in range(len(self.said) - 1))

    @property
    def direction(self) -> Literal["in", "out"]:
        """Of the call: a colleague who is asked in between is an outgoing notification of an incoming call."""
        return next((call.direction for call in self.said if call.direction is not None), "in")

    @property
    def client(self) -> str | None:
        """The client's number, when it has digits: a withheld one may come as a word."""
        numbers = (call.client_number for call in self.said)
        return next((number for number in numbers if number and any(sign.isdigit() for sign in number)), None)

    @property
    def line(self) -> str | None:
        return next((call.virtual_number for call in self.said if call.virtual_number), None)

    @property
    def started_at(self) -> datetime | None:
        return next((call.started_at for call in self.said if call.started_at), None)

    @property
    def is_call_back(self) -> bool:
        """Did UIS call both, because a site, a program or the automatic call-back asked for it?"""
        sources = ((call.call_source or "").strip().lower() for call in self.said)
        return any(source in _CALL_BACKS or source.startswith("auto_back_call_") for source in sources)

    @property
    def is_answered(self) -> bool:
        return any(call.kind == "answered" for call in self.said)

    @property
    def record(self) -> str | None:
        """The recording's link, of the whole call if there is one."""
        return next((link for call in reversed(self.said) for link in _links(call)), None)


def _links(call: CallEvent) -> Iterator[str]:
    """Of a call's recordings, the best first; some of UIS's variables for them hold ids instead."""
    of_talk = call.extra.get("record_file_links")  # these two belong to «Записанный разговор»
    given = (call.record_link, call.extra.get("file_link"), *(of_talk if isinstance(of_talk, list) else [of_talk]))
    for link in (*given, *call.wav_records):
        if isinstance(link, str) and link.startswith(("http://", "https://")):
            yield link


def _ends(said: Sequence[CallEvent]) -> bool:
    """Is the last of these the end of the call?

    A client who hangs up after somebody had answered is told of twice, and only the later notification has the talk.
    """
    last = said[-1]
    if last.kind == "lost":
        return not any(call.kind == "answered" for call in said)
    return last.kind == "finished"


def users(history: CallHistory, target: CrmTarget) -> Iterator[int | str]:
    """Whose call it may be, the latest first: a user of the CRM, or an extension that the settings do not name."""
    for call in reversed(history.said):
        if call.extension is not None:
            yield target.users.get(call.extension, call.extension)
        for employee in reversed(call.employee_ids):  # the one who came last
            if str(employee) in target.employees:
                yield target.employees[str(employee)]
