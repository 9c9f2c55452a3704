"""The row of a run that was started: the same, whichever path has inserted it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.enqueue import insert_rows, insert_runs
from django_openworkflow.store.operations import NewRun
from django_openworkflow.store.rows import new_row
from django_openworkflow.testing import advance

MOMENTS = (None, timedelta(0), timedelta(hours=2), datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.django_db
@pytest.mark.parametrize("deadline_at", MOMENTS, ids=repr)
@pytest.mark.parametrize("available_at", MOMENTS, ids=repr)
@pytest.mark.parametrize("shifted", [False, True])
def test_a_run_has_the_row_that_the_portable_path_gives_it(
    available_at: Any, deadline_at: Any, *, shifted: bool
) -> None:
    if shifted:
        advance("1d")
    new_run = NewRun(
        workflow_name="process-order",
        version="2",
        input='{"b":1.5,"aa":[null,"\u2028\u00e9"]}',
        queue="slow",
        priority=-3,
        available_at=available_at,
        deadline_at=deadline_at,
        has_cancel_hook=True,
        context={"traceContext": {"traceparent": "00-1"}},
    )
    [run_id] = insert_runs(new_run, [new_run.input], using="default", key="k")
    other = new_row(new_run, idempotency_key="k")
    insert_rows([other], using="default")

    first, second = (
        dict[str, Any](WorkflowRun._base_manager.values().get(pk=pk)) for pk in (run_id, other.pk)
    )
    names = ("available_at", "deadline_at", "created_at", "updated_at")
    for name in names:
        one, two = first.pop(name), second.pop(name)
        assert (one is None) == (two is None)
        assert one is None or abs(one - two) < timedelta(seconds=30)
        assert (one == two) or not isinstance(getattr(new_run, name, None), datetime)
    assert {**first, "id": None} == {**second, "id": None}
