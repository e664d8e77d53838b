"""What is entered in the UIS cabinet for the relay: five notifications, their conditions and addresses. Pure."""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

from relay.models import Kind


class CabinetNotification(Struct, frozen=True):
    """One of «Уведомления» in the cabinet, in the cabinet's own words."""

    name: str
    event_type: str
    condition: str | None
    endpoint: str
    kind: Kind


NOTIFICATIONS = (
    CabinetNotification(
        "Входящий звонок", "Входящий звонок на виртуальный номер", "direction = incoming", "in", "incoming"
    ),
    CabinetNotification("Начало Входящего звонка", "Начало разговора", "direction = incoming", "in", "answered"),
    CabinetNotification("Потерянный звонок", "Потерянный звонок", None, "in", "lost"),
    CabinetNotification("Исходящий звонок", "Исходящий звонок", "direction = outgoing", "out", "outgoing"),
    CabinetNotification("Завершение звонка", "Завершение звонка", None, "rec", "finished"),
)
"""Those that are needed; the method of each is POST."""


def address(host: str, path: str, endpoint: str, *, has_secret: bool) -> str:
    """Return where UIS posts a notification to, with `SECRET` for the secret; `host` is `https://relay.example.ru`."""
    query = "?token=SECRET" if has_secret else ""
    return f"{host.rstrip('/')}/{quote(path)}/hs/UIScom/{endpoint}{query}"
