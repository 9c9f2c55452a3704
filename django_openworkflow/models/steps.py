"""The tries of a run's steps, and the signals that its waiting steps received."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from django_openworkflow import conf
from django_openworkflow.clock import NowMilliseconds
from django_openworkflow.identifiers import new_id
from django_openworkflow.managers import (
    BufferedSignalManager,
    SignalDeliveryManager,
    StepAttemptManager,
)
from django_openworkflow.models.fields import OneOf, SignalAddress, empty_config, payload_field
from django_openworkflow.models.runs import WorkflowRun
from django_openworkflow.states import STEP_ENDED, STEP_SUCCESSFUL, StepKind, StepStatus


class StepAttempt(models.Model):
    """One try of a step. ``step_name`` is the resolved, durable name (``name``, ``name:1``, …)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    namespace_id = models.TextField(_("namespace"), default=conf.namespace, db_default="default")
    workflow_run = models.ForeignKey(
        WorkflowRun,
        verbose_name=_("workflow run"),
        on_delete=models.CASCADE,
        related_name="step_attempts",
        db_index=False,  # the history index starts with it
    )
    step_name = models.TextField(_("step"))
    kind = models.TextField(_("kind"), choices=StepKind)
    status = models.TextField(
        _("status"),
        choices=StepStatus,
        default=StepStatus.RUNNING,
        db_default=StepStatus.RUNNING.value,
    )
    config = empty_config()
    context = payload_field(_("context"))
    output = payload_field(_("output"))
    error = payload_field(_("error"))
    child_workflow_run_namespace_id = models.TextField(null=True, blank=True)
    child_workflow_run = models.ForeignKey(
        WorkflowRun,
        verbose_name=_("child run"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,  # few attempts have one: see the indexes below
    )
    started_at = models.DateTimeField(_("started at"), null=True, blank=True, db_default=Now())
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=NowMilliseconds())
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())
    # --- our own columns ---
    worker_id = models.TextField(_("claim that started it"), null=True, blank=True)
    interruptions = models.IntegerField(_("interruptions"), default=0, db_default=0)
    has_undo = models.BooleanField(_("can be undone"), default=False, db_default=False)
    is_late = models.BooleanField(_("ended after the cancel"), default=False, db_default=False)
    superseded_at = models.DateTimeField(_("set aside by a retry at"), null=True, blank=True)

    objects: ClassVar[StepAttemptManager] = StepAttemptManager()

    class Meta:
        """One completed attempt per run and step name: a double result becomes an error."""

        verbose_name = _("step attempt")
        verbose_name_plural = _("step attempts")
        constraints = (
            models.UniqueConstraint(
                fields=("workflow_run", "step_name"),
                name="openworkflow_step_completed_once",
                condition=Q(status__in=STEP_SUCCESSFUL, superseded_at__isnull=True),
            ),
            # Few and short: PostgreSQL reads them anew for every statement that writes a step.
            models.CheckConstraint(
                name="openworkflow_step_state",
                condition=Q(status=StepStatus.RUNNING, finished_at__isnull=True)
                | Q(OneOf("status", STEP_ENDED), finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="openworkflow_step_kind", condition=Q(OneOf("kind", StepKind.values))
            ),
            models.CheckConstraint(
                name="openworkflow_step_child_of_workflow_kind",
                condition=Q(child_workflow_run__isnull=True)
                | Q(kind=StepKind.WORKFLOW, child_workflow_run_namespace_id__isnull=False),
            ),
        )
        indexes = (
            models.Index(
                fields=("workflow_run", "created_at", "id"), name="openworkflow_step_history"
            ),
            models.Index(
                fields=("child_workflow_run",),
                name="openworkflow_step_child",
                condition=Q(child_workflow_run__isnull=False),
            ),
            # Who waits for a signal: as many rows as there are waits, whatever the history.
            models.Index(
                "namespace_id",
                SignalAddress("context"),
                name="openworkflow_step_waiting",
                condition=Q(kind=StepKind.SIGNAL_WAIT, status=StepStatus.RUNNING),
            ),
        )

    def __str__(self) -> str:
        return f"{self.step_name} ({self.status})"


class SignalDelivery(models.Model):
    """One signal received by one waiting step attempt."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    namespace_id = models.TextField(_("namespace"), default=conf.namespace, db_default="default")
    signal = models.TextField(_("signal"))
    data = payload_field(_("data"))
    sender_idempotency_key = models.TextField(_("idempotency key"), null=True, blank=True)
    workflow_run = models.ForeignKey(
        WorkflowRun,
        verbose_name=_("workflow run"),
        on_delete=models.CASCADE,
        related_name="signal_deliveries",
    )
    step_attempt = models.ForeignKey(
        StepAttempt,
        verbose_name=_("step attempt"),
        on_delete=models.CASCADE,
        related_name="signal_deliveries",
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects: ClassVar[SignalDeliveryManager] = SignalDeliveryManager()

    class Meta:
        """The original needs this very unique constraint, not deferred, as its arbiter."""

        verbose_name = _("signal delivery")
        verbose_name_plural = _("signal deliveries")
        constraints = (
            models.UniqueConstraint(
                fields=("namespace_id", "step_attempt"), name="openworkflow_delivery_once"
            ),
        )
        indexes = (
            models.Index(
                fields=("namespace_id", "signal", "sender_idempotency_key"),
                name="openworkflow_delivery_key",
                condition=Q(sender_idempotency_key__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.signal


class BufferedSignal(models.Model):
    """A signal that nobody waited for, kept on the sender's wish for the next step that does."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    namespace_id = models.TextField(_("namespace"), default=conf.namespace, db_default="default")
    signal = models.TextField(_("signal"))
    data = payload_field(_("data"))
    sender_idempotency_key = models.TextField(_("idempotency key"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects: ClassVar[BufferedSignalManager] = BufferedSignalManager()

    class Meta:
        """Taken in the order of sending."""

        verbose_name = _("buffered signal")
        verbose_name_plural = _("buffered signals")
        indexes = (
            models.Index(fields=("namespace_id", "signal", "id"), name="openworkflow_buffered"),
        )

    def __str__(self) -> str:
        return self.signal
