"""Durable workflows for Django, with nothing to run but the project's own database."""

from django_openworkflow.engine.steps import RunInfo, Step
from django_openworkflow.handles import RunHandle
from django_openworkflow.retries import RetryPolicy
from django_openworkflow.workflows import Workflow, workflow

__version__ = "0.1.0"

__all__ = ["RetryPolicy", "RunHandle", "RunInfo", "Step", "Workflow", "workflow"]
