"""`config/relay.toml` and the environment to one frozen Settings; whatever is wrong is refused with its remedy.

Knows neither Flask nor the classes of targets.
"""

from relay.config.alerting import Alerts, WorkingHours
from relay.config.demo_guard import SANDBOX_PORT, demo_config_problem, is_sandbox
from relay.config.loader import read
from relay.config.rule import Rule
from relay.config.schema import (
    POSTGRES,
    ROOT,
    TARGET_KINDS,
    UIS_HOSTS,
    Admin,
    AmoCrmTarget,
    Bitrix24Target,
    ClickToCall,
    CrmTarget,
    HttpTarget,
    OneCTarget,
    Report,
    Settings,
    Source,
    Storage,
    Target,
    UisApi,
)
from relay.config.types import Secret
from relay.config.validators import warnings

__all__ = [
    "POSTGRES",
    "ROOT",
    "SANDBOX_PORT",
    "TARGET_KINDS",
    "UIS_HOSTS",
    "Admin",
    "Alerts",
    "AmoCrmTarget",
    "Bitrix24Target",
    "ClickToCall",
    "CrmTarget",
    "HttpTarget",
    "OneCTarget",
    "Report",
    "Rule",
    "Secret",
    "Settings",
    "Source",
    "Storage",
    "Target",
    "UisApi",
    "WorkingHours",
    "demo_config_problem",
    "is_sandbox",
    "read",
    "warnings",
]
