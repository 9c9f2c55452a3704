"""The admin: found by Django's autodiscovery, with nothing to configure.

To change it, subclass one of these, unregister the model and register the subclass.
"""

from django.contrib import admin

from django_openworkflow.admin.rows import (
    SignalDeliveryAdmin,
    StepAttemptAdmin,
    WorkerProcessAdmin,
)
from django_openworkflow.admin.runs import WorkflowRunAdmin
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkerProcess, WorkflowRun

__all__ = ["SignalDeliveryAdmin", "StepAttemptAdmin", "WorkerProcessAdmin", "WorkflowRunAdmin"]

admin.site.register(WorkflowRun, WorkflowRunAdmin)
admin.site.register(StepAttempt, StepAttemptAdmin)
admin.site.register(SignalDelivery, SignalDeliveryAdmin)
admin.site.register(WorkerProcess, WorkerProcessAdmin)
