"""Every text that somebody gives is a parameter of a statement, and comes back as it was."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import django_openworkflow
from django_openworkflow import send_signal
from django_openworkflow.exceptions import InvalidInput, RunNotFound
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.base import ClaimRequest
from django_openworkflow.store.factory import store_for
from tests import syntax
from tests.factories import StepAttemptFactory, WorkflowRunFactory

PACKAGE = Path(django_openworkflow.__path__[0])
INJECTIONS = (
    "'; DROP TABLE django_openworkflow_workflowrun; --",
    "' OR '1'='1",
    '" OR ""="',
    "%s",
    "%(name)s",
    "%",
    "{0}",
    "\\'; --",
    "$$; SELECT pg_sleep(10); $$",
    "/* */",
    "\\",
    "$.signal",
    "a.b[0]",
)
names = st.sampled_from(INJECTIONS) | st.text(min_size=1, max_size=40)
few = settings(max_examples=30, suppress_health_check=list(HealthCheck))


def is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


@pytest.mark.django_db
@few
@given(text=names)
def test_a_signals_address_matches_itself_alone(text: str) -> None:
    StepAttempt.objects.all().delete()  # those of earlier examples wait for "x"
    wait = StepAttemptFactory.create(signal_wait=True)
    other = StepAttemptFactory.create(signal_wait=True)
    StepAttempt.objects.filter(pk=wait.pk).update(context={"kind": "signal-wait", "signal": "x"})
    if not text.isprintable():
        with pytest.raises(InvalidInput):
            send_signal(text)
        return
    context = {"kind": "signal-wait", "signal": text}
    StepAttempt.objects.filter(pk=wait.pk).update(context=context)
    expected = [wait.workflow_run_id]
    if text == "approval":
        expected = sorted([*expected, other.workflow_run_id])
    assert send_signal(text) == expected


@pytest.mark.django_db
@few
@given(reason=names, actor=names)
def test_reason_and_actor_of_a_cancel_are_stored_as_they_were_given(
    reason: str, actor: str
) -> None:
    run = WorkflowRunFactory.create()
    if not (is_storable(reason) and is_storable(actor)):
        with pytest.raises(InvalidInput):
            run.cancel(reason=reason, actor=actor)
        return
    canceled = run.cancel(reason=reason, actor=actor)
    assert (canceled.cancel_reason, canceled.cancel_actor) == (reason, actor)
    assert WorkflowRun.objects.filter(cancel_reason=reason).exists()


@pytest.mark.django_db
@few
@given(name=names.filter(is_storable), version=names.filter(is_storable), queue=names)
def test_names_versions_and_queues_of_a_claim_match_themselves_alone(
    name: str, version: str, queue: str
) -> None:
    run = WorkflowRunFactory.create(workflow_name=name, version=version)
    WorkflowRunFactory.create(workflow_name="another", version=version)

    def claim(queues: list[str] | None) -> list[Any]:
        request = ClaimRequest(
            worker_name="w",
            limit=5,
            lease_seconds=30,
            workflows=[(name, version)] if name != "another" else [],
            queues=queues,
        )
        return [one.lease.run_id for one in store_for("default").claim(request)]

    if is_storable(queue) and queue != "default":
        assert claim([queue]) == []
    expected = [run.pk] if name != "another" else []
    assert claim(None) == expected


@pytest.mark.django_db
@pytest.mark.parametrize("text", [*INJECTIONS, "", "x" * 10_000, "\0", "\ud800"])
def test_an_id_that_is_none_finds_nothing(text: str) -> None:
    run = WorkflowRunFactory.create()
    with pytest.raises(RunNotFound):
        WorkflowRun.objects.cancel(text)
    with pytest.raises(RunNotFound):
        WorkflowRun.objects.retry(text)
    assert WorkflowRun.objects.get() == run


# Only the name of a table, which the database's own backend has quoted.
QUOTED = {"store/statistics.py"}


def statements() -> list[tuple[str, ast.Call]]:
    """Return all calls of ``execute`` in the package, with their file and line."""
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(syntax.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany", "raw", "RawSQL", "extra"}
        and node.args
    ]


def test_no_statement_is_put_together_where_it_is_executed() -> None:
    """Neither an f-string, nor ``%``, ``+`` or ``format``: constants and parameters."""
    calls = statements()
    assert len(calls) > 5
    for where, call in calls:
        sql = call.args[0]
        made = isinstance(sql, ast.JoinedStr | ast.BinOp)
        formatted = (
            isinstance(sql, ast.Call)
            and isinstance(sql.func, ast.Attribute)
            and sql.func.attr == "format"
            and not _is_composed(sql)
        )
        assert not made, where
        assert not formatted or where.partition(":")[0] in QUOTED, where


def _is_composed(call: ast.Call) -> bool:
    """Whether this is psycopg's ``sql.SQL(...).format(sql.Identifier(...))``, which quotes."""
    return "sql.SQL" in ast.unparse(call.func)
