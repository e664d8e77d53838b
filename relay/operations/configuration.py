"""The configuration for people to look at: what was given, without secrets."""

from __future__ import annotations

from datetime import timedelta

from relay import config
from relay.config import Rule, Settings, Source, Target
from relay.config.notation import duration_text, given
from relay.targets.error_text import Mask, secrets_of

_SHOWN_APART = ("name", "targets", "rules", "report", "calls")


def keys_of_target(target: Target) -> list[tuple[str, str]]:
    """Return the keys that the file gives it, without what is secret in an address."""
    mask = Mask(secrets_of(target))
    return [(key, mask.text(value)) for key, value in given(target) if key not in _SHOWN_APART]


def keys_of_source(source: Source, settings: Settings) -> list[tuple[str, str]]:
    """Return the keys that the file gives it, but for what is the same as above all tables."""
    inherited = {"path": source.name, "timezone": settings.timezone, "duplicate_window": settings.duplicate_window}
    own = [key for key, value in inherited.items() if getattr(source, key) == value]
    return [(key, value) for key, value in given(source) if key not in (*_SHOWN_APART, *own)]


def real_targets(settings: Settings, source: Source) -> list[str]:
    """Return those of a source's targets that are not the sandbox."""
    return [name for name in source.targets if not config.is_sandbox(settings.targets[name])]


def rule_in_words(rule: Rule) -> tuple[str, str]:
    """Return which calls a rule is about, and what it does with them, as the file has it."""
    does = [*(["skip"] if rule.skip else []), *([f"targets = {', '.join(rule.targets)}"] if rule.targets else [])]
    does += [f"{name} = {_value(value)}" for name, value in rule.settings.items()]
    return conditions_in_words(rule), ", ".join(does)


def conditions_in_words(rule: Rule) -> str:
    return ", ".join(f"{name} = {_value(value)}" for name, value in rule.conditions.items())


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, timedelta):
        return duration_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
