"""Tell workers that something happened, on PostgreSQL, with the commit that made it happen."""

from __future__ import annotations

import hashlib
from typing import Final

from django.db import connections

from django_openworkflow import conf

_NOTIFY: Final = "SELECT pg_notify(%s, '')"


def channel() -> str:
    """Return the channel of this project's namespace; a hash, so that any namespace fits."""
    digest = hashlib.sha256(conf.namespace().encode()).hexdigest()
    return f"openworkflow_{digest[:16]}"


def notify_canceled(using: str) -> None:
    """Wake the listeners once this transaction commits; does nothing on other databases.

    Once per cancel, however many runs: PostgreSQL folds equal notifications of a transaction, and
    listeners look up what became of the runs they hold.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_NOTIFY, [channel()])
