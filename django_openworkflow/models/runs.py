"""One execution of a workflow: its row, its constraints, its indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from django_openworkflow import conf
from django_openworkflow.clock import NowMilliseconds
from django_openworkflow.identifiers import new_id
from django_openworkflow.managers import WorkflowRunManager
from django_openworkflow.models.fields import OneOf, empty_config, payload_field
from django_openworkflow.states import ACTIVE, TERMINAL, CancelSource, RunStatus

if TYPE_CHECKING:
    from django_openworkflow.querysets import WorkflowRunQuerySet


class WorkflowRun(models.Model):
    """One execution of a workflow.

    Never ``save()`` a run that exists: it would undo what others wrote meanwhile. State changes go
    through the verbs of the manager and of the worker's store, which are conditional statements.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    namespace_id = models.TextField(_("namespace"), default=conf.namespace, db_default="default")
    workflow_name = models.TextField(_("workflow"))
    version = models.TextField(_("version"), null=True, blank=True)
    status = models.TextField(
        _("status"),
        choices=RunStatus,
        default=RunStatus.PENDING,
        db_default=RunStatus.PENDING.value,
    )
    idempotency_key = models.TextField(_("idempotency key"), null=True, blank=True)
    config = empty_config()
    context = payload_field(_("context"))
    input = payload_field(_("input"))
    output = payload_field(_("output"))
    error = payload_field(_("error"))
    attempts = models.IntegerField(_("claims"), default=0, db_default=0)
    parent_step_attempt_namespace_id = models.TextField(null=True, blank=True)
    parent_step_attempt = models.ForeignKey(
        "StepAttempt",
        verbose_name=_("parent step"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="child_runs",
        db_index=False,  # few runs have one: see the indexes below
    )
    worker_id = models.TextField(_("worker"), null=True, blank=True)
    available_at = models.DateTimeField(_("available at"), null=True, blank=True, db_default=Now())
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=NowMilliseconds())
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())
    # --- our own columns: the original's client never sees them ---
    queue = models.TextField(_("queue"), default="default", db_default="default")
    priority = models.IntegerField(_("priority"), default=0, db_default=0)
    failures = models.IntegerField(_("failures of the workflow's code"), default=0, db_default=0)
    crashes = models.IntegerField(_("crashes since the last progress"), default=0, db_default=0)
    takeovers = models.IntegerField(_("take-overs"), default=0, db_default=0)
    deferrals = models.IntegerField(_("put back as not registered"), default=0, db_default=0)
    # The claim that gave the run up last: it may ask again whether it has.
    released_by = models.TextField(_("released by"), null=True, blank=True)
    cancel_reason = models.TextField(_("cancel reason"), blank=True, default="", db_default="")
    cancel_actor = models.TextField(_("canceled by"), blank=True, default="", db_default="")
    cancel_source = models.TextField(
        _("canceled through"), choices=CancelSource, blank=True, default="", db_default=""
    )

    # A canceled run's clean-up is a run of its own, so that "canceled" stays final and immediate.
    has_cancel_hook = models.BooleanField(_("has a cancel hook"), default=False, db_default=False)
    cleanup_of = models.ForeignKey(
        "self",
        verbose_name=_("cleans up after"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="cleanup_runs",
        db_index=False,
    )
    cleanup_attempt_id = models.UUIDField(_("undoes only"), null=True, blank=True)

    objects: ClassVar[WorkflowRunManager] = WorkflowRunManager()

    class Meta:
        """Constraints keep the invariants whoever writes; indexes serve claims and lists."""

        verbose_name = _("workflow run")
        verbose_name_plural = _("workflow runs")
        permissions = (
            ("cancel_workflowrun", "Can cancel workflow run"),
            ("retry_workflowrun", "Can retry workflow run"),
            ("start_workflowrun", "Can start workflow run"),
            ("signal_workflowrun", "Can send signals to workflow runs"),
        )
        constraints = (
            # Few and short: PostgreSQL reads them anew for every statement that writes a run.
            models.CheckConstraint(
                name="openworkflow_run_state",
                condition=Q(
                    OneOf("status", ACTIVE), available_at__isnull=False, finished_at__isnull=True
                )
                | Q(
                    OneOf("status", TERMINAL), available_at__isnull=True, finished_at__isnull=False
                ),
            ),
            models.CheckConstraint(
                name="openworkflow_run_unowned",
                condition=Q(worker_id__isnull=True)
                | ~Q(OneOf("status", (RunStatus.PENDING, RunStatus.FAILED, RunStatus.CANCELED))),
            ),
            models.CheckConstraint(
                name="openworkflow_run_parent_both",
                condition=Q(parent_step_attempt__isnull=True)
                | Q(parent_step_attempt_namespace_id__isnull=False),
            ),
        )
        indexes = (
            # The claim walks one (queue, priority) range in order of availability: no sort, and
            # what is parked, leased, scheduled or finished lies outside of the range it reads.
            models.Index(
                "namespace_id",
                "queue",
                F("priority").desc(),
                "available_at",
                "id",
                name="openworkflow_run_claim",
                condition=Q(status__in=ACTIVE),
            ),
            models.Index(
                fields=("namespace_id", "deadline_at"),
                name="openworkflow_run_deadline",
                condition=Q(status__in=ACTIVE, deadline_at__isnull=False),
            ),
            models.Index(
                fields=("namespace_id", "workflow_name", "idempotency_key", "created_at"),
                name="openworkflow_run_key",
                condition=Q(idempotency_key__isnull=False),
            ),
            # Every write of a run adds to every index that has the run: these have few.
            models.Index(
                fields=("parent_step_attempt",),
                name="openworkflow_run_parent",
                condition=Q(parent_step_attempt__isnull=False),
            ),
            models.Index(
                fields=("cleanup_of",),
                name="openworkflow_run_cleanup",
                condition=Q(cleanup_of__isnull=False),
            ),
            models.Index(
                fields=("namespace_id", "-created_at", "-id"), name="openworkflow_run_newest"
            ),
            models.Index(
                fields=("namespace_id", "status", "-created_at"), name="openworkflow_run_status_age"
            ),
            models.Index(
                fields=("namespace_id", "workflow_name", "-created_at"),
                name="openworkflow_run_name",
            ),
            # Lists and numbers of the admin. Each holds few rows, or none while a run is active.
            models.Index(
                fields=("namespace_id", "-created_at", "-id"),
                name="openworkflow_run_held",
                condition=Q(status=RunStatus.RUNNING, worker_id__isnull=False),
            ),
            models.Index(
                fields=("namespace_id", "-created_at", "-id"),
                name="openworkflow_run_child",
                condition=Q(parent_step_attempt__isnull=False),
            ),
            models.Index(
                fields=("namespace_id", "status", "-finished_at"),
                name="openworkflow_run_ended",
                condition=Q(finished_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.workflow_name} {self.pk}"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, as far as this instance knows."""
        return self.status in TERMINAL

    def cancel(
        self,
        reason: str = "",
        actor: object = None,
        cascade: bool = False,  # noqa: FBT001, FBT002 - the public contract
    ) -> WorkflowRun:
        """Cancel this run and return it fresh; see ``WorkflowRunQuerySet.cancel``."""
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self._state.db).all()
        return runs.cancel(self, reason=reason, actor=actor, cascade=cascade)

    def retry(self) -> WorkflowRun:
        """Put this run back to pending and return it fresh; see ``WorkflowRunQuerySet.retry``."""
        runs: WorkflowRunQuerySet = WorkflowRun.objects.db_manager(self._state.db).all()
        return runs.retry(self)

    async def acancel(self, *args: Any, **kwargs: Any) -> WorkflowRun:
        """See ``cancel``."""
        return await sync_to_async(self.cancel)(*args, **kwargs)

    async def aretry(self) -> WorkflowRun:
        """See ``retry``."""
        return await sync_to_async(self.retry)()

    cancel.alters_data = True  # type: ignore[attr-defined]
    acancel.alters_data = True  # type: ignore[attr-defined]
    retry.alters_data = True  # type: ignore[attr-defined]
    aretry.alters_data = True  # type: ignore[attr-defined]
