"""What the pages say about the code, the tests and the commands, held against them."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from django.core.management.base import BaseCommand

from django_openworkflow import conf
from tests.docs.pages import ROOT, page_name, pages

# --- commands -------------------------------------------------------------------------------------

_END_OF_COMMAND: Final = {"&&", "||", "|", ";", "<", ">"}
# A line of a shell, a unit of systemd, a Procfile, a Dockerfile, or YAML.
_CALL: Final = re.compile(
    r"(?:\$ (?:\w+ )?|ExecStart=|\w+: |CMD |\s+command: )\[?[\"\w/.]*python.*manage\.py"
)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Return every call of ``manage.py`` that a page shows, and where."""
    for page in pages():
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            spans = re.findall(r"`((?:python )?manage\.py [^`…]+)`", line)
            for call in spans or [line] * bool(_CALL.match(line)):
                yield f"{page_name(page)}:{number}", words_of_a_call(call)


def words_of_a_call(line: str) -> list[str]:
    if listed := re.search(r"\[.*\]", line):
        words = json.loads(listed[0])
    else:
        words = shlex.split(line, comments=True)
    words = words[next(index for index, word in enumerate(words) if word.endswith("manage.py")) :]
    end = next((index for index, word in enumerate(words) if word in _END_OF_COMMAND), len(words))
    return list(words[1:end])


COMMANDS: Final = dict(commands())


@pytest.mark.parametrize("where", COMMANDS)
def test_every_command_and_option_shown_exists(where: str) -> None:
    name, *arguments = COMMANDS[where]
    owner = get_commands().get(name)
    assert owner is not None, f"{where}: there is no command {name}"
    assert isinstance(owner, str)
    parser = load_command_class(owner, name).create_parser("manage.py", name)
    parser.called_from_command_line = False  # raise instead of exiting
    try:
        parser.parse_args(arguments)
    except CommandError as error:
        pytest.fail(f"{where}: {error}")


def test_commands_are_shown() -> None:
    shown = {words[0] for words in COMMANDS.values()}
    assert shown >= {"runworker", "startrun", "cancelruns", "listruns", "migrate"}


def test_the_table_of_the_workers_options_is_complete() -> None:
    page = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE))
    parser = load_command_class("django_openworkflow", "runworker").create_parser("manage.py", "")
    django_has = set(BaseCommand().create_parser("manage.py", "")._option_string_actions)
    assert shown == {name for name in parser._option_string_actions if name.startswith("--")} - {
        *django_has
    }


# --- settings -------------------------------------------------------------------------------------


def test_the_table_of_settings_is_the_code() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", page, re.MULTILINE)
    assert [name for name, _ in rows] == list(conf.KEYS)
    defaults = {field.name: field.default for field in fields(conf.Settings)}
    assert {name: ast.literal_eval(text) for name, text in rows} == defaults


# --- paths, tests, messages -----------------------------------------------------------------------


def test_every_file_named_exists() -> None:
    named = {
        (page_name(page), path)
        for page in pages()
        for path in re.findall(
            r"`((?:[\w.-]+/)*[\w-]+\.py)(?:::\w+)?`", page.read_text(encoding="utf-8")
        )
    }
    ours = [pair for pair in named if not pair[1].startswith(("orders/", "mysite/", "manage.py"))]
    missing = [
        f"{page}: {path}"
        for page, path in ours
        if not any((place / path).exists() for place in (ROOT, ROOT / "django_openworkflow"))
        and path not in {"admin.py", "workflows.py"}
    ]
    assert not missing


def test_every_test_named_exists() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not name or re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE), name


def test_every_promise_names_its_tests() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    promises = re.split(r"^## ", text, flags=re.MULTILINE)[1:8]
    assert [promise[:2] for promise in promises] == [f"{number}." for number in range(1, 8)]
    assert all("*Tests:* `tests/" in promise for promise in promises)


def test_every_log_message_shown_is_logged() -> None:
    page = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| `([^`]+)` \|", page, re.MULTILINE)
    assert rows
    sources = {
        path.relative_to(ROOT / "django_openworkflow").as_posix(): path.read_text(encoding="utf-8")
        for path in (ROOT / "django_openworkflow").rglob("*.py")
    }
    for name, _level, message in rows:
        pattern = re.escape(message.removesuffix(": …")).replace("…", "%s")
        pattern = pattern.replace("SIGTERM", "%s")
        if name == "worker":  # the command's own words under the package's name
            where = sources["management/commands/runworker.py"]
        else:
            where = sources[name.replace(".", "/") + ".py"]
        assert re.search(pattern, where), f"{name}: {message}"


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_a_page_says_nothing_that_only_its_author_knows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:work|home|root)/\w|\bTODO\b|\bFIXME\b", text)
