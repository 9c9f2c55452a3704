"""What a test with transactions of its own leaves behind, and how it goes away."""

from __future__ import annotations

from typing import Any, Final

from django.db import connections, transaction

#: Rows that ``migrate`` makes. Django's flush deletes and makes them anew, after each such test.
_KEPT: Final = frozenset({"auth_permission", "django_content_type"})


def empty_tables(case: Any) -> None:
    """Delete all rows but those of ``migrate``, in place of Django's flush.

    Only tables that have rows are touched: of some 25, a test fills four.
    """
    for alias in case._databases_names(include_mirrors=False):
        connection = connections[alias]
        existing = connection.introspection.django_table_names(
            only_existing=True, include_views=False
        )
        quoted = {name: connection.ops.quote_name(name) for name in set(existing) - _KEPT}
        found = " UNION ALL ".join(
            f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {table})"  # noqa: S608 - names of tables
            for name, table in quoted.items()
        )
        with transaction.atomic(alias), connection.cursor() as cursor:
            cursor.execute(found)
            filled = sorted(quoted[name] for (name,) in cursor.fetchall())
            if filled and connection.vendor == "postgresql":
                cursor.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
            elif filled:
                for table in filled:
                    cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - names of tables
