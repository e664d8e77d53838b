"""The house: data flows one way, and a room uses only what is below it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELAY = ROOT / "relay"

VALUES = {"i18n", "errors", "models", "clock"}
ALLOWED: dict[str, set[str]] = {
    "i18n": set(),
    "errors": {"i18n"},
    "clock": set(),
    "models": set(),
    "cpu_affinity": set(),
    "periodic": set(),
    "hosting": {"i18n"},
    "config": VALUES,
    "calls": VALUES | {"uis"},
    "uis": VALUES,
    "store": VALUES | {"uis"},
    "routing": VALUES | {"config", "uis"},
    "intake": VALUES | {"config", "store", "uis", "routing", "delivery"},
    "housekeeping": VALUES | {"config", "store", "periodic"},
    "observability": VALUES | {"config", "store"},
    "alerts": VALUES | {"calls", "config", "i18n", "store", "observability", "periodic"},
    "uis_api": VALUES | {"config", "targets"},
    "clicks": VALUES | {"config", "store", "targets", "uis", "uis_api"},
    "reports": VALUES | {"calls", "config", "store", "intake", "targets", "uis", "uis_api", "periodic"},
    "delivery": VALUES | {"config", "store", "targets"},
    "targets": VALUES | {"calls", "config", "uis", "routing"},
    "wiring": VALUES
    | {
        "config",
        "uis",
        "store",
        "intake",
        "delivery",
        "targets",
        "housekeeping",
        "periodic",
        "observability",
        "alerts",
        "clicks",
        "reports",
        "uis_api",
    },
    "bootstrap": VALUES | {"config", "hosting", "store"},
    "operations": VALUES
    | {
        "calls",
        "config",
        "i18n",
        "uis",
        "store",
        "wiring",
        "routing",
        "alerts",
        "reports",
        "sandbox",
        "targets",
        "uis_api",
    },
    "web": VALUES
    | {"calls", "config", "i18n", "uis", "store", "intake", "wiring", "operations", "observability", "clicks"},
    "sandbox": VALUES | {"config", "store", "uis"},
    "cli": VALUES
    | {
        "config",
        "i18n",
        "uis",
        "store",
        "intake",
        "targets",
        "wiring",
        "bootstrap",
        "hosting",
        "sandbox",
        "operations",
        "observability",
        "alerts",
        "reports",
    },
}
FOREIGN: dict[str, set[str]] = {  # what a room must not know
    "flask": {"web", "sandbox"},
    "gunicorn": {"web"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "requests": {"targets", "cli", "sandbox", "alerts"},
    "prometheus_client": {"observability"},
    "apprise": {"alerts"},
    "click": {"cli"},
    "rich": {"cli", "sandbox"},
    "tenacity": {"delivery"},
}
FILES = sorted(RELAY.rglob("*.py"))

FAMILIES = {"targets", "sandbox", "store"}  # rooms with a folder for each vendor or engine
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "tools"}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def room(file: Path) -> str:
    part = file.relative_to(RELAY).parts[0]
    return part.removesuffix(".py")


@cache
def imports(file: Path) -> set[str]:
    """The dotted names that a file imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_a_room_uses_only_what_is_below_it() -> None:
    for file in FILES:
        own = room(file)
        if own in ("__init__", "__main__"):
            continue
        used = {name.split(".")[1] for name in imports(file) if name.startswith("relay.")} - {"__version__", own}
        assert used <= ALLOWED[own], f"{file} must not use {used - ALLOWED[own]}"


def test_foreign_libraries_stay_in_their_rooms() -> None:
    for file in FILES:
        for name in imports(file):
            library = name.split(".")[0]
            assert room(file) in FOREIGN.get(library, {room(file)}), f"{library} does not belong into {file}"


def test_pure_rooms_have_no_clock_no_database_and_no_network() -> None:
    forbidden = {"time", "socket", "threading", "sqlite3", "os", "random", "urllib3", "requests"}
    pure = [
        *(RELAY / "uis").rglob("*.py"),
        *(RELAY / "calls").rglob("*.py"),
        RELAY / "delivery" / "retry_policy.py",
        RELAY / "hosting.py",
        RELAY / "targets" / "onec.py",
        RELAY / "targets" / "outcome_rules.py",
        *(RELAY / "targets").rglob("responses.py"),
    ]
    for file in pure:
        assert not {name.split(".")[0] for name in imports(file)} & forbidden, file


def test_nothing_is_started_at_import() -> None:
    """Threads are started in `start`, which only the hook and the commands call."""
    for file in FILES:
        if file.name == "env.py":  # Alembic's script: it runs when a migration is asked for
            continue
        for node in parsed(file).body:
            assert not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)), file


def test_nothing_is_imported_from_a_test_or_a_conftest() -> None:
    """What tests share stands in a module of its own: factories, fakes, and what has a theme."""
    for file in (ROOT / "tests").rglob("*.py"):
        used = {part for name in imports(file) if name.startswith("tests.") for part in name.split(".")}
        assert not {part for part in used if part == "conftest" or part.startswith("test_")}, file


def test_no_import_goes_in_a_circle() -> None:
    """An import inside a function counts too: it hides a circle, it does not open one."""
    found = set()
    graph = {_dotted(file): _imported_modules(file) for file in FILES}
    while (cycle := _first_cycle(graph)) is not None:
        found.add(tuple(sorted(set(cycle))))
        graph[cycle[1]].discard(cycle[0])

    assert not found


def _dotted(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported_modules(file: Path) -> set[str]:
    """The modules of the relay that this one needs when it runs; a package is what stands in its `__init__`."""
    modules = {_dotted(each) for each in FILES}
    used = set()
    for node in _run_time_nodes(parsed(file)):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            used |= submodules
            if len(submodules) < len(node.names) and node.module is not None:
                used.add(node.module)
    return used & modules - {_dotted(file)}


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    yield node
    for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    for child in node.orelse if isinstance(node, ast.If) and for_types else ast.iter_child_nodes(node):
        yield from _run_time_nodes(child)


def _first_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Two or more modules, each imported by the one that follows it; the first stands at the end again."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return None


def test_no_two_files_have_one_name() -> None:
    """Only the folders of a family may: `rest.py` is the same thing for each vendor."""
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for file in FILES:
        if not file.name.startswith("__"):
            inside = file.relative_to(RELAY).parts
            is_vendors = len(inside) == 3 and inside[0] in FAMILIES
            folders[file.name].add(f"{inside[0]}/*" if is_vendors else "/".join(inside[:-1]))
    namesakes = {name: sorted(places) for name, places in folders.items() if len(places) > 1}

    assert not namesakes


def test_each_module_s_name_says_what_is_in_it() -> None:
    names = {part for file in FILES for part in file.relative_to(RELAY).with_suffix("").parts}
    assert not names & SAYS_NOTHING


def test_the_formatter_has_the_last_word() -> None:
    files = [file for folder in ("relay", "tests", "bench", "config") for file in (ROOT / folder).rglob("*.py")]
    mark = "# fmt: " + "skip"
    assert not [file for file in files if mark in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("lock", ["requirements", "extras/alerts", "extras/postgres", "tests/requirements"])
def test_each_lock_has_what_its_input_names(lock: str) -> None:
    """`make lock` makes one from the other; a version that stands only in one of them would be a surprise."""
    locked = (ROOT / f"{lock}.txt").read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in (ROOT / f"{lock}.in").read_text(encoding="utf-8").splitlines())

    for pinned in filter(None, lines):
        assert f"\n{pinned} \\\n    --hash=sha256:" in locked, f"{pinned}: run make lock"
