"""The errors of the relay. What an operator can mend has a class here; a bug flies as it is."""

from __future__ import annotations

from relay.i18n import Message


class RelayError(Exception):
    """Something that an operator can mend; the text, with the values of its names, says what and how."""

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text if isinstance(text, Message) and not values else Message(text, **values))


class ConfigError(RelayError):
    """A setting is missing or makes no sense. Names the file, the key and the remedy."""


class MalformedEvent(RelayError):
    """A body that cannot be read as a notification, or only in two ways."""


class StoreError(RelayError):
    """The database cannot be used now: locked, full, read-only, gone."""

    changed = 0  #: rows of a change in chunks that were changed before it failed


class StoreBusy(StoreError):
    """The commit was not confirmed in time; it may or may not happen yet."""


class SchemaMismatch(StoreError):
    """The database is older or newer than the program."""


class NotFound(RelayError):
    """There is no event, delivery or target of that name."""


class Conflict(RelayError):
    """The state of the thing forbids the change, or somebody was quicker."""


class Interrupted(RelayError):
    """The work on a delivery must end here: the lane stops, or is another process's. Nothing was lost."""


class OwnershipLost(Interrupted):
    """The lane is another process's since a request was made: what came of it is that process's to find out."""
