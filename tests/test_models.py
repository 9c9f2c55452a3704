"""The tables keep the invariants, whoever writes: each constraint is shown to bite.

Writes here go around the package: raw SQL, ``QuerySet.update`` and ``bulk_create``, on the real
database, because another client of the same tables goes around it too.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, models, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from django_openworkflow import workflow
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import (
    BufferedSignal,
    SignalDelivery,
    StepAttempt,
    WorkerProcess,
    WorkflowRun,
)
from django_openworkflow.registry import registry
from django_openworkflow.states import RunStatus, StepKind, StepStatus
from tests.factories import (
    BufferedSignalFactory,
    SignalDeliveryFactory,
    StepAttemptFactory,
    WorkerProcessFactory,
    WorkflowRunFactory,
)

pytestmark = pytest.mark.django_db

FACTORIES: dict[type[models.Model], Any] = {
    WorkflowRun: WorkflowRunFactory,
    StepAttempt: StepAttemptFactory,
    SignalDelivery: SignalDeliveryFactory,
    BufferedSignal: BufferedSignalFactory,
    WorkerProcess: WorkerProcessFactory,
}
MODELS = tuple(FACTORIES)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
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


# --- check constraints --------------------------------------------------------------------------


@dataclass(frozen=True)
class Violation:
    """A legal row, made by ``make``, and an update of it that the constraint must refuse."""

    constraint: str
    make: Callable[[], models.Model]
    update: dict[str, Any]
    why: str

    def __str__(self) -> str:
        return f"{self.constraint}: {self.why}"


def a_run(**traits: Any) -> Callable[[], models.Model]:
    return lambda: WorkflowRunFactory.create(**traits)


def a_step(**traits: Any) -> Callable[[], models.Model]:
    return lambda: StepAttemptFactory.create(**traits)


def a_child() -> models.Model:
    return WorkflowRunFactory.create(child=True, parent=WorkflowRunFactory.create(parked=True))


def a_linked_step() -> models.Model:
    child = a_child()
    return StepAttempt.objects.get(child_workflow_run=child.pk)


VIOLATIONS = [
    *(
        Violation(
            "openworkflow_run_state",
            a_run(),
            {"status": status},
            f"status {status!r}",
        )
        for status in ("", "done", "CANCELED", "cancelled", "canceled ")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"finished_at": Now()},
            f"{trait}, yet it has a time of ending",
        )
        for trait in ("scheduled", "running", "parked", "sleeping_legacy")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"finished_at": None},
            f"{trait}, yet without a time of ending",
        )
        for trait in ("completed", "succeeded_legacy", "failed", "canceled")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"available_at": None},
            f"{trait}, yet nobody could ever claim it",
        )
        for trait in ("scheduled", "running", "parked", "sleeping_legacy")
    ),
    *(
        Violation(
            "openworkflow_run_state",
            a_run(**{trait: True}),
            {"available_at": Now()},
            f"{trait}, yet it could be claimed",
        )
        for trait in ("completed", "succeeded_legacy", "failed", "canceled")
    ),
    *(
        Violation(
            "openworkflow_run_unowned",
            a_run(**{trait: True}),
            {"worker_id": "worker"},
            f"{trait}, yet a worker holds it",
        )
        for trait in ("scheduled", "failed", "canceled")
    ),
    Violation(
        "openworkflow_run_parent_both",
        a_child,
        {"parent_step_attempt_namespace_id": None},
        "a parent without its namespace",
    ),
    *(
        Violation(
            "openworkflow_step_state",
            a_step(),
            {"status": status, "finished_at": Now()},
            f"status {status!r}",
        )
        for status in ("", "canceled", "pending", "COMPLETED")
    ),
    *(
        Violation("openworkflow_step_kind", a_step(), {"kind": kind}, f"kind {kind!r}")
        for kind in ("", "signal", "signal_wait")
    ),
    Violation(
        "openworkflow_step_state",
        a_step(),
        {"finished_at": Now()},
        "running, yet it has a time of ending",
    ),
    *(
        Violation(
            "openworkflow_step_state",
            a_step(**{trait: True}),
            {"finished_at": None},
            f"{trait}, yet without a time of ending",
        )
        for trait in ("completed", "succeeded_legacy", "failed")
    ),
    Violation(
        "openworkflow_step_child_of_workflow_kind",
        a_linked_step,
        {"kind": StepKind.FUNCTION},
        "a function step with a child run",
    ),
    Violation(
        "openworkflow_step_child_of_workflow_kind",
        a_linked_step,
        {"child_workflow_run_namespace_id": None},
        "a child run without its namespace",
    ),
]


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_check_constraint_refuses(violation: Violation) -> None:
    row = violation.make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    before = rows.values().get()
    with refused_by(violation.constraint):
        rows.update(**violation.update)
    assert rows.values().get() == before


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_check_constraint_refuses_new_rows_as_well(violation: Violation) -> None:
    row = violation.make()
    row.pk = new_id()
    for name, value in violation.update.items():
        setattr(row, name, value)
    with refused_by(violation.constraint):
        type(row)._base_manager.bulk_create([row])
    assert not type(row)._base_manager.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    "trait",
    [
        "scheduled",
        "retrying",
        "running",
        "expired",
        "parked",
        "sleeping_legacy",
        "completed",
        "succeeded_legacy",
        "failed",
        "canceled",
    ],
)
def test_every_state_of_a_run_is_allowed(trait: str) -> None:
    parent = WorkflowRunFactory.create(parked=True)
    run = WorkflowRunFactory.create(**{trait: True})
    child = WorkflowRunFactory.create(child=True, parent=parent, **{trait: True})
    assert set(WorkflowRun.objects.all()) == {parent, run, child}


def test_a_run_that_left_its_family_is_allowed() -> None:
    child = WorkflowRunFactory.create(child=True, parent=WorkflowRunFactory.create(parked=True))
    updated = WorkflowRun.objects.filter(pk=child.pk).update(parent_step_attempt=None)
    assert updated == 1


# --- unique constraints -------------------------------------------------------------------------

COMPLETED_ONCE = (
    "openworkflow_step_completed_once",
    "django_openworkflow_stepattempt.workflow_run_id, django_openworkflow_stepattempt.step_name",
)
_DELIVERIES = "django_openworkflow_signaldelivery"
DELIVERY_ONCE = (
    "openworkflow_delivery_once",
    f"{_DELIVERIES}.namespace_id, {_DELIVERIES}.step_attempt_id",
)


class TestOneResultPerStep:
    @pytest.mark.parametrize("first", ["completed", "succeeded_legacy"])
    @pytest.mark.parametrize("second", [StepStatus.COMPLETED, StepStatus.SUCCEEDED])
    def test_a_second_result_is_refused(self, first: str, second: StepStatus) -> None:
        done = StepAttemptFactory.create(step_name="charge", **{first: True})
        late = StepAttemptFactory.create(step_name="charge", workflow_run=done.workflow_run)
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.filter(pk=late.pk).update(status=second, finished_at=Now())

    def test_a_second_result_is_refused_as_a_new_row(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        again = StepAttemptFactory.build(
            step_name="charge", completed=True, workflow_run=done.workflow_run
        )
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.bulk_create([again])

    @pytest.mark.parametrize("other", [{}, {"failed": True}])
    def test_tries_without_a_result_may_be_many(self, other: dict[str, bool]) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        for _ in range(3):
            StepAttemptFactory.create(step_name="charge", workflow_run=done.workflow_run, **other)
        assert StepAttempt.objects.filter(step_name="charge").count() == 4

    def test_a_result_that_a_retry_has_set_aside_does_not_count(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        StepAttempt.objects.filter(pk=done.pk).update(superseded_at=Now())
        again = StepAttemptFactory.create(
            step_name="charge", completed=True, workflow_run=done.workflow_run
        )
        with refused_by(*COMPLETED_ONCE):
            StepAttempt.objects.filter(pk=done.pk).update(superseded_at=None)
        assert again.superseded_at is None

    def test_other_steps_and_other_runs_are_free(self) -> None:
        done = StepAttemptFactory.create(step_name="charge", completed=True)
        StepAttemptFactory.create(
            step_name="charge:1", completed=True, workflow_run=done.workflow_run
        )
        StepAttemptFactory.create(step_name="charge", completed=True)
        assert StepAttempt.objects.completed().count() == 3


class TestOneDeliveryPerWait:
    def test_a_second_delivery_is_refused(self) -> None:
        delivery = SignalDeliveryFactory.create()
        again = SignalDeliveryFactory.build(
            step_attempt=delivery.step_attempt, workflow_run=delivery.workflow_run
        )
        with refused_by(*DELIVERY_ONCE):
            SignalDelivery.objects.bulk_create([again])

    def test_the_original_s_conflict_clause_finds_it(self) -> None:
        """The original names exactly these columns; a deferred constraint would not do for it."""
        delivery = SignalDeliveryFactory.create()
        inserted = 0
        for _ in range(2):
            fresh = SignalDeliveryFactory.build(
                step_attempt=delivery.step_attempt, workflow_run=delivery.workflow_run
            )
            inserted += insert(
                SignalDelivery,
                {
                    "namespace_id": "default",
                    "id": fresh.pk,
                    "signal": "approval",
                    "workflow_run_id": delivery.workflow_run_id,
                    "step_attempt_id": delivery.step_attempt_id,
                },
                suffix="ON CONFLICT (namespace_id, step_attempt_id) DO NOTHING",
            )
        assert inserted == 0
        assert SignalDelivery.objects.count() == 1

    def test_one_signal_reaches_many_waits(self) -> None:
        first, second = SignalDeliveryFactory.create_batch(2, signal="go")
        assert first.step_attempt_id != second.step_attempt_id


@each_model
def test_an_id_is_used_once(model: type[models.Model]) -> None:
    row, other = FACTORIES[model].create_batch(2)
    table = model._meta.db_table
    with refused_by(f"{table}_pkey", f"{table}.id"):
        model._base_manager.filter(pk=other.pk).update(id=row.pk)


# --- foreign keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (a_step(), "workflow_run_id"),
        (a_linked_step, "child_workflow_run_id"),
        (a_child, "parent_step_attempt_id"),
        (a_run(canceled=True), "cleanup_of_id"),
        (SignalDeliveryFactory.create, "workflow_run_id"),
        (SignalDeliveryFactory.create, "step_attempt_id"),
    ],
)
def test_a_link_into_nowhere_is_refused(make: Callable[[], models.Model], column: str) -> None:
    row = make()
    with pytest.raises(IntegrityError, match=column):
        point_into_nowhere(row, column)


def point_into_nowhere(row: models.Model, column: str) -> None:
    with transaction.atomic():
        type(row)._base_manager.filter(pk=row.pk).update(**{column: new_id()})
        connection.check_constraints([row._meta.db_table])  # Django defers these to the commit


def test_deleting_a_run_takes_its_steps_and_deliveries_but_not_its_children() -> None:
    parent = WorkflowRunFactory.create(parked=True)
    delivery = SignalDeliveryFactory.create(
        step_attempt=StepAttemptFactory.create(workflow_run=parent, signal_wait=True)
    )
    child = WorkflowRunFactory.create(child=True, parent=parent)
    parent.delete()
    assert not StepAttempt.objects.exists()
    assert not SignalDelivery.objects.filter(pk=delivery.pk).exists()
    child.refresh_from_db()
    assert child.parent_step_attempt_id is None


# --- nothing is forgotten -----------------------------------------------------------------------


def names_of(model: type[models.Model]) -> set[str]:
    return {item.name for item in (*model._meta.constraints, *model._meta.indexes)}


def test_every_constraint_of_the_models_is_shown_to_bite_above() -> None:
    shown = {violation.constraint for violation in VIOLATIONS}
    shown |= {COMPLETED_ONCE[0], DELIVERY_ONCE[0]}
    ours = list(apps.get_app_config("django_openworkflow").get_models())
    assert set(ours) == set(MODELS)
    assert shown == {item.name for model in ours for item in model._meta.constraints}


@each_model
def test_constraints_and_indexes_are_in_the_database(model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    assert names_of(model) <= found.keys()
    for item in model._meta.constraints:
        is_check = isinstance(item, models.CheckConstraint)
        assert found[item.name]["check" if is_check else "unique"]


def test_indexes_for_work_to_do_hold_no_finished_rows() -> None:
    """A partial index stays small however long the history is."""
    partial = {
        item.name: item.condition
        for model in MODELS
        for item in model._meta.indexes
        if item.condition is not None
    }
    assert {"openworkflow_run_claim", "openworkflow_run_deadline"} <= partial.keys()
    if IS_POSTGRESQL:
        sql = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY(%s)"
        parameters: Any = [sorted(partial)]
    else:
        marks = ", ".join(["%s"] * len(partial))
        sql = f"SELECT name, sql FROM sqlite_master WHERE name IN ({marks})"  # noqa: S608 - only marks
        parameters = sorted(partial)
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        definitions = dict(cursor.fetchall())
    assert definitions.keys() == partial.keys()
    for name in ("openworkflow_run_claim", "openworkflow_run_deadline"):
        condition = definitions[name].partition(" WHERE ")[2]
        assert "pending" in condition
        assert "completed" not in condition


# --- rows of another client ---------------------------------------------------------------------


def database_value(value: Any) -> Any:
    """Convert as a client would that knows nothing of the models."""
    if isinstance(value, UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def insert(model: type[models.Model], row: dict[str, Any], *, suffix: str = "") -> int:
    columns = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks}) {suffix}",  # noqa: S608 - of this file
            [database_value(value) for value in row.values()],
        )
        return int(cursor.rowcount)


RUN_COLUMNS: dict[str, Any] = {
    "namespace_id": "default",
    "workflow_name": "typescript",
    "version": None,
    "status": "pending",
    "idempotency_key": None,
    "config": {},
    "context": None,
    "input": {"orderId": 7},
    "output": None,
    "error": None,
    "attempts": 0,
    "parent_step_attempt_namespace_id": None,
    "parent_step_attempt_id": None,
    "worker_id": None,
    "deadline_at": None,
    "started_at": None,
    "finished_at": None,
}
STEP_COLUMNS: dict[str, Any] = {
    "namespace_id": "default",
    "step_name": "charge",
    "kind": "function",
    "status": "running",
    "config": {},
    "context": None,
    "output": None,
    "error": None,
    "child_workflow_run_namespace_id": None,
    "child_workflow_run_id": None,
    "finished_at": None,
}


class TestAnInsertOfTheOriginal:
    """It lists its own columns only: ours fill themselves, on every database."""

    def test_of_a_run(self) -> None:
        run_id, now = new_id(), timezone.now().replace(microsecond=123_000)
        times = {"available_at": now, "created_at": now, "updated_at": now}
        insert(WorkflowRun, {**RUN_COLUMNS, **times, "id": run_id})
        run = WorkflowRun.objects.get(pk=run_id)
        assert run.input == {"orderId": 7}
        assert (run.config, run.created_at, run.available_at) == ({}, now, now)
        assert self.own_columns(run) == {
            "queue": "default",
            "priority": 0,
            "failures": 0,
            "crashes": 0,
            "takeovers": 0,
            "deferrals": 0,
            "released_by": None,
            "cancel_reason": "",
            "cancel_actor": "",
            "cancel_source": "",
            "has_cancel_hook": False,
            "cleanup_of_id": None,
            "cleanup_attempt_id": None,
        }

    def test_of_a_run_with_nothing_but_its_name(self) -> None:
        before = timezone.now() - timedelta(seconds=1)
        run_id = new_id()
        insert(WorkflowRun, {"id": run_id, "workflow_name": "typescript"})
        run = WorkflowRun.objects.get(pk=run_id)
        assert (run.namespace_id, run.status, run.config) == ("default", RunStatus.PENDING, {})
        assert (run.attempts, run.worker_id, run.finished_at) == (0, None, None)
        after = timezone.now() + timedelta(seconds=1)
        assert run.available_at is not None
        for moment in (run.available_at, run.created_at, run.updated_at):
            assert before < moment < after
        assert WorkflowRun.objects.due().filter(pk=run_id).exists()

    def test_of_a_step(self) -> None:
        run, step_id = WorkflowRunFactory.create(running=True), new_id()
        now = timezone.now().replace(microsecond=123_000)
        times = {"started_at": now, "created_at": now, "updated_at": now}
        insert(StepAttempt, {**STEP_COLUMNS, **times, "id": step_id, "workflow_run_id": run.pk})
        step = StepAttempt.objects.get(pk=step_id)
        assert (step.started_at, step.created_at) == (now, now)
        assert self.own_columns(step) == {
            "worker_id": None,
            "interruptions": 0,
            "has_undo": False,
            "is_late": False,
            "superseded_at": None,
        }

    def test_of_a_step_with_the_least(self) -> None:
        run, step_id = WorkflowRunFactory.create(running=True), new_id()
        row = {"id": step_id, "workflow_run_id": run.pk, "step_name": "a", "kind": "sleep"}
        insert(StepAttempt, row)
        step = StepAttempt.objects.get(pk=step_id)
        assert (step.namespace_id, step.status, step.config) == ("default", "running", {})
        assert step.started_at is not None
        assert step.finished_at is None

    def test_of_a_delivery(self) -> None:
        step = StepAttemptFactory.create(signal_wait=True)
        delivery_id = new_id()
        insert(
            SignalDelivery,
            {
                "namespace_id": "default",
                "id": delivery_id,
                "signal": "approval",
                "data": None,
                "sender_idempotency_key": None,
                "workflow_run_id": step.workflow_run_id,
                "step_attempt_id": step.pk,
            },
        )
        delivery = SignalDelivery.objects.get(pk=delivery_id)
        assert delivery.data is None
        assert delivery.created_at is not None

    @staticmethod
    def own_columns(row: models.Model) -> dict[str, Any]:
        theirs = RUN_COLUMNS if isinstance(row, WorkflowRun) else STEP_COLUMNS
        shared = {"id", "workflow_run_id", "available_at", "started_at", "created_at", "updated_at"}
        columns = {field.attname for field in row._meta.concrete_fields} - theirs.keys() - shared
        return {column: getattr(row, column) for column in columns}


# --- values -------------------------------------------------------------------------------------


def test_created_at_has_whole_milliseconds() -> None:
    """The original pages by a cursor of milliseconds and would skip rows that have more."""
    with registry.isolated():

        @workflow("millisecond")
        def _millisecond(_step: object) -> None: ...

        _millisecond.start_many([{}] * 20)
    for _ in range(20):
        insert(WorkflowRun, {"id": new_id(), "workflow_name": "raw"})
        StepAttemptFactory.create()
    for model in (WorkflowRun, StepAttempt):
        moments = model._base_manager.values_list("created_at", flat=True)
        assert len(moments) >= 20
        assert [moment for moment in moments if moment.microsecond % 1000] == []


def test_the_statement_clock_goes_on_in_a_long_transaction() -> None:
    """A transaction's clock would stand still: rows could look older than they are."""
    with transaction.atomic():
        first = WorkflowRunFactory.create(available_at=Now())
        while not WorkflowRun.objects.filter(pk=first.pk, created_at__lt=Now()).exists():
            pass  # until the next millisecond
        second = WorkflowRunFactory.create(available_at=Now())
    assert first.available_at is not None
    assert second.available_at is not None
    assert first.available_at < second.available_at
    assert first.created_at < second.created_at


