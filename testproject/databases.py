"""Turn ``DATABASE_URL`` into an entry of Django's ``DATABASES``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",  # a transaction that reads first could not upgrade its lock
    "timeout": 20,  # seconds to wait for another writer
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def from_url(url: str, *, default_sqlite_path: Path) -> dict[str, Any]:
    """Return the settings of the database at ``url``; an empty one means the default SQLite file.

    Raises ``ImproperlyConfigured`` with one sentence, which never repeats the URL: it may hold a
    password.
    """
    scheme = url.partition("://")[0]
    if not url:
        return _sqlite(default_sqlite_path)
    if scheme == "sqlite":
        return _sqlite(_sqlite_path(url))
    if scheme in {"postgres", "postgresql"}:
        return _postgresql(url)
    msg = (
        "DATABASE_URL must be empty or look like sqlite:///path, postgres://user@host/name "
        "or embedded-postgres://."
    )
    raise ImproperlyConfigured(msg)


def _sqlite_path(url: str) -> Path:
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.netloc or parts.query or parts.fragment or name in {"", ":memory:"}:
        msg = "A SQLite DATABASE_URL must name a file, as in sqlite:///relative or sqlite:////full."
        raise ImproperlyConfigured(msg)
    return Path(name).absolute()


def _sqlite(path: Path) -> dict[str, Any]:
    # Threads share a file, not a database in memory. The process id keeps suites that run at the
    # same time apart; pytest-xdist adds the name of its worker.
    test_path = Path(tempfile.gettempdir()) / f"test_django_openworkflow_{os.getpid()}.sqlite3"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {**SQLITE_OPTIONS},
        "TEST": {"NAME": str(test_path)},
    }


def _postgresql(url: str) -> dict[str, Any]:
    options = _conninfo(url)
    user = options.pop("user", "")
    name = options.pop("dbname", user)  # as libpq does
    if not name and "service" not in options:
        msg = "A PostgreSQL DATABASE_URL must name a database, as in postgres://user@host/name."
        raise ImproperlyConfigured(msg)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": user,
        "PASSWORD": options.pop("password", ""),
        "HOST": options.pop("host", ""),
        "PORT": options.pop("port", ""),
        "OPTIONS": options,
        "CONN_MAX_AGE": 60,  # seconds
        "CONN_HEALTH_CHECKS": True,
    }


def _conninfo(url: str) -> dict[str, Any]:
    try:
        from psycopg import ProgrammingError, conninfo  # SQLite users have none
    except ImportError as error:
        msg = "A PostgreSQL DATABASE_URL needs psycopg: pip install 'psycopg[binary]'."
        raise ImproperlyConfigured(msg) from error
    try:
        return conninfo.conninfo_to_dict(url)
    except ProgrammingError:
        # "from None": the message of libpq quotes the URL.
        msg = "DATABASE_URL is not a valid PostgreSQL URL, such as postgres://user@host/name."
        raise ImproperlyConfigured(msg) from None
