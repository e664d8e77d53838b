"""What gunicorn serves. The only place that builds at import; nothing is started here."""

import os

from relay import bootstrap
from relay.config import read
from relay.observability import logging
from relay.web import create_app
from relay.wiring import Relay

logging.configure(os.environ, buffered=True)
relay = Relay(bootstrap.prepared or read())
app = create_app(relay, delivers=bootstrap.dispatch_enabled(os.environ))
