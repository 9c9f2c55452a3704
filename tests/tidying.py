"""What a test with transactions of its own leaves behind, and how it goes away."""

from __future__ import annotations

from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun

#: Rows that ``migrate`` makes. Django's flush deletes and makes them anew, after each such test.
_KEPT: Final = frozenset({"auth_permission", "django_content_type"})


def delete_runs() -> None:
    """Delete all runs and what belongs to them; the two tables refer to each other."""
    WorkflowRun._base_manager.update(parent_step_attempt=None)
    for model in (BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun):
        rows = model._base_manager.all()
        rows._raw_delete(DEFAULT_DB_ALIAS)


def empty_tables(case: Any) -> None:
    """Delete all rows but those of ``migrate``, in place of Django's flush.

    PostgreSQL's tables begin anew, with neither dead rows nor what the planner has learned of them.
    """
    for alias in case._databases_names(include_mirrors=False):
        connection = connections[alias]
        existing = connection.introspection.django_table_names(
            only_existing=True, include_views=False
        )
        tables = [connection.ops.quote_name(name) for name in sorted({*existing} - _KEPT)]
        with transaction.atomic(alias), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"TRUNCATE {', '.join(tables)}")
                continue
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - names of tables