def text_columns(model: type[models.Model]) -> list[str]:
    """The columns that take any text: no list of choices."""
    return [
        field.attname
        for field in model._meta.concrete_fields
        if isinstance(field, models.TextField) and not field.choices
    ]


LONG = "".join(random.Random(7).choices(string.printable[:94] + "ä漢🙂", k=10_000))  # noqa: S311 - not a secret


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (a_run(), ("version", "worker_id", "cancel_reason", "cancel_actor")),
        (a_step(), ("step_name", "worker_id", "child_workflow_run_namespace_id")),
        (SignalDeliveryFactory.create, ("signal",)),
        (BufferedSignalFactory.create, ("sender_idempotency_key",)),
        (WorkerProcessFactory.create, ("name", "host")),
    ],
)
def test_texts_have_no_limit(make: Callable[[], models.Model], columns: tuple[str, ...]) -> None:
    row = make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    legal = {"status": RunStatus.RUNNING} if isinstance(row, WorkflowRun) else {}
    assert rows.update(**dict.fromkeys(columns, LONG), **legal) == 1
    assert rows.values(*columns).get() == dict.fromkeys(columns, LONG)


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (a_run(), ("namespace_id", "workflow_name", "idempotency_key", "queue")),
        (a_step(completed=True), ("step_name",)),
        (SignalDeliveryFactory.create, ("sender_idempotency_key",)),
        (BufferedSignalFactory.create, ("signal",)),
    ],
)
def test_texts_in_indexes_hold_names_of_any_sane_length(
    make: Callable[[], models.Model], columns: tuple[str, ...]
) -> None:
    """An index of PostgreSQL takes some 2,700 bytes that cannot be compressed, and no more."""
    row = make()
    rows = type(row)._base_manager.filter(pk=row.pk)
    for column in columns:
        assert rows.update(**{column: LONG[:600]}) == 1
        assert rows.values_list(column, flat=True).get() == LONG[:600]


@each_model
def test_no_text_column_declares_a_length(model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, model._meta.db_table)
    sizes = {column.name: column.display_size for column in described}
    limits = {sizes[column] for column in text_columns(model)}
    assert limits == {None}


def test_counters_are_counted_by_the_database() -> None:
    run = WorkflowRunFactory.create()
    WorkflowRun.objects.using(DEFAULT_DB_ALIAS).filter(pk=run.pk).update(crashes=F("crashes") + 1)
    run.refresh_from_db()
    assert run.crashes == 1


def test_the_migration_is_the_same_for_every_python() -> None:
    default = WorkflowRun._meta.pk.default
    assert (
        f"{default.__module__}.{default.__qualname__}" == "django_openworkflow.identifiers.new_id"
    )
