"""System checks: what would fail later is named when the project starts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.management import get_commands
from django.db import connections

from django_openworkflow import conf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig

_APP: Final = "django_openworkflow"
# A lease shorter than this many longest polls lets a busy worker miss its own heartbeats.
_SHORTEST_LEASE_SECONDS: Final = 2.0


@register("openworkflow")
def check_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """E001: an unknown key or a value out of range in ``OPENWORKFLOW``."""
    return [
        Error(sentence, hint=_hint_for(key), id=f"{_APP}.E001") for key, sentence in conf.problems()
    ]


def _hint_for(key: str) -> str:
    if key in conf.KEYS:
        return f"Without the key it is {getattr(conf.Settings(), key)!r}."
    return f"Known keys: {', '.join(conf.KEYS)}."


@register("openworkflow")
def check_time_zones(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """E002: naive datetimes, of which two are alike when clocks are set back."""
    if settings.USE_TZ:
        return []
    return [Error("Workflows need aware datetimes.", hint="Set USE_TZ = True.", id=f"{_APP}.E002")]


@register("openworkflow")
def check_lease(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """W001: a lease so short that one slow heartbeat loses it."""
    if conf.problems():
        return []
    lease_seconds = conf.get_settings().LEASE_SECONDS
    if lease_seconds >= _SHORTEST_LEASE_SECONDS:
        return []
    return [
        Warning(
            f"A lease of {lease_seconds:g} s leaves {lease_seconds / 3:.2g} s between heartbeats.",
            hint="A pause of the worker that long hands its runs to others. Use 10 s or more.",
            id=f"{_APP}.W001",
        )
    ]


@register("openworkflow")
def check_commands(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """W002: another installed app's ``runworker`` hides ours."""
    owner: object = get_commands().get("runworker", _APP)
    name = owner if isinstance(owner, str) else type(owner).__module__.partition(".management")[0]
    if name == _APP or not apps.is_installed(_APP):
        return []
    return [
        Warning(
            f'"manage.py runworker" is the command of {name}, not of {_APP}.',
            hint=f'List "{_APP}" in INSTALLED_APPS before "{name}".',
            id=f"{_APP}.W002",
        )
    ]


@register("openworkflow")
def check_templates(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """W005: ``admin_actions`` before ``django.contrib.admin``, where its templates take over."""
    names = [config.name for config in apps.get_app_configs()]
    if not {"admin_actions", "django.contrib.admin"} <= set(names):
        return []
    if names.index("admin_actions") > names.index("django.contrib.admin"):
        return []
    return [
        Warning(
            "The templates of admin_actions replace the toolbars of every model in the admin.",
            hint='Take "admin_actions" out of INSTALLED_APPS: workflows do not need it there.',
            id=f"{_APP}.W005",
        )
    ]


@register(Tags.database, "openworkflow")
def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """E003, W003, W004: the workflow database, when it is among those to be checked."""
    if conf.problems():
        return []
    alias = conf.get_settings().DATABASE
    if alias not in (databases or ()):
        return []
    if connections[alias].vendor == "sqlite":
        return _check_sqlite(alias)
    return _check_postgresql() if connections[alias].vendor == "postgresql" else []


def _check_postgresql() -> list[CheckMessage]:
    if find_spec("psycopg") is not None:
        return []
    hint = "pip install 'django-openworkflow[postgres]'"
    return [Error("PostgreSQL needs psycopg 3.", hint=hint, id=f"{_APP}.E003")]


def _check_sqlite(alias: str) -> list[CheckMessage]:
    options = connections[alias].settings_dict.get("OPTIONS", {})
    found: list[CheckMessage] = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        found.append(
            Warning(
                f'SQLite database "{alias}" does not use IMMEDIATE transactions.',
                hint='With OPTIONS = {"transaction_mode": "IMMEDIATE"} a transaction that reads '
                "before it writes waits for the others instead of failing with "
                '"database is locked".',
                id=f"{_APP}.W003",
            )
        )
    if "wal" not in str(options.get("init_command", "")).lower():
        found.append(
            Warning(
                f'SQLite database "{alias}" does not ask for write-ahead logging.',
                hint='With OPTIONS = {"init_command": "PRAGMA journal_mode=WAL;"} readers and '
                "the writer do not block one another.",
                id=f"{_APP}.W004",
            )
        )
    return found
