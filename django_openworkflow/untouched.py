"""Cancel a run that nobody has claimed yet: the common case, with one statement.

On PostgreSQL the statement stays prepared where it is a transaction of its own. ``cancelling`` has
what is done to all other runs; a test compares the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.transaction import mark_for_rollback_on_error

from django_openworkflow import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django.db.models.sql import Query

    from django_openworkflow.models import WorkflowRun

_RUNS: Final = "django_openworkflow_workflowrun"
_NOTE: Final = ("cancel_reason", "cancel_actor", "cancel_source")
_Condition: TypeAlias = "tuple[str, tuple[Any, ...]]"  # SQL, and its parameters by position

# A run that nobody has claimed yet has no steps, so nothing to close or undo, and no descendants.
# When no parent waits for it either, its row is all there is to write: the statement locks it,
# looks at it once more as it is then, and is its own transaction.
_CANCEL_UNTOUCHED: Final = """
UPDATE django_openworkflow_workflowrun
   SET status = 'canceled',
       available_at = NULL,
       finished_at = {now},
       updated_at = {now},
       cancel_reason = {cancel_reason},
       cancel_actor = {cancel_actor},
       cancel_source = {cancel_source}
 WHERE id = {id}
   AND status = 'pending'
   AND attempts = 0
   AND parent_step_attempt_id IS NULL
   AND cleanup_of_id IS NULL
   AND NOT has_cancel_hook
   AND {where}
RETURNING {columns}
"""


def cancel_untouched(
    runs: QuerySet[WorkflowRun], run_id: UUID, columns: Mapping[str, str]
) -> WorkflowRun | None:
    """Cancel a run of this queryset that nobody has claimed, with one statement, and return it.

    None when the run is not such a one, or when the queryset or the database is none for it.
    """
    query, connection = runs.query, connections[runs.db]
    if connection.vendor not in {"postgresql", "sqlite"} or not _is_plain(query):
        return None
    compiler = query.get_compiler(runs.db)
    try:
        where, where_parameters = compiler.compile(query.where)
    except EmptyResultSet:
        return None
    row_form = _RowForm.of(runs.model, connection)
    noted = {**columns, "id": runs.model._meta.pk.get_db_prep_value(run_id, connection)}
    condition: _Condition = (where, tuple(where_parameters))
    if _may_be_prepared(connection, condition):
        rows = _cancel_prepared(connection, row_form.columns, noted, condition)
    else:
        moment: Any = clock.moment()
        now = compiler.compile(moment.resolve_expression(query))
        rows = _cancel_once(runs.db, row_form.columns, noted, condition, now)
    for row in compiler.apply_converters(rows, row_form.converters):
        return runs.model.from_db(runs.db, row_form.names, row)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowForm:
    """All columns of a run: as SQL, as attributes, and how their values become Python's."""

    columns: str
    names: list[str]
    converters: Any

    @classmethod
    def of(cls, model: type[WorkflowRun], connection: BaseDatabaseWrapper) -> _RowForm:
        """Return the form; on PostgreSQL it has nothing of a connection in it, and is kept."""
        if (known := _row_forms.get(connection.vendor)) is not None:
            return known
        fields = model._meta.concrete_fields
        compiler = model._base_manager.none().query.get_compiler(connection=connection)
        made = cls(
            columns=", ".join(connection.ops.quote_name(str(field.column)) for field in fields),
            names=[field.attname for field in fields],
            converters=compiler.get_converters([field.get_col(_RUNS) for field in fields]),
        )
        if connection.vendor == "postgresql":
            _row_forms[connection.vendor] = made
        return made


_row_forms: Final[dict[str, _RowForm]] = {}


def _cancel_once(
    using: str, names: str, noted: dict[str, Any], condition: _Condition, now: _Condition
) -> Sequence[tuple[Any, ...]]:
    (where, where_parameters), (moment, moment_parameters) = condition, now
    statement = _CANCEL_UNTOUCHED.format(
        now=moment, where=where, columns=names, **dict.fromkeys((*_NOTE, "id"), "%s")
    )
    given = (noted[name] for name in (*_NOTE, "id"))
    parameters = (*moment_parameters, *moment_parameters, *given, *where_parameters)
    with mark_for_rollback_on_error(using), connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _may_be_prepared(connection: BaseDatabaseWrapper, condition: _Condition) -> bool:
    """Whether the statement is its own transaction, and one of few: of a namespace, and no more."""
    if connection.vendor != "postgresql":
        return False
    from django_openworkflow.packets import trips

    _where, parameters = condition
    is_common = len(parameters) == 1 and isinstance(parameters[0], str)
    return is_common and trips.may_ask(connection)


def _cancel_prepared(
    connection: BaseDatabaseWrapper, names: str, noted: dict[str, Any], condition: _Condition
) -> Sequence[tuple[Any, ...]]:
    from django_openworkflow.packets import trips

    where, (given,) = condition
    parameters = {**noted, "given": given, "offset": clock.offset()}
    return trips.ask(connection, _numbered(names, where), parameters)


@lru_cache(maxsize=64)
def _numbered(names: str, where: str) -> str:
    """Return the statement with parameters by name, as packets have them."""
    return _CANCEL_UNTOUCHED.format(
        now="(STATEMENT_TIMESTAMP() + %(offset)s::interval)",
        where=where % "%(given)s",
        columns=names,
        **{name: f"%({name})s" for name in (*_NOTE, "id")},
    )


def _is_plain(query: Query) -> bool:
    """Whether the conditions of a query are on the runs' own table alone and tell all of it."""
    is_whole = not (query.is_sliced or query.combinator or query.annotations or query.group_by)
    return is_whole and set(query.alias_map) == {_RUNS}
