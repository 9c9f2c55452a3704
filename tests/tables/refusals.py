"""How the database refuses a row, told by the name of the constraint or by its columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import IntegrityError, connection, transaction

IS_POSTGRESQL = connection.vendor == "postgresql"


@contextmanager
def refused_by(constraint: str, columns: str = "") -> Iterator[None]:
    """The block violates this constraint and no other one.

    SQLite names a check constraint, but tells of a unique one only which columns it is made of.
    """
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        yield
    named = constraint if IS_POSTGRESQL or not columns else f"UNIQUE constraint failed: {columns}"
    assert named in str(caught.value)


COMPLETED_ONCE = (
    "openworkflow_step_completed_once",
    "django_openworkflow_stepattempt.workflow_run_id, django_openworkflow_stepattempt.step_name",
)
_DELIVERIES = "django_openworkflow_signaldelivery"
DELIVERY_ONCE = (
    "openworkflow_delivery_once",
    f"{_DELIVERIES}.namespace_id, {_DELIVERIES}.step_attempt_id",
)
