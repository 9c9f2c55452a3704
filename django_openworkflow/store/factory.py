"""Choose the store for a database."""

from __future__ import annotations

import os
from typing import Final

from django.db import connections

from django_openworkflow.store.base import Store

# For the suite: "portable" lets every database be served by the ORM.
_CHOICE: Final = "OPENWORKFLOW_STORE"


def store_for(using: str) -> Store:
    """Return the fastest store that there is for the database behind an alias."""
    vendor = connections[using].vendor
    if os.environ.get(_CHOICE) == "portable":
        return Store(using)
    if vendor == "postgresql":
        from django_openworkflow.store.postgresql.store import PostgresqlStore

        return PostgresqlStore(using)
    if vendor == "sqlite":
        from django_openworkflow.store.sqlite.store import SqliteStore

        return SqliteStore(using)
    return Store(using)
