"""Durable workflows for Django, with nothing to run but the project's own database."""

from django_openworkflow.engine.async_steps import AsyncStep
from django_openworkflow.engine.steps import RunInfo, Step
from django_openworkflow.handles import RunHandle
from django_openworkflow.retries import RetryPolicy
from django_openworkflow.schemas import SignalPayload
from django_openworkflow.sending import asend_signal, send_signal
from django_openworkflow.workflows import Workflow, workflow

__version__ = "0.1.0"

__all__ = [
    "AsyncStep",
    "RetryPolicy",
    "RunHandle",
    "RunInfo",
    "SignalPayload",
    "Step",
    "Workflow",
    "asend_signal",
    "send_signal",
    "workflow",
]
