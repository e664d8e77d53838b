"""`config/relay.toml` and the environment to one frozen Settings; whatever is wrong is refused with its remedy.

Knows neither Flask nor the classes of targets.
"""

from relay.settings.advice import warnings
from relay.settings.alerts import Alerts, WorkingHours
from relay.settings.files import ROOT
from relay.settings.reading import read
from relay.settings.rules import Rule
from relay.settings.sandbox import SANDBOX_PORT, is_sandbox, swallows_real_calls
from relay.settings.schema import (
    UIS_HOSTS,
    Admin,
    AmoCrmTarget,
    Bitrix24Target,
    CrmTarget,
    HttpTarget,
    OneCTarget,
    Settings,
    Source,
    Storage,
    Target,
)
from relay.settings.secret import Secret

__all__ = [
    "ROOT",
    "SANDBOX_PORT",
    "UIS_HOSTS",
    "Admin",
    "Alerts",
    "AmoCrmTarget",
    "Bitrix24Target",
    "CrmTarget",
    "HttpTarget",
    "OneCTarget",
    "Rule",
    "Secret",
    "Settings",
    "Source",
    "Storage",
    "Target",
    "WorkingHours",
    "is_sandbox",
    "read",
    "swallows_real_calls",
    "warnings",
]
