"""Finds whose call it is at Bitrix24: by the settings, and where those are silent by the extension in a profile."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from relay.calls.history import CallHistory
from relay.clock import Clock
from relay.config import Bitrix24Target
from relay.i18n import WITH_REASON, Message
from relay.targets.bitrix24.rest import Rest
from relay.targets.crm.users import users
from relay.targets.http_client import TargetError

_LEARNT_FOR = timedelta(hours=1)
_UNKNOWN_FOR = timedelta(minutes=10)
_FORBIDDEN_FOR = timedelta(hours=1)
_LEARNT_MAX = 1000  # extensions: more than any company has, and they come from outside


_ONLY_NAMED = Message("without the right user: only extensions in `users` are known")
_BESIDE_CALLS: tuple[tuple[str, dict[str, Any], Message], ...] = (
    (
        "crm.duplicate.findbycomm",
        {"type": "PHONE", "values": ["+70000000000"]},
        Message("without the right crm: calls are not bound to clients"),
    ),
    (
        "voximplant.statistic.get",
        {"FILTER": {"CALL_ID": "none"}},
        Message(
            "without the right to see call details: an unclear end of a call, or a recording, is repeated "
            "without asking"
        ),
    ),
)


class Directory:
    """Finds and learns users. Threads share it; to learn the same twice at once does no harm."""

    def __init__(self, settings: Bitrix24Target, rest: Rest, clock: Clock) -> None:
        self._settings, self._rest, self._clock = settings, rest, clock
        self._learnt: dict[str, tuple[int | None, datetime]] = {}  # extension -> user, and until when it is believed
        self._forbidden_until: datetime | None = None

    def user_of(self, history: CallHistory) -> int | None:
        """Return the user who had the call last; None when nobody is known to have had it."""
        for owner in users(history, self._settings):
            user = owner if isinstance(owner, int) else self._by_extension(owner)
            if user is not None:
                return user
        return None

    def extension_of(self, user: int) -> str | None:
        """Return the extension in a user's profile; None where there is none, or it may not be seen."""
        if not self._settings.learn_users:
            return None
        try:
            extensions = [str(one.get("UF_PHONE_INNER") or "").strip() for one in self._active(ID=user)]
        except TargetError:
            return None
        return next(filter(None, extensions), None)

    def forget(self, user: int) -> None:
        """Take note that Bitrix24 does not know the user any more."""
        until = self._clock() + _UNKNOWN_FOR
        for extension, (learnt, _) in list(self._learnt.items()):
            if learnt == user:
                self._learnt[extension] = (None, until)

    def remarks(self) -> list[str]:
        """Say what does not go on beside the calls themselves, and whether the users of the settings are there."""
        remarks = []
        for method, params, lack in _BESIDE_CALLS:
            try:
                self._rest.call(method, params)
            except TargetError as exc:
                remarks.append(Message(WITH_REASON, text=lack, reason=exc.outcome.reason))
        return [*remarks, *self._missing_users()]

    def _missing_users(self) -> list[str]:
        named = dict.fromkeys((self._settings.default_user, *self._settings.mapped_users))
        try:
            active = {str(user.get("ID")) for user in self._active(ID=list(named))}
        except TargetError as exc:
            return [Message(WITH_REASON, text=_ONLY_NAMED, reason=exc.outcome.reason)]
        return [Message("user %(user)s is no active employee", user=user) for user in named if str(user) not in active]

    def _active(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the active employees that a filter finds. Raises TargetError."""
        listed = self._rest.call("user.get", {"FILTER": {**wanted, "ACTIVE": True}})
        return [user for user in listed if isinstance(user, dict)]

    def _by_extension(self, extension: str) -> int | None:
        now = self._clock()
        user, until = self._learnt.get(extension, (None, now))
        if until > now:
            return user
        if not self._settings.learn_users or (self._forbidden_until is not None and self._forbidden_until > now):
            return None
        try:
            ids = [str(one.get("ID")) for one in self._active(UF_PHONE_INNER=extension)]  # documented as strings
        except TargetError as exc:
            if exc.outcome.name == "misconfigured":  # no right to ask; the call itself may still be made
                self._forbidden_until = now + _FORBIDDEN_FOR
            return None
        user = next((int(number) for number in ids if number.isdigit()), None)
        if len(self._learnt) >= _LEARNT_MAX:
            self._learnt.clear()
        self._learnt[extension] = (user, now + (_UNKNOWN_FOR if user is None else _LEARNT_FOR))
        return user
