"""What gunicorn serves. The only place that builds at import; nothing is started here."""

import os

from relay import logs
from relay.settings import read
from relay.web import create_app
from relay.wiring import build

logs.configure(os.environ)
relay = build(read())
app = create_app(relay)
