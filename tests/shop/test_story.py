import pytest
from django.db import OperationalError, connection

from django_openworkflow import Step, workflow
from django_openworkflow.models import StepAttempt, WorkerProcess, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from testproject.shop.demo.story import (
    forget_last_demo,
    require_database,
    require_no_other_worker,
)
from testproject.shop.demo.workers import DemoFailed
from testproject.shop.models import BodyStart, Order, StockItem
from testproject.shop.workflows import start_fulfilment


def test_a_new_demo_deletes_its_own_rows_and_no_others(orders: dict[int, Order]) -> None:
    with registry.isolated():

        @workflow("somebody-elses")
        def somebody_elses(step: Step) -> int:
            return step.run("count", lambda: 1)

        other = somebody_elses.start()
        start_fulfilment([orders[1001], orders[1002]])
        run_until_idle()
    assert forget_last_demo() == len(orders)
    assert WorkflowRun.objects.get().pk == other.id
    assert StepAttempt.objects.get().workflow_run_id == other.id
    for model in (Order, StockItem, BodyStart):
        assert not model._default_manager.exists()


@pytest.mark.django_db
def test_a_worker_that_is_not_the_demos_is_refused() -> None:
    require_no_other_worker()
    WorkerProcess.objects.create(name="host-1", host="host", pid=1, concurrency=1, workflows=[])
    with pytest.raises(DemoFailed, match="A worker is using this database: host-1"):
        require_no_other_worker()


def test_a_database_that_is_not_there_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        message = "connection refused"
        raise OperationalError(message)

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    with pytest.raises(DemoFailed, match="The database cannot be reached: connection refused"):
        require_database()
