"""Tell workers that something happened, on PostgreSQL. A hint: polls and heartbeats find it, too.

PostgreSQL lets transactions that notify commit one at a time, so notifications are used sparingly:
once per cancel, and for runs that became due once per moment and process.
"""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import Final

from django.db import connections, transaction

from django_openworkflow import conf

CANCELED: Final = "canceled"
DUE: Final = "due"
# A worker that was notified looks several times within this: what follows is found without.
QUIET_SECONDS: Final = 0.01

_NOTIFY: Final = "SELECT pg_notify(%s, %s)"
_last_at: Final[dict[str, float]] = {}


def channel() -> str:
    """Return the channel of this project's namespace; a hash, so that any namespace fits."""
    digest = hashlib.sha256(conf.namespace().encode()).hexdigest()
    return f"openworkflow_{digest[:16]}"


def notify_canceled(using: str) -> None:
    """Wake the listeners once this transaction commits; does nothing on other databases.

    Once per cancel, however many runs: PostgreSQL folds equal notifications of a transaction, and
    listeners look up what became of the runs they hold.
    """
    if connections[using].vendor == "postgresql":
        _notify(using, CANCELED)


def notify_due(using: str) -> None:
    """Wake idle workers after the caller's commit, in a statement of its own.

    At most once in ``QUIET_SECONDS``, so that a thousand starts are not as many notifications.
    """
    if connections[using].vendor == "postgresql":
        transaction.on_commit(partial(_notify_now_and_then, using), using=using, robust=True)


def _notify_now_and_then(using: str) -> None:
    now = time.monotonic()
    place = f"{using}:{channel()}"
    if now - _last_at.get(place, -QUIET_SECONDS) >= QUIET_SECONDS:
        _last_at[place] = now
        _notify(using, DUE)


def _notify(using: str, payload: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(_NOTIFY, [channel(), payload])
