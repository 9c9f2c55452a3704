"""The factories, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests import factories

if TYPE_CHECKING:
    from django_openworkflow.models import SignalDelivery, StepAttempt, WorkerProcess, WorkflowRun

_FACTORIES: Any = factories


def make_run(**traits: Any) -> WorkflowRun:
    run: WorkflowRun = _FACTORIES.WorkflowRunFactory(**traits)
    return run


def make_attempt(**traits: Any) -> StepAttempt:
    attempt: StepAttempt = _FACTORIES.StepAttemptFactory(**traits)
    return attempt


def make_delivery(**traits: Any) -> SignalDelivery:
    delivery: SignalDelivery = _FACTORIES.SignalDeliveryFactory(**traits)
    return delivery


def make_worker(**traits: Any) -> WorkerProcess:
    worker: WorkerProcess = _FACTORIES.WorkerProcessFactory(**traits)
    return worker
