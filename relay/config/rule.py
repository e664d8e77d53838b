"""What a rule of a source may say: which calls it is about, and what is done with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Struct

from relay.config.types import ONE_OR_MORE, Positive
from relay.models import Kind

CRM_KEYS = ("default_user", "create", "pipeline_id", "status_id", "crm_source", "missed_task")
"""Settings of a CRM, for one call."""
AMOCRM_KEYS = ("pipeline_id", "status_id")  #: those that amoCRM alone has


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[sources.NAME.rules]]`. What is not given fits every call."""

    line: Annotated[tuple[str, ...], ONE_OR_MORE] = ()  #: virtual numbers
    direction: Literal["in", "out"] | None = None
    kind: Annotated[tuple[Kind, ...], ONE_OR_MORE] = ()
    extension: Annotated[tuple[str, ...], ONE_OR_MORE] = ()
    known: bool | None = None  #: does UIS's address book know the client?
    internal: bool | None = None  #: between employees
    skip: bool = False
    targets: tuple[str, ...] = ()
    default_user: Positive | None = None
    create: bool | None = None  #: a lead or a contact for a number that the CRM does not know
    pipeline_id: Positive | None = None
    status_id: Positive | None = None
    crm_source: str | None = None
    missed_task: timedelta | None = None  #: 0: no task

    @property
    def settings(self) -> dict[str, int | bool | str | timedelta]:
        """Return what it sets for the CRMs."""
        return {name: value for name in CRM_KEYS if (value := getattr(self, name)) is not None}

    @property
    def conditions(self) -> dict[str, object]:
        """Return what it asks of a call."""
        conditions = ("line", "direction", "kind", "extension", "known", "internal")
        return {name: value for name in conditions if (value := getattr(self, name)) not in (None, ())}
