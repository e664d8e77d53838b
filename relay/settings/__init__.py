"""`config/relay.toml` and the environment to one frozen Settings; whatever is wrong is refused with its remedy.

Knows neither Flask nor the classes of targets.
"""

from relay.settings.files import ROOT
from relay.settings.reading import read
from relay.settings.sandbox import SANDBOX_PORT, is_sandbox, swallows_real_calls
from relay.settings.schema import (
    Admin,
    AmoCrmTarget,
    Bitrix24Target,
    CrmTarget,
    HttpTarget,
    OneCTarget,
    Secret,
    Settings,
    Source,
    Storage,
    Target,
)

__all__ = [
    "ROOT",
    "SANDBOX_PORT",
    "Admin",
    "AmoCrmTarget",
    "Bitrix24Target",
    "CrmTarget",
    "HttpTarget",
    "OneCTarget",
    "Secret",
    "Settings",
    "Source",
    "Storage",
    "Target",
    "is_sandbox",
    "read",
    "swallows_real_calls",
]
