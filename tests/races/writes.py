"""One operation at a time, written as a worker would, whoever else holds the rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from django.utils import timezone

from django_openworkflow.store.factory import store_for
from django_openworkflow.store.operations import Operation, Receipt, RunParked, Verdict
from tests.races.rivals import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.races.scenes import Scene

FAR: Final = timedelta(days=364)

# Writes an operation as a worker would, and returns the receipt.
Write: TypeAlias = Callable[[Operation], Receipt]


def write_and_wait(operation: Operation) -> Receipt:
    """Write, and wait for whoever holds the rows."""
    return store_for("default").apply([operation], wait=True)[0]


def write_until_answered(operation: Operation) -> Receipt:
    """Write as a ledger does: never wait for a row, but try again until nobody holds it."""
    gives_up_at = time.monotonic() + PATIENCE_SECONDS
    while (receipt := store_for("default").apply([operation])[0]).verdict is Verdict.BUSY:
        assert time.monotonic() < gives_up_at, "held by somebody for too long"
    return receipt


def park(scene: Scene, write: Write) -> Receipt:
    return write(RunParked(lease=scene.lease, wake_at=timezone.now() + FAR))
