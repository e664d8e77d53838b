"""Reads a call out of its notifications so far: who, when, whose, and whether it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from msgspec import Struct

from relay.models import CallEvent
from relay.uis import phones

_NUMBER_MIN = 7  # digits: what has fewer is a colleague's extension
_NATIONAL = 10  # digits: those before are a country, or the way out of one
Phase = Literal["ringing", "over", "recorded", "nothing"]


def digits_of_client(number: str | None) -> str | None:
    """Return the digits that tell a client, however his country is written; None: a colleague, or a withheld number."""
    digits = phones.digits(number or "")
    return digits[-_NATIONAL:] if len(digits) >= _NUMBER_MIN else None


def _is_colleagues(number: str | None) -> bool:
    return bool(phones.digits(number or "")) and digits_of_client(number) is None


class CallHistory(Struct, frozen=True):
    """Says what the notifications up to the latest one say together."""

    calls: tuple[CallEvent, ...]

    @property
    def latest(self) -> CallEvent:
        return self.calls[-1]

    @property
    def phase(self) -> Phase:
        """Return what the latest notification means for the call."""
        *_, is_end = self._ends()
        if is_end:
            return "over"
        if self.latest.kind == "recorded":
            return "recorded"
        if self.latest.kind in ("incoming", "answered", "outgoing") and not self.already_ended:
            return "ringing"
        return "nothing"

    @property
    def already_ended(self) -> bool:
        """Had the call ended before the latest notification? Notifications may come in any order."""
        *before, _ = self._ends()
        return any(before)

    def _ends(self) -> Iterator[bool]:
        """Yield of each whether it ended the call; a loss after an answer did not: the talk is told of once more."""
        is_answered = False
        for call in self.calls:
            is_answered = is_answered or call.kind == "answered"
            yield call.kind == "finished" or (call.kind == "lost" and not is_answered)

    @property
    def direction(self) -> Literal["in", "out"]:
        """Return its direction: of its end, else as it rang; a colleague who is asked in between has one of his own.

        A loss counts no more than others: one that does not say its direction is given that of the address.
        """
        ended = (call for call in self.calls if call.kind == "finished")
        rang = (call for call in self.calls if call.kind == "incoming" and not _is_colleagues(call.client_number))
        return next((call.direction for call in (*ended, *rang, *self.calls) if call.direction is not None), "in")

    @property
    def client(self) -> str | None:
        """Return the client's number, if it has digits (a withheld one may be a word); for want of it a colleague's."""
        numbers = [call.client_number for call in self.calls if call.client_number]
        known = [number for number in numbers if any(sign.isdigit() for sign in number)]
        return next((number for number in known if digits_of_client(number)), known[0] if known else None)

    @property
    def line(self) -> str | None:
        return next((call.virtual_number for call in self.calls if call.virtual_number), None)

    @property
    def started_at(self) -> datetime | None:
        return next((call.started_at for call in self.calls if call.started_at), None)

    @property
    def is_call_back(self) -> bool:
        """Did UIS call both, because a site, a program or the automatic call-back asked for it?"""
        return self.is_called_by_uis or "sitephone" in self._sources

    @property
    def is_called_by_uis(self) -> bool:
        """Did UIS call the client by itself, because a program or its automatic call-back asked for it?"""
        return any(source == "callapi" or source.startswith("auto_back_call_") for source in self._sources)

    @property
    def _sources(self) -> list[str]:
        return [(call.call_source or "").strip().lower() for call in self.calls]

    @property
    def is_answered(self) -> bool:
        return any(call.kind == "answered" for call in self.calls)

    @property
    def record(self) -> str | None:
        """Return the recording's link, of the whole call if there is one."""
        return next((link for call in reversed(self.calls) for link in _links(call)), None)


def _links(call: CallEvent) -> Iterator[str]:
    """Yield the links of a call's recordings, the best first; some of UIS's variables for them hold ids instead."""
    of_talk = call.extra.get("record_file_links")  # these two belong to «Записанный разговор»
    extra = of_talk if isinstance(of_talk, list) else [of_talk]
    for link in (call.record_link, call.extra.get("file_link"), *extra, *call.wav_records):
        if isinstance(link, str) and link.startswith(("http://", "https://")):
            yield link
