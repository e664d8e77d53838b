"""`[alerts]`: whom to tell, and from when on something is a trouble."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Any, Literal

from msgspec import Struct

from relay.config.types import Positive, Secret, Size
from relay.i18n import Message

Language = Literal["ru", "en"]
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_HEARTBEAT = re.compile(r"https?://[^\s/]+\S*")
_DAY, _TIME = "|".join(DAYS), "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = re.compile(
    rf"\s*(?:(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?\s+)?(?P<begins>{_TIME})-(?P<ends>{_TIME})\s*", re.IGNORECASE
)


class ChannelUrl(Secret):
    """Where alerts go: `max://…`, or as apprise writes it."""

    __slots__ = ()


class HeartbeatUrl(Secret):
    """What is asked for while the relay is well: whoever knows it may say so, too."""

    __slots__ = ()


class WorkingHours(Struct, frozen=True):
    """Days by number, Monday is 0; from one time of the day to another."""

    days: tuple[int, ...]
    begins: time
    ends: time

    def between(self, since: datetime, until: datetime) -> timedelta:
        """Return how much of the span is working time; both are aware and of one zone, whose clock counts."""
        total, day = timedelta(0), since.date()
        while day <= until.date():
            if day.weekday() in self.days:
                first = max(since, datetime.combine(day, self.begins, since.tzinfo))
                last = min(until, datetime.combine(day, self.ends, since.tzinfo))
                total += max(last - first, timedelta(0))
            day += timedelta(days=1)
        return total


class Alerts(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    urls: tuple[ChannelUrl, ...] = ()  #: max://…, and those of the library apprise: mailtos://…, json://…, tgram://…
    heartbeat: HeartbeatUrl | None = None  #: of a service that tells people when nobody asks for it any more
    summary: time | None = None  #: of the day before, at this time of the account's day; None: never
    ca_file: str | None = None  #: who vouches for MAX and the heartbeat's service, beside the public ones
    language: Language = "ru"  #: unset: RELAY_LANG's, where there is one
    name: str = ""  #: which relay speaks; the machine's name unless set
    down_for: timedelta = timedelta(minutes=10)  #: a target that is not open for longer
    dead: Positive = 1  #: so many dead letters more since the last word
    backlog_older: timedelta = timedelta(minutes=30)
    silent_for: timedelta = timedelta(hours=4)  #: of working time; 0: never
    missed_for: timedelta = timedelta(0)  #: of working time that a client may wait for a call back; 0: never told
    working_hours: WorkingHours = WorkingHours((0, 1, 2, 3, 4), time(9), time(18))
    token_ends_in: timedelta = timedelta(days=30)
    disk_free: Size = Size(500 * 1024 * 1024)  #: bytes, on the disk of the database
    store_down: bool = True  #: notifications cannot be stored
    remind_after: timedelta = timedelta(hours=24)


def channel_url(text: str) -> ChannelUrl:
    """Raises ValueError; the text is a secret and stays unsaid."""
    if _URL.fullmatch(text):
        return ChannelUrl(text)
    raise ValueError(
        Message(
            "an address is of the form kind://…, like max://TOKEN?chat_id=…, mailtos://…, tgram://TOKEN/CHAT or "
            "json://host/path"
        )
    )


def heartbeat_url(value: Any) -> HeartbeatUrl:
    """Raises ValueError; the text is a secret and stays unsaid."""
    if isinstance(value, str) and _HEARTBEAT.fullmatch(value.strip()):
        return HeartbeatUrl(value.strip())
    raise ValueError(Message("must be the address that the service has given you: https://…"))


def time_of_day(value: Any) -> time:
    """Read `"09:00"`. Raises ValueError with an example."""
    if isinstance(value, str) and re.fullmatch(_TIME, value):
        return time.fromisoformat(value)
    raise ValueError(Message('%(value)s is no time of day; write it like "09:00"', value=repr(value)))


def working_hours(value: Any) -> WorkingHours:
    """Raises ValueError with an example."""
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match is not None and match["begins"] < match["ends"]:
        first = DAYS.index((match["first"] or "Mon").title())
        last = DAYS.index((match["last"] or match["first"] or "Sun").title())
        days = range(first, last + 1) if first <= last else (*range(first, 7), *range(last + 1))
        return WorkingHours(tuple(days), time.fromisoformat(match["begins"]), time.fromisoformat(match["ends"]))
    text = Message('%(value)s are no working hours; write them like "Mon-Fri 09:00-18:00"', value=repr(value))
    raise ValueError(text)
