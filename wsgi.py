"""What gunicorn serves. The only place that builds at import; nothing is started here."""

import os

from relay import logs
from relay.settings import read
from relay.start import dispatches
from relay.web import create_app
from relay.wiring import build

logs.configure(os.environ, buffered=True)
relay = build(read())
app = create_app(relay, delivers=dispatches(os.environ))
