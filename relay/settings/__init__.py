"""`config/relay.toml` and the environment to one frozen Settings; whatever is wrong is refused with its remedy.

Knows neither Flask nor the classes of targets.
"""

from relay.settings.reading import ROOT, read
from relay.settings.sandbox import SANDBOX_PORT, is_sandbox, swallows_real_calls
from relay.settings.schema import Admin, OneCTarget, Secret, Settings, Source, Storage, Target

__all__ = [
    "ROOT",
    "SANDBOX_PORT",
    "Admin",
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
