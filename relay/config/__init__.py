"""`config/relay.toml` and the environment to one frozen Settings; whatever is wrong is refused with its remedy."""

from relay.config.alerting import Alerts as Alerts
from relay.config.demo_guard import SANDBOX_PORT as SANDBOX_PORT
from relay.config.demo_guard import demo_config_problem as demo_config_problem
from relay.config.demo_guard import is_sandbox as is_sandbox
from relay.config.loader import read as read
from relay.config.rule import Rule as Rule
from relay.config.schema import POSTGRES as POSTGRES
from relay.config.schema import ROOT as ROOT
from relay.config.schema import TARGET_KINDS as TARGET_KINDS
from relay.config.schema import UIS_HOSTS as UIS_HOSTS
from relay.config.schema import AmoCrmTarget as AmoCrmTarget
from relay.config.schema import Bitrix24Target as Bitrix24Target
from relay.config.schema import ClickToCall as ClickToCall
from relay.config.schema import CrmTarget as CrmTarget
from relay.config.schema import HttpTarget as HttpTarget
from relay.config.schema import OneCTarget as OneCTarget
from relay.config.schema import Report as Report
from relay.config.schema import Settings as Settings
from relay.config.schema import Source as Source
from relay.config.schema import Storage as Storage
from relay.config.schema import Target as Target
from relay.config.schema import UisApi as UisApi
from relay.config.types import Secret as Secret
from relay.config.validators import address_problems as address_problems
from relay.config.validators import warnings as warnings
