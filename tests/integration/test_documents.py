"""The documents: every link leads somewhere, every command and configuration in them is one that works."""

from __future__ import annotations

import ast
import base64
import hmac
import json
import os
import re
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import requests
import responses

from relay import config
from relay.cli import main
from relay.clock import now_utc
from relay.config import ROOT, HttpTarget, Secret
from relay.delivery.runner import send_once
from relay.models import CallEvent
from relay.sandbox.server import Sandbox
from relay.targets.webhook import Http
from tests.factories import job
from tests.fakes import Drawer, Memory

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "bench" / "README.md"])
TRANSLATED = [
    ("README.md", "README.ru.md"),
    *(
        (f"docs/en/{name}", f"docs/ru/{name}")
        for name in (
            str(file.relative_to(ROOT / "docs" / "en")) for file in sorted((ROOT / "docs" / "en").rglob("*.md"))
        )
    ),
]
PLACEHOLDERS = {"ID", "FILE", "ФАЙЛ", "TARGET", "ПОЛУЧАТЕЛЬ", "COPY", "КОПИЯ"}


class Block(NamedTuple):
    """A fenced block of a document."""

    file: Path
    language: str
    text: str

    def __repr__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.text.strip().splitlines()[0][:40]}"


def blocks(file: Path) -> Iterator[Block]:
    for fence in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```$", file.read_text(encoding="utf-8"), re.M | re.S):
        indent, language, text = fence.groups()
        yield Block(file, language, re.sub(f"^{indent}", "", text, flags=re.M))


def prose(file: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)


def headings(file: Path) -> list[tuple[int, str]]:
    return [(len(marks), words) for marks, words in re.findall(r"^(#+) (.+)$", prose(file), re.M)]


def anchors(file: Path) -> set[str]:
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in headings(file)}


ALL_BLOCKS = [block for file in DOCUMENTS for block in blocks(file)]


# --- links, and two languages


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(file: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(file)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        place = (file.parent / path).resolve() if path else file
        assert place.exists(), link
        if anchor:
            assert anchor in anchors(place), link


@pytest.mark.parametrize(("english", "russian"), TRANSLATED, ids=lambda name: name)
def test_both_languages_have_the_same_parts(english: str, russian: str) -> None:
    def parts(name: str) -> dict[str, Any]:
        text = prose(ROOT / name)
        return {
            "headings": [level for level, _ in headings(ROOT / name)],
            "blocks": [block.language for block in blocks(ROOT / name)],
            "tables": [len(table.splitlines()) for table in re.findall(r"(?:^ *\|.*\n)+", text, re.M)],
            "items": len(re.findall(r"^ *(?:-|\d\.) ", text, re.M)),
            "addresses": sorted(re.findall(r"\]\((https?://[^)]+)\)", text)),
        }

    assert parts(english) == parts(russian)


def test_every_document_is_there_in_both_languages() -> None:
    english, russian = (
        {file.relative_to(ROOT / "docs" / language) for file in (ROOT / "docs" / language).rglob("*.md")}
        for language in ("en", "ru")
    )
    assert english == russian


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_a_readme_is_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    "name",
    [
        "docs/architecture.md",
        "CONTRIBUTING.md",
        *(str(file.relative_to(ROOT)) for file in (ROOT / "docs" / "decisions").glob("*.md")),
    ],
)
def test_every_path_that_is_named_exists(name: str) -> None:
    """Documents for developers name modules: a rename must not pass them by."""
    for path in re.findall(r"`((?:relay|tests|docs|config|bench|extras)/[\w./-]*)", (ROOT / name).read_text("utf-8")):
        assert (ROOT / path).exists(), path


# --- commands


