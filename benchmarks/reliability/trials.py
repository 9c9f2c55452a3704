"""Races and schedules of the test suite, played here for longer, and their failures counted."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connection

from django_openworkflow.store.factory import store_for
from django_openworkflow.worker.ledger import GroupLedger
from tests.races.rivals import PATIENCE_SECONDS
from tests.races.witness import deadlocks, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.races.witness import Witness

_TABLES = (
    "django_openworkflow_signaldelivery, django_openworkflow_bufferedsignal,"
    " django_openworkflow_stepattempt, django_openworkflow_workflowrun"
)


class Trials:
    """Plays one scene after the other, each in empty tables; counts what a judge objected to."""

    def __init__(self) -> None:
        self.played = 0
        self.objections: Counter[str] = Counter()
        self._deadlocks = deadlocks()

    def play(self, name: str, scene: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Play one; an objection is printed and counted under its name."""
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {_TABLES}")
        self.played += 1
        try:
            scene(*args, **kwargs)
        except Exception:
            self.objections[name] += 1
            sys.stderr.write(f"{name}:\n{traceback.format_exc()}\n")

    def wrong(self) -> dict[str, int]:
        """Return the number of objections and of deadlocks."""
        return {
            "objections": self.objections.total(),
            "deadlocks": deadlocks() - self._deadlocks,
        }


@contextmanager
def ledger() -> Iterator[GroupLedger]:
    """The ledger of a worker process."""
    shared = GroupLedger(store_for(DEFAULT_DB_ALIAS), lease_seconds=PATIENCE_SECONDS)
    try:
        yield shared
    finally:
        shared.close()


@contextmanager
def watched() -> Iterator[Witness]:
    """A witness who sees every end of a run, and judges at the end of the block."""
    with watching() as witness:
        yield witness
        witness.judge()
