"""Where the Russian words are."""

from pathlib import Path

import relay

CATALOGUE = Path(relay.__file__).parent / "translations/ru/LC_MESSAGES/relay.po"