def commands(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from filter(None, (part.strip() for part in re.split(r"&&|\|", re.sub(r"(^|\s)#.*", "", line))))


SHELL = [block for block in ALL_BLOCKS if block.language == "sh"]


@pytest.mark.parametrize("block", SHELL, ids=repr)
def test_every_command_in_a_block_is_one_that_is_there(block: Block, tmp_path: Path) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for command in commands(block.text):
        if match := re.search(r"(?:^|/|\s-m )relay ((?!\").+)", command):
            understands(match[1])
        elif match := re.search(r"(?:^|sudo )make (?:-C \S+ )?(\w+)", command):
            assert re.search(rf"^{match[1]}:", (ROOT / "Makefile").read_text(), re.M), command
        elif command.startswith(".venv/bin/python -m pytest"):
            words = shlex.split(command)[3:]
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), command
        elif command.startswith("python3 -c"):
            assert subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout.strip()
    for example in re.findall(r"/opt/uis-relay/(\S+)", block.text):
        assert example.startswith(".venv/") or (ROOT / example).exists(), example


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_in_a_sentence_is_one_that_is_there(file: Path) -> None:
    for command in re.findall(r"`relay ([a-z][^`]*)`", prose(file)):
        understands(re.sub(r"[\[\]]", "", command.split("|")[0]))
    for target in re.findall(r"`make (\w+)", prose(file)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
    for module in re.findall(r"`(?:\.venv/bin/)?python -m ([\w.]+)", prose(file)):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def understands(line: str) -> None:
    """The command line takes these words; nothing is run."""
    name, *words = shlex.split(line)
    command = main.commands[name]
    if not words:
        return  # the name alone, in a sentence
    words = [str(ROOT / "README.md") if word in PLACEHOLDERS or word.startswith("/") else word for word in words]
    try:
        command.make_context(name, words).close()
    except click.exceptions.Exit:
        pass  # --help
    except click.UsageError as exc:
        pytest.fail(f"relay {line}: {exc.format_message()}")


def test_a_command_that_is_not_there_would_be_found() -> None:
    for line in ("replay --al", "backup", "simulate --calls many"):
        with pytest.raises((pytest.fail.Exception, KeyError)):
            understands(f"{line} --no-such-option")


def test_the_sandbox_can_fail_as_the_documents_say() -> None:
    texts = [file.read_text(encoding="utf-8") for file in DOCUMENTS]
    queries = {query for text in texts for query in re.findall(r"/_fail\?([^`'\s]+)", text)}
    sandbox = Sandbox().start()
    try:
        assert len(queries) >= 3
        for query in queries:
            answer = requests.post(f"{sandbox.url}/_fail?{query}", timeout=10)
            assert answer.status_code == 200, (query, answer.text)
    finally:
        sandbox.close()


# --- configuration


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "toml"], ids=repr)
def test_every_configuration_loads(block: Block, tmp_path: Path) -> None:
    text = block.text
    if not text.lstrip().startswith("["):  # a part of a target: that of the document
        text = f'[targets.b24]\nkind = "bitrix24"\ndefault_user = 1\n{text}'
    tables = tomllib.loads(text)
    named = tables.get("targets", {"b24": None})
    if "targets" not in tables:
        text += '\n[targets.b24]\nkind = "bitrix24"\nwebhook = "https://portal.bitrix24.ru/rest/1/code/"\ndefault_user = 1\n'
    file = tmp_path / "relay.toml"
    file.write_text(f'[sources.trade]\ntoken = "a-long-secret"\ntargets = {json.dumps(list(named))}\n{text}')
    environ = {name: value_of(name) for name in re.findall(r'"env:(\w+)"', text)}

    settings = config.read({"RELAY_CONFIG": str(file), **environ})

    assert set(settings.targets) == set(named)


def value_of(name: str) -> str:
    if name.endswith("WEBHOOK"):
        return "https://portal.bitrix24.ru/rest/1/code/"
    if name == "CLICK_TOKEN":
        return "a-secret-of-whoever-clicks"
    if "CRM_SECRET" in name:
        return "whsec_" + "c2VjcmV0" * 4
    if name == "HEARTBEAT_URL":
        return "https://heartbeat.example.test/1"
    return "max://TOKEN?chat_id=1" if name.startswith("ALERT_") else "a-long-secret"


# --- what a receiver is told


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_json_of_the_documents_has_the_keys_that_are_sent(language: str) -> None:
    (sample,) = (b.text for b in blocks(ROOT / "docs" / language / "targets" / "webhook.md") if b.language == "json")

    assert list(json.loads(sample)) == list(CallEvent.__struct_fields__)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_receiver_of_the_documents_believes_what_is_signed(language: str) -> None:
    (code,) = (b.text for b in blocks(ROOT / "docs" / language / "targets" / "webhook.md") if b.language == "python")
    names: dict[str, Any] = {"base64": base64, "hmac": hmac, "time": time}
    exec(compile(ast.parse(code), "webhook.md", "exec"), names)  # noqa: S102  the document's own code
    secret = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    settings = HttpTarget(name="crm", url="https://crm.example.test/", secrets=(Secret(secret),))

    with responses.RequestsMock() as web:
        web.post(settings.url)
        send_once(Http(settings, now_utc, Drawer()), job(), Memory())
        request = web.calls[0].request

    assert names["is_genuine"](secret, request.headers, request.body)
    assert not names["is_genuine"](secret, request.headers, request.body + b" ")


def test_the_code_is_the_same_in_both_languages() -> None:
    def code(language: str) -> list[str]:
        found = blocks(ROOT / "docs" / language / "targets" / "webhook.md")
        return [re.sub(r"#.*", "", b.text) for b in found if b.language in ("php", "python", "json")]

    assert code("en") == code("ru")
