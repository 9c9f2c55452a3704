"""Every page of the admin of workflows, with the method and the right that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django_openworkflow.models import SignalDelivery, StepAttempt, WorkerProcess, WorkflowRun
from tests.admin.addresses import bulk, on_run, url
from tests.admin.rows import make_attempt, make_delivery, make_run, make_worker
from tests.factories import link_child


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Rows of every kind, so that every page has something to show."""

    run: WorkflowRun
    failed: WorkflowRun
    attempt: StepAttempt
    delivery: SignalDelivery
    worker: WorkerProcess


def scene(text: str = "x", json: Any = None) -> Scene:
    """Make a family of runs, in which each text field holds this text."""
    payload = json if json is not None else {text: [text, {"inner": text}]}
    error = {"name": text, "message": text, "stack": text}
    names = {"workflow_name": text, "version": text, "queue": text, "idempotency_key": text}
    run = make_run(parked=True, input=payload, error=error, **names)
    attempt = make_attempt(workflow_run=run, step_name=text, failed=True, error=error)
    make_attempt(workflow_run=run, step_name=text, completed=True, output=payload)
    wait = make_attempt(
        workflow_run=run, step_name=f"{text}:1", signal_wait=True, context={"signal": text}
    )
    delivery = make_delivery(
        step_attempt=wait, signal=text, data=payload, sender_idempotency_key=text
    )
    child = make_run(child=True, parent=run, canceled=True, **names)
    WorkflowRun._base_manager.filter(pk=child.pk).update(
        cancel_reason=text, cancel_actor=text, cleanup_of=run
    )
    link_child(StepAttempt._base_manager.get(child_runs=child), child)
    failed = make_run(failed=True, output=payload, error=error, **names)
    WorkflowRun._base_manager.filter(pk=failed.pk).update(
        cancel_reason=text, cancel_actor=text, cancel_source="api"
    )
    worker = make_worker(name=text, host=text, queues=[text], workflows=[[text, text]])
    return Scene(run=run, failed=failed, attempt=attempt, delivery=delivery, worker=worker)


def pages(there: Scene) -> dict[str, tuple[str, str]]:
    """Return every page: by what it is, the right that it takes and its address."""
    run = there.run
    return {
        "list": ("view", url("changelist")),
        "filtered list": ("view", url("changelist") + "?status=failed&created=24h&parent=no"),
        "found": ("view", url("changelist") + f"?q={run.pk}"),
        "run": ("view", on_run("change", run)),
        "run, short waits": ("view", on_run("change", run) + "?waits=short"),
        "failed run": ("view", on_run("change", there.failed)),
        "history": ("view", on_run("history", run)),
        "overview": ("view", url("overview")),
        "part of list": ("view", url("live_list")),
        "part of run": ("view", on_run("live_run", run)),
        "part of overview": ("view", url("live_overview")),
        "cancel": ("cancel", on_run("cancel_run", run)),
        "retry": ("retry", on_run("retry_run", there.failed)),
        "signal": ("signal", on_run("send_signal", run)),
        "start": ("start", url("start_run")),
        "start again": ("start", url("start_run") + f"?again={run.pk}"),
        "attempts": ("view", url("changelist", model="stepattempt")),
        "attempt": ("view", url("change", there.attempt.pk, model="stepattempt")),
        "deliveries": ("view", url("changelist", model="signaldelivery")),
        "delivery": ("view", url("change", there.delivery.pk, model="signaldelivery")),
        "workers": ("view", url("changelist", model="workerprocess")),
        "worker": ("view", url("change", there.worker.pk, model="workerprocess")),
    }


def deeds(there: Scene) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return everything that can be done: the right that it takes, where, and what is posted."""
    run = there.run
    return {
        "cancel": ("cancel", on_run("cancel_run", run), {"reason": "why not"}),
        "cancel many": ("cancel", url("changelist"), bulk(run, post="yes")),
        "retry": ("retry", on_run("retry_run", there.failed), {}),
        "signal": ("signal", on_run("send_signal", run), {"signal": "approval", "data": "1"}),
        "start": (
            "start",
            url("start_run"),
            {"workflow": '["process-order", "2"]', "input": '{"order_id": 7}', "priority": "0"},
        ),
    }
