"""The tables: runs, step attempts, signal deliveries, and the workers that are alive.

Columns, meanings and defaults follow the original where it has them, so that its client can share
the rows; our own columns are nullable or have a database default. Source: the wire format, 1.
"""

from django_openworkflow.models.runs import WorkflowRun
from django_openworkflow.models.steps import BufferedSignal, SignalDelivery, StepAttempt
from django_openworkflow.models.workers import WorkerProcess

__all__ = ["BufferedSignal", "SignalDelivery", "StepAttempt", "WorkerProcess", "WorkflowRun"]
