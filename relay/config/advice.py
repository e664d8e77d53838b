"""What is allowed in the configuration, but unwise: `check` and each start say it."""

from __future__ import annotations

from relay.config.schema import Settings

_LONG_ENOUGH = 12  # characters of a password


def warnings(settings: Settings) -> list[str]:
    """Return a sentence for each thing, with what to do."""
    password = settings.admin.password
    if password is None or len(password) >= _LONG_ENOUGH:
        return []
    return [  # the key stands at the end: the log hides what follows the word
        f"{settings.file}: fewer than {_LONG_ENOUGH} characters can be guessed, and whoever does may read every call "
        "and replay or discard deliveries: set a longer admin.password"
    ]
