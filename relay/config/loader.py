"""Reads the file and the environment; every mistake is a ConfigError with file, key and remedy."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import time, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from relay.config import conversions, schema, validators
from relay.config.alerting import Alerts
from relay.config.rule import Rule
from relay.errors import ConfigError
from relay.i18n import LANGUAGES, Message, join, said

Table = TypeVar("Table", bound=msgspec.Struct)

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TABLES = ("storage", "admin", "alerts", "metrics", "sources", "targets")
_APIS: Mapping[str, type[schema.UisApi]] = {"report": schema.Report, "calls": schema.ClickToCall}
_BOUND = re.compile(r"Expected `int` ([<>])= (-?\d+)")
_SHELL_VARIABLE = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)\}?|%([A-Z_][A-Z0-9_]*)%|\{\{\s*([A-Z_][A-Z0-9_]*)\s*\}\}")
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_TYPES: Mapping[str, Message] = {
    "array": Message('a list, like ["a", "b"]'),
    "object": Message("a table"),
    "str": Message("text in quotes"),
    "int": Message("a whole number, without quotes"),
    "float": Message("a number, without quotes"),
    "bool": Message("true or false, without quotes"),
}
_LOOK_ALIKE = str.maketrans("асеорхку", "aceopxky")  # Cyrillic letters that look Latin
_OTHER_NAMES = {
    "1c": ("onec", "1c8", "1с"),
    "bitrix24": ("bitrix", "b24", "битрикс24".translate(_LOOK_ALIKE), "битрикс".translate(_LOOK_ALIKE)),
    "amocrm": ("amo", "kommo", "амо".translate(_LOOK_ALIKE), "amo crm"),
    "http": ("https", "webhook", "url", "crm"),
}
_LOOK_AT_LINE = Message("look at that line and the one above it")
_TOML_HINTS = (
    ("Invalid value", Message("text stands in quotes, true, false and numbers without")),
    ("Unterminated string", Message("a quote is missing at the end of the text")),
    ("Illegal character '\\n'", Message("a quote is missing at the end of the text")),
    ("Unescaped", Message("a backslash begins a sign: write the text in single quotes, '…', or double it")),
    ("Expected '=' after a key", Message("between a key and its value stands =, and a comment begins with #")),
    ("Cannot declare", Message("a table of this name stands there twice: put its keys together")),
    ("Cannot overwrite a value", Message("this key stands there twice: keep one")),
    ("Expected newline", Message("one key a line: what stands behind the value belongs into a line of its own")),
    ("Invalid statement", Message("a key is written in Latin letters, digits, - and _")),
    ("Unclosed array", Message("the list is not closed: ] is missing")),
    ("Unclosed inline table", Message("} is missing: a table in braces stands in one line")),
    ("at the end of a table declaration", Message("] is missing at the end of the table's name")),
)
_AT_KEY = "%(file)s: %(key)s: %(problem)s"
_PATH_ERROR = re.compile(r" - at `\$\.?(.*)`$")


def read(environ: Mapping[str, str] | None = None) -> schema.Settings:
    """Return the settings. Raises ConfigError for whatever is wrong with them."""
    environ = os.environ if environ is None else environ
    file = Path(environ.get("RELAY_CONFIG") or schema.ROOT / "config" / "relay.toml")
    return _Reader(file, environ).settings()


class _Reader:
    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self.file, self.environ = file, environ

    def settings(self) -> schema.Settings:
        top = self._expand(self._parse(), "")
        self._refuse_unknown(top, (*schema.General.__struct_fields__, *_TABLES), "")
        tables = {name: self._table(top.pop(name, {}), name) for name in _TABLES}
        general = self._struct(schema.General, top, "")
        targets = {name: self._target(name, table) for name, table in self._named(tables, "targets")}
        sources = {name: self._source(name, table, general, targets) for name, table in self._named(tables, "sources")}
        self._refuse_same_path(sources)
        if not sources:
            self._fail("sources", Message("there is none; add [sources.NAME] with targets and a token"))
        language = self.environ.get("RELAY_LANG")  # the operator's, where the file names none
        named = {"language": language} if language in LANGUAGES else {}
        return schema.Settings(
            file=self.file,
            **msgspec.structs.asdict(general),
            storage=self._storage(tables["storage"]),
            admin=self._struct(schema.Admin, tables["admin"], "admin"),
            alerts=self._struct(Alerts, {**named, **tables["alerts"]}, "alerts"),
            metrics=self._struct(schema.MetricsAccess, tables["metrics"], "metrics"),
            sources=sources,
            targets=_with_rules(targets, sources),
        )

    def _fail(self, key: str, problem: str) -> NoReturn:
        raise ConfigError(_AT_KEY, file=self.file, key=key, problem=problem)

    def _parse(self) -> dict[str, Any]:
        try:
            text = self.file.read_text(encoding="utf-8-sig")  # Notepad begins a file with a byte order mark
        except FileNotFoundError as exc:
            raise ConfigError("%(file)s: there is no such file; set RELAY_CONFIG to yours", file=self.file) from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(
                "%(file)s: is not in UTF-8, but in windows-1251 or the like: save it as UTF-8", file=self.file
            ) from exc
        except OSError as exc:
            raise ConfigError("%(file)s: cannot be read: %(why)s", file=self.file, why=said(exc)) from exc
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(
                "%(file)s: is not TOML: %(why)s; %(hint)s", file=self.file, why=str(exc), hint=toml_hint(str(exc), text)
            ) from exc

    # --- "env:NAME" and "file:PATH"

    def _expand(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: self._expand(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expand(item, f"{path}[{number}]") for number, item in enumerate(value)]
        if isinstance(value, str) and value.startswith("env:"):
            return self._from_environment(value[4:].strip(), path)
        if isinstance(value, str) and value.startswith("file:"):
            return self._from_file(value[5:].strip(), path)
        if isinstance(value, str) and (match := _SHELL_VARIABLE.fullmatch(value)):
            name = next(filter(None, match.groups()))
            self._fail(path, Message('is not put in from the environment like this; write "env:%(name)s"', name=name))
        return value

    def _from_environment(self, name: str, path: str) -> str | None:
        value = self.environ.get(name) or None
        if value is None and path != "admin.password":
            text = Message("the environment variable %(name)s is not set; set it, or write the value here", name=name)
            self._fail(path, text)
        return value

    def _from_file(self, name: str, path: str) -> str:
        place = schema.ROOT / name
        try:
            value = place.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            text = Message("the file %(place)s cannot be read (%(name)s); create it or mend the path")
            self._fail(path, text.fill(place=place, name=exc.__class__.__name__))
        if not value:
            self._fail(path, Message("the file %(place)s is empty; put the value into it", place=place))
        return value

    # --- tables to structs

    def _table(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._fail(path, Message("must be a table: write it as [%(path)s]", path=path))
        return value

    def _named(self, tables: Mapping[str, dict[str, Any]], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the tables of a section with their names."""
        for name, value in tables[section].items():
            table = self._table(value, f"{section}.{name}")
            if not _NAME.fullmatch(name):
                text = Message("a name is of latin letters, digits, - and _; for a Cyrillic address set path")
                self._fail(f"{section}.{name}", text)
            yield name, table

    def _struct(
        self, kind: type[Table], table: dict[str, Any], path: str, added: Mapping[str, Any] = _NOTHING
    ) -> Table:
        """Return a table's values, checked; `added` are fields that are no keys of it."""
        self._refuse_unknown(table, [field for field in kind.__struct_fields__ if field not in added], path)
        hints = _hints(kind)
        values = {key: self._convert(hints[key], value, f"{path}.{key}".lstrip(".")) for key, value in table.items()}
        try:
            struct = msgspec.convert({**values, **added}, kind, builtin_types=(timedelta, time), dec_hook=_as_it_is)
        except msgspec.ValidationError as exc:
            self._explain(exc, kind, path)
        self._refuse(path, validators.problems(struct))
        return struct

    def _convert(self, hint: Any, value: Any, key: str) -> Any:
        try:
            return conversions.convert(hint, value)
        except (ValueError, TypeError) as exc:
            self._fail(key, said(exc))

    def _refuse(self, path: str, problems: validators.Problems) -> None:
        for key, problem in problems:
            self._fail(f"{path}.{key}", problem)

    def _explain(self, exc: msgspec.ValidationError, kind: type[msgspec.Struct], path: str) -> NoReturn:
        text = str(exc)
        place = _PATH_ERROR.search(text)
        field = place[1] if place else ""
        key = f"{path}.{field}".strip(".")
        missing = re.search(r"missing required field `(\w+)`", text)
        if missing:
            self._fail(f"{path}.{missing[1]}", Message("is missing; it is required"))
        words = _words(_hints(kind).get(field.partition("[")[0]))
        if words and "enum" in text:
            self._fail(key, Message("must be one of %(words)s", words=", ".join(words)))
        if bound := _BOUND.search(text):
            if bound[1] == ">":
                self._fail(key, Message("is too little; at least %(bound)s", bound=bound[2]))
            self._fail(key, Message("is too much; at most %(bound)s", bound=bound[2]))
        self._fail(key, _in_words(_PATH_ERROR.sub("", text)))

    def _refuse_unknown(self, table: dict[str, Any], fields: Sequence[str], path: str) -> None:
        for key in table:
            if key not in fields:
                text = Message("there is no such key; known are: %(keys)s", keys=", ".join(fields))
                for close in difflib.get_close_matches(key, fields, n=1):
                    text = Message("there is no such key; did you mean %(key)s?", key=close)
                self._fail(f"{path}.{key}".lstrip("."), text)

    def _storage(self, table: dict[str, Any]) -> schema.Storage:
        storage = self._struct(schema.Storage, table, "storage")
        of_environment = self.environ.get("DATABASE_URL")
        url = of_environment or storage.url
        if problem := validators.database_problem(url):
            self._fail("DATABASE_URL" if of_environment else "storage.url", problem)
        if not url.startswith(schema.POSTGRES):
            url = f"sqlite:///{schema.ROOT / url.removeprefix('sqlite:///')}"
        return msgspec.structs.replace(storage, url=url)

    def _target(self, name: str, table: dict[str, Any]) -> schema.Target:
        path, kind = f"targets.{name}", table.get("kind")
        if kind not in schema.TARGET_KINDS:
            kinds = ", ".join(f'"{item}"' for item in schema.TARGET_KINDS)
            text = Message("%(kind)s is not known; this version has %(kinds)s", kind=repr(kind), kinds=kinds)
            if kind is None:
                text = Message("is missing; this version has %(kinds)s", kinds=kinds)
            elif (meant := meant_kind(kind)) is not None:
                text = Message('%(kind)s is not known; did you mean "%(meant)s"?', kind=repr(kind), meant=meant)
            self._fail(f"{path}.kind", text)
        rest = {key: value for key, value in table.items() if key != "kind"}
        added: dict[str, Any] = {"name": name}
        if issubclass(schema.TARGET_KINDS[kind], schema.CrmTarget):
            added["rules"] = {}
        return self._struct(schema.TARGET_KINDS[kind], rest, path, added)

    def _source(
        self, name: str, table: dict[str, Any], general: schema.General, targets: dict[str, schema.Target]
    ) -> schema.Source:
        path = f"sources.{name}"
        inherited = {key: getattr(general, key) for key in ("timezone", "duplicate_window") if key not in table}
        if not table.get("targets"):
            self._fail(f"{path}.targets", Message("is missing; name at least one of [targets.*]"))
        apis = {
            key: self._struct(kind, self._table(table[key], f"{path}.{key}"), f"{path}.{key}")
            for key, kind in _APIS.items()
            if table.get(key) is not None
        }
        rest = {key: value for key, value in table.items() if key not in ("rules", *_APIS)}
        added = {"name": name, **inherited, **dict.fromkeys(_APIS), **apis}
        source = self._struct(schema.Source, rest, path, added)
        self._refuse(path, validators.source_problems(source, targets))
        rules = self._rules(table.get("rules", []), source, f"{path}.rules", targets)
        return msgspec.structs.replace(source, path=(source.path or name).strip("/"), rules=rules)

    def _rules(
        self, tables: Any, source: schema.Source, path: str, targets: dict[str, schema.Target]
    ) -> tuple[Rule, ...]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fail(path, Message("must be tables: write each as [[%(path)s]]", path=path))
        rules = []
        for number, table in enumerate(tables, start=1):
            rule = self._struct(Rule, table, f"{path}[{number}]")
            self._refuse(f"{path}[{number}]", validators.rule_problems(rule, source, targets))
            rules.append(rule)
        return tuple(rules)

    def _refuse_same_path(self, sources: dict[str, schema.Source]) -> None:
        seen: dict[str, str] = {}
        for name, source in sources.items():
            other = seen.setdefault(source.path.casefold(), name)
            if other != name:
                text = Message("sources.%(other)s has the same; each needs its own", other=other)
                self._fail(f"sources.{name}.path", text)


