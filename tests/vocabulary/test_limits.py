"""What was accepted once does not fail who receives it, whatever the limits are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow import RunHandle, Step, Workflow, send_signal, workflow
from django_openworkflow.exceptions import InvalidPayload
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from django_openworkflow.workflows import workflow_spec
from tests.engine.passes import tick

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

LIMIT = 1000


def nested(depth: int) -> Any:
    """Return lists inside of each other; the innermost is empty."""
    value: Any = []
    for _level in range(depth - 1):
        value = [value]
    return value


def depth_of(value: Any) -> int:
    return 1 + max(map(depth_of, value), default=0)


@pytest.fixture
def receiver() -> RunHandle[Any]:
    """Start a run that waits for a signal, sleeps, and replays."""

    @workflow("receiving")
    def receiving(step: Step) -> int:
        payload = step.wait_for_signal("data")
        step.sleep("pause", "1h")
        assert payload is not None
        return len(payload.data) if isinstance(payload.data, str) else depth_of(payload.data)

    handle = receiving.start()
    run_until_idle()
    return handle


@pytest.mark.parametrize("size", [LIMIT - 12, LIMIT - 2])
def test_a_signal_of_the_largest_size_is_received(
    settings: Settings, receiver: RunHandle[Any], size: int
) -> None:
    settings.OPENWORKFLOW = {"MAX_PAYLOAD_BYTES": LIMIT}
    assert send_signal("data", "x" * size) == [receiver.id]  # two bytes are its quotes
    run_until_idle()
    tick("1h")

    assert receiver.result(timeout=0) == size


def test_a_larger_one_is_refused_where_it_is_sent(
    settings: Settings, receiver: RunHandle[Any]
) -> None:
    settings.OPENWORKFLOW = {"MAX_PAYLOAD_BYTES": LIMIT}
    with pytest.raises(InvalidPayload, match="1001 bytes, the limit is 1000 bytes"):
        send_signal("data", "x" * (LIMIT - 1))


def test_a_signal_of_the_largest_depth_is_received(receiver: RunHandle[Any]) -> None:
    send_signal("data", nested(100))
    run_until_idle()
    tick("1h")

    assert receiver.result(timeout=0) == 100


# --- children -------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Workflow[..., Any]:
    """Describe a child that another client executes."""
    make: Any = workflow_spec("elsewhere")
    return make(lambda step: None)  # type: ignore[no-any-return]


def parent_of(child: Workflow[..., Any], **ended: Any) -> RunHandle[Any]:
    """Start a parent, and let its child end as another client would have it end."""

    @workflow("parent")
    def parent(step: Step) -> int:
        output: Any = step.run_workflow(child)
        step.sleep("pause", "1h")
        return len(output) if isinstance(output, str) else depth_of(output)

    handle = parent.start()
    run_until_idle()
    runs = WorkflowRun.objects.filter(workflow_name="elsewhere")
    now = handle.run.created_at
    assert runs.update(**ended, finished_at=now, available_at=None) == 1
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=now)
    run_until_idle()
    tick("1h")
    return handle


@pytest.mark.parametrize(("output", "measure"), [("x" * 5000, 5000), (nested(200), 200)])
def test_a_childs_output_beyond_the_limits_of_this_project_is_its_parents(
    settings: Settings, elsewhere: Workflow[..., Any], output: Any, measure: int
) -> None:
    settings.OPENWORKFLOW = {"MAX_PAYLOAD_BYTES": LIMIT}
    handle = parent_of(elsewhere, status="completed", output=output)

    assert handle.result(timeout=0) == measure


def test_a_childs_error_nested_deeply_is_its_parents(elsewhere: Workflow[..., Any]) -> None:
    error = {"message": "no ink", "causes": nested(150)}
    handle = parent_of(elsewhere, status="failed", error=error)

    assert (handle.status, handle.run.error) == ("failed", error)
