"""The admin in a second language: complete, compiled, and no decimal comma in its pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from babel.messages import mofile, pofile
from django.contrib import admin
from django.utils import translation

from tests.admin.addresses import bulk, messages_of, on_run, url
from tests.admin.places import pages, scene
from tests.admin.rows import make_run
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog
    from django.test import Client
    from pytest_django import Settings

FOLDER: Final = ROOT / "django_openworkflow/locale/de/LC_MESSAGES"
_HOLE: Final = re.compile(r"%\(\w+\)[sd]")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    with (FOLDER / "django.po").open("rb") as file:
        return pofile.read_po(file, locale="de")


def words_of(catalog: Catalog) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return translations by their sources, each with its plural if it has one."""
    return {_tuple(entry.id): _tuple(entry.string) for entry in catalog if entry.id}


def _tuple(words: object) -> tuple[str, ...]:
    return tuple(words) if isinstance(words, list | tuple) else (str(words),)


def test_nothing_is_left_to_translate(catalog: Catalog) -> None:
    assert len(words_of(catalog)) > 200
    assert not [source for source, words in words_of(catalog).items() if not all(words)]
    assert not [entry.id for entry in catalog if entry.id and entry.fuzzy]


def test_translations_have_the_same_holes(catalog: Catalog) -> None:
    for source, words in words_of(catalog).items():
        assert set(_HOLE.findall(words[-1])) == set(_HOLE.findall(source[-1])), source


def test_every_text_of_the_package_is_in_the_catalog(catalog: Catalog) -> None:
    found = set()
    for file in (ROOT / "django_openworkflow").rglob("*.html"):
        found |= set(re.findall(r"{% translate ['\"](.*?)['\"] %}", file.read_text("utf-8")))
    for file in (ROOT / "django_openworkflow/admin").glob("*.py"):
        found |= set(re.findall(r"\b(?:_|gettext)\(\s*\"(.*?)\"\s*\)", file.read_text("utf-8")))
    assert len(found) > 100
    known = {entry.id for entry in catalog if isinstance(entry.id, str)}
    assert found - known == set()


def test_the_compiled_catalog_is_the_source_of_today(catalog: Catalog) -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = mofile.read_mo(file)
    assert words_of(compiled) == words_of(catalog)


@pytest.mark.django_db
def test_pages_open_in_german(operator: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    there = scene()
    for name, (_right, address) in pages(there).items():
        response = operator.get(address)
        assert response.status_code == 200, name
        places = re.findall(r'\s(?:x|x1|x2|y|width|height)="([^"]*)"', response.content.decode())
        assert not [place for place in places if "," in place], name
    page = operator.get(url("changelist")).content.decode()
    assert "Ausgewählte Workflow-Läufe abbrechen" in page
    assert "Übersicht" in page
    translation.activate("en")


def test_no_text_means_something_else_to_django(catalog: Catalog) -> None:
    """The admin is installed before this app, so that its translations win."""
    file = Path(admin.__file__).parent / "locale/de/LC_MESSAGES/django.mo"
    with file.open("rb") as opened:
        theirs = words_of(mofile.read_mo(opened))
    shared = {source for source in words_of(catalog) if source in theirs}
    assert shared  # such as "Home"
    assert {source: theirs[source] for source in shared} == {
        source: words_of(catalog)[source] for source in shared
    }


@pytest.mark.django_db
def test_who_does_not_want_to_cancel_reads_so_in_german(
    operator: Client, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "de"
    run, failed = make_run(running=True), make_run(failed=True)
    for answer, words in (
        (operator.get(on_run("cancel_run", run)), "Nein, alles so lassen"),
        (operator.post(url("changelist"), bulk(run)), "Nein, alle so lassen"),
        (operator.get(on_run("retry_run", failed)), "Nein, zurück"),
        (operator.get(on_run("send_signal", run)), "Nein, zurück"),
    ):
        [label] = re.findall(r'id="ow-back"[^>]*>(.*?)</a>', answer.content.decode())
        assert label == words
    translation.activate("en")


@pytest.mark.django_db
def test_messages_are_german_too(operator: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    runs = [make_run(running=True), make_run(completed=True), make_run(canceled=True)]
    response = operator.post(url("changelist"), bulk(*runs, post="yes"))
    assert [words for _level, words in messages_of(response)] == [
        "1 Workflow-Lauf abgebrochen.",
        "1 bereits beendete übersprungen: 1 abgeschlossen.",
        "1 bereits abgebrochen.",
    ]
    translation.activate("en")