def meant_kind(kind: object) -> str | None:
    """Return the kind of target that was meant: in capitals, with a Cyrillic letter, by another of its names."""
    if not isinstance(kind, str):
        return None
    name = kind.strip().lower().translate(_LOOK_ALIKE)
    for known, others in _OTHER_NAMES.items():
        if name == known or name in others:
            return known
    return next(iter(difflib.get_close_matches(name, schema.TARGET_KINDS, n=1)), None)


def toml_hint(error: str, text: str) -> Message:
    """Return what to look for, by what the TOML reader says and by the line that it names."""
    line = next((int(number) for number in re.findall(r"at line (\d+)", error)), 0)
    written = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    if any(quote in written for quote in "“”„«»‘’"):
        return Message('write straight quotes in that line, as on the keyboard: "…"')
    return next((hint for words, hint in _TOML_HINTS if words in error), _LOOK_AT_LINE)


def _in_words(error: str) -> Message:
    """Say what msgspec found: `Expected `array`, got `str``."""
    match = _EXPECTED.fullmatch(error)
    if match is None:
        return Message(error)
    expected = join(*(_TYPES.get(name, name) for name in match[1].split(" | ") if name != "null"), by=", ")
    return Message("must be %(expected)s, and is %(got)s", expected=expected, got=_TYPES.get(match[2], match[2]))


def _with_rules(targets: dict[str, schema.Target], sources: dict[str, schema.Source]) -> dict[str, schema.Target]:
    """Give each CRM the rules of its sources: its settings for one call may come from one of them."""
    return {
        name: msgspec.structs.replace(
            target, rules={source.name: source.rules for source in sources.values() if name in source.targets}
        )
        if isinstance(target, schema.CrmTarget)
        else target
        for name, target in targets.items()
    }


def _as_it_is(kind: type, value: Any) -> Any:
    """Check where secrets, zones, networks and rates stand; they were made before."""
    if isinstance(value, kind):
        return value
    raise ValueError(Message("Expected %(expected)s, got %(got)s", expected=kind.__name__, got=type(value).__name__))


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of a table's keys, with what is noted of them."""
    return get_type_hints(kind, include_extras=True)


def _words(hint: Any) -> tuple[str, ...]:
    """Return the words of a Literal, also of one inside a tuple."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next((words for part in get_args(hint) if (words := _words(part))), ())
