"""Writes the tables of all settings (schema, meanings.toml) into the documents: `make documents`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from relay.config import schema
from relay.config.alerting import Alerts
from relay.config.notation import default_of, in_toml
from relay.config.rule import Rule

_HEADINGS = {"en": ("Key", "Default", "Meaning"), "ru": ("Ключ", "Если не задан", "Что значит")}
_REQUIRED = {"en": "required", "ru": "обязателен"}
_INHERITED = {"en": "that of the whole file", "ru": "тот же, что для всего файла"}
_FROM_TO = {"en": "from {ge} to {le}", "ru": "от {ge} до {le}"}
_AT_LEAST = {"en": "at least {ge}", "ru": "не меньше {ge}"}

_SECTIONS: dict[str, type[Struct]] = {
    "general": schema.General,
    "storage": schema.Storage,
    "admin": schema.Admin,
    "metrics": schema.MetricsAccess,
    "alerts": Alerts,
    "sources": schema.Source,
    "rules": Rule,
    "report": schema.Report,
    "calls": schema.ClickToCall,
    "targets": schema.Target,
}
_TABLES = re.compile(r"(<!-- tables -->).*(<!-- end of tables -->)", re.DOTALL)

Row = tuple[str, str]  #: a key, and its default


def sections(language: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield each table of the file with its keys; a kind of target has those that are not every target's alike."""
    for heading, struct in _SECTIONS.items():
        yield heading, list(_rows(struct, language))
    of_every_target = set(_rows(schema.Target, language))
    for kind, target in schema.TARGET_KINDS.items():
        yield kind, [row for row in _rows(target, language) if row not in of_every_target]


def meanings() -> dict[str, Any]:
    """Return what each key means, by section, key and language."""
    return tomllib.loads(Path(__file__).with_name("meanings.toml").read_text(encoding="utf-8"))


def markdown(language: str) -> str:
    """Return all tables, each under its heading, as they stand in the documents."""
    texts, parts = meanings(), []
    for section, rows in sections(language):
        parts.append(
            f"### {texts[section]['heading'][language]}\n\n| {' | '.join(_HEADINGS[language])} |\n|---|---|---|"
        )
        for key, default in rows:
            meaning = texts[section].get(key) or texts["targets"].get(key) or texts["crm"][key]
            parts.append(f"| `{key}` | {default} | {meaning[language]} |")
        parts.append("")
    return "\n".join(parts)


def _rows(struct: type[Struct], language: str) -> Iterator[Row]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        is_rules_of_sources = field.name == "rules" and issubclass(struct, schema.CrmTarget)
        if is_rules_of_sources or (field.name in ("name", "report", "calls") and struct is not Alerts):
            continue  # no key of this table
        default = default_of(field)
        if default is not NODEFAULT:
            shown = _written(default, hints[field.name])
        else:
            shown = (_INHERITED if field.name in schema.General.__struct_fields__ else _REQUIRED)[language]
        yield field.name, "; ".join(part for part in (shown, *_bounds(hints[field.name], language)) if part)


def _bounds(hint: Any, language: str) -> Iterator[str]:
    """Yield what may be written: the words of a Literal, or from what number to what."""
    if get_origin(hint) is Literal:
        yield " · ".join(f"`{word}`" for word in get_args(hint))
    elif get_origin(hint) is Annotated:
        for meta in hint.__metadata__:
            if isinstance(meta, Meta):
                yield (_AT_LEAST if meta.le is None else _FROM_TO)[language].format(ge=meta.ge, le=meta.le)


def _written(value: Any, hint: Any) -> str:
    """Write a default as it would stand in the file; "–" for none."""
    return "–" if not value and value not in (0, False, timedelta(0)) else f"`{in_toml(value, hint)}`"


def document(language: str) -> Path:
    """Return the document that holds the tables in this language."""
    return schema.ROOT / "docs" / language / "configuration.md"


def with_tables(text: str, language: str) -> str:
    """Return the document's text with the tables as they are now."""
    return _TABLES.sub(lambda marks: f"{marks[1]}\n\n{markdown(language).strip()}\n\n{marks[2]}", text)


if __name__ == "__main__":
    for _language in _HEADINGS:
        _file = document(_language)
        _file.write_text(with_tables(_file.read_text(encoding="utf-8"), _language), encoding="utf-8")
