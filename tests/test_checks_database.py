"""System checks of the workflow database, the lease and the commands: ids and hints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.db.utils import ConnectionHandler

from django_openworkflow import checks

if TYPE_CHECKING:
    from django.core.checks import CheckMessage
    from pytest_django import Settings

GOOD_OPTIONS = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}


def ours(*databases: str) -> list[CheckMessage]:
    """Run all of Django's checks on these databases and return what ours have to say."""
    found = run_checks(databases=databases or None)
    return [message for message in found if str(message.id).startswith("django_openworkflow.")]


def facts(found: list[CheckMessage]) -> list[tuple[str, bool]]:
    """Return the ids, and whether they are errors."""
    return [(str(message.id).partition(".")[2], message.is_serious()) for message in found]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that replaces the databases for the checks."""

    def replace(engine: str, **settings: Any) -> None:
        given = {"ENGINE": f"django.db.backends.{engine}", "NAME": ":memory:", **settings}
        monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": given}))

    return replace


@pytest.mark.django_db
def test_the_project_itself_passes() -> None:
    assert ours("default") == []
    assert ours() == []


# --- the database -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (GOOD_OPTIONS, []),
        ({**GOOD_OPTIONS, "transaction_mode": "immediate"}, []),
        ({**GOOD_OPTIONS, "init_command": "pragma synchronous=1; pragma journal_mode=wal"}, []),
        ({**GOOD_OPTIONS, "transaction_mode": "DEFERRED"}, ["W003"]),
        ({"init_command": GOOD_OPTIONS["init_command"]}, ["W003"]),
        ({"transaction_mode": "IMMEDIATE"}, ["W004"]),
        ({"transaction_mode": None, "init_command": None}, ["W003", "W004"]),
        ({}, ["W003", "W004"]),
    ],
)
def test_the_options_of_sqlite_are_recommended(
    database: Any, options: dict[str, Any], ids: list[str]
) -> None:
    database("sqlite3", OPTIONS=options)

    assert facts(checks.check_database(None, databases=["default"])) == [(pk, False) for pk in ids]


def test_the_hints_for_sqlite_can_be_pasted(database: Any) -> None:
    database("sqlite3")
    mode, journal = checks.check_database(None, databases=["default"])

    assert mode.msg == 'SQLite database "default" does not use IMMEDIATE transactions.'
    assert '{"transaction_mode": "IMMEDIATE"}' in (mode.hint or "")
    assert journal.msg == 'SQLite database "default" does not ask for write-ahead logging.'
    assert '{"init_command": "PRAGMA journal_mode=WAL;"}' in (journal.hint or "")


def test_a_database_that_is_not_to_be_checked_is_left_alone(database: Any) -> None:
    database("sqlite3")

    for databases in ([], ["other"], None):
        assert checks.check_database(None, databases=databases) == []


def test_postgresql_needs_psycopg_3(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")  # Django needs it to make the connection that is asked about
    database("postgresql", NAME="none")
    assert checks.check_database(None, databases=["default"]) == []
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    found = checks.check_database(None, databases=["default"])

    assert facts(found) == [("E003", True)]
    assert found[0].msg == "PostgreSQL needs psycopg 3."
    assert found[0].hint == "pip install 'django-openworkflow[postgres]'"


@pytest.mark.django_db
def test_an_alias_that_is_not_configured_is_named_by_the_settings_check(
    settings: Settings,
) -> None:
    settings.OPENWORKFLOW = {"DATABASE": "missing"}
    found = ours("default")

    assert facts(found) == [("E001", True)]
    assert "OPENWORKFLOW['DATABASE'] must be an alias in DATABASES" in found[0].msg


def test_no_check_needs_to_connect() -> None:
    # Without the mark "django_db" a test may not connect.
    assert checks.check_database(None, databases=["default"]) == []


# --- lease --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "ids"), [(0.5, ["W001"]), (1.99, ["W001"]), (2, []), (30, []), (0.1, ["E001"])]
)
def test_a_lease_that_one_slow_heartbeat_loses_is_warned_of(
    settings: Settings, seconds: float, ids: list[str]
) -> None:
    settings.OPENWORKFLOW = {"LEASE_SECONDS": seconds}

    assert facts(ours()) == [(pk, pk == "E001") for pk in ids]


def test_the_warning_of_a_short_lease_says_what_to_do(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"LEASE_SECONDS": 1.5}
    (found,) = ours()

    assert found.msg == "A lease of 1.5 s leaves 0.5 s between heartbeats."
    assert (found.hint or "").endswith("Use 10 s or more.")


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, "django_openworkflow"])
def test_our_own_runworker_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, owner: str | None
) -> None:
    commands = {} if owner is None else {"runworker": owner}
    monkeypatch.setattr(checks, "get_commands", lambda: commands)

    assert checks.check_commands(None) == []


def test_a_runworker_that_hides_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "get_commands", lambda: {"runworker": "channels"})
    (found,) = checks.check_commands(None)

    assert facts([found]) == [("W002", False)]
    command = '"manage.py runworker" is the command of channels'
    assert found.msg == f"{command}, not of django_openworkflow."
    assert found.hint == 'List "django_openworkflow" in INSTALLED_APPS before "channels".'
