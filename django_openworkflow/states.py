"""The words of the state machine: statuses of runs and step attempts, kinds of steps."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class RunStatus(models.TextChoices):
    """Where a run stands. Source: the original's ``workflow-run.ts``."""

    PENDING = "pending", _("pending")  # waits for a worker, first time or after a failure
    RUNNING = "running", _("running")  # held by a worker, or parked when it has no worker
    SLEEPING = "sleeping", _("sleeping")  # legacy rows of the original: parked
    COMPLETED = "completed", _("completed")
    SUCCEEDED = "succeeded", _("succeeded")  # legacy rows of the original: completed
    FAILED = "failed", _("failed")
    CANCELED = "canceled", _("canceled")


class StepStatus(models.TextChoices):
    """Where a step attempt stands. Source: the original's ``step-attempt.ts``."""

    RUNNING = "running", _("running")
    COMPLETED = "completed", _("completed")
    SUCCEEDED = "succeeded", _("succeeded")  # legacy rows of the original: completed
    FAILED = "failed", _("failed")


class StepKind(models.TextChoices):
    """What a step attempt does. Source: the original's ``step-attempt.ts``."""

    FUNCTION = "function", _("function")
    SLEEP = "sleep", _("sleep")
    WORKFLOW = "workflow", _("workflow")
    SIGNAL_SEND = "signal-send", _("signal-send")
    SIGNAL_WAIT = "signal-wait", _("signal-wait")


class CancelSource(models.TextChoices):
    """Through which door a cancel came."""

    API = "api", _("code")
    ADMIN = "admin", _("admin")
    COMMAND = "command", _("command line")
    CASCADE = "cascade", _("canceled parent")
    CLIENT = "client", _("client in another language")


ACTIVE: Final = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING)
TERMINAL: Final = (
    RunStatus.COMPLETED,
    RunStatus.SUCCEEDED,
    RunStatus.FAILED,
    RunStatus.CANCELED,
)
RETRYABLE: Final = (RunStatus.FAILED, RunStatus.CANCELED)
SUCCESSFUL: Final = (RunStatus.COMPLETED, RunStatus.SUCCEEDED)
STEP_SUCCESSFUL: Final = (StepStatus.COMPLETED, StepStatus.SUCCEEDED)
STEP_ENDED: Final = (*STEP_SUCCESSFUL, StepStatus.FAILED)
# A cancel closes what only waits. The body of a function step may be running: its outcome is kept.
WAITS: Final = (
    StepKind.SLEEP,
    StepKind.WORKFLOW,
    StepKind.SIGNAL_SEND,
    StepKind.SIGNAL_WAIT,
)
