"""Clients in other languages, which work on the same tables through views."""

from __future__ import annotations

from typing import Final

from django.db import connections

from django_openworkflow.models import WorkflowRun

# A view depends on its tables through its rule. Two look-ups in indexes of the catalog.
_FIND_VIEW: Final = """
SELECT EXISTS (
    SELECT
      FROM pg_depend AS dependency
      JOIN pg_rewrite AS rule ON rule.oid = dependency.objid
      JOIN pg_class AS view ON view.oid = rule.ev_class
     WHERE dependency.classid = 'pg_rewrite'::regclass
       AND dependency.refclassid = 'pg_class'::regclass
       AND dependency.refobjid = to_regclass(%s)
       AND view.relname = 'workflow_runs')
"""


def has_views(using: str) -> bool:
    """Whether ``createinteropviews`` has opened the tables to clients in other languages."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    table = connection.ops.quote_name(WorkflowRun._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(_FIND_VIEW, [table])
        found: bool = cursor.fetchone()[0]
    return found
