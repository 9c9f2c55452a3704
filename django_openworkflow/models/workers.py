"""Workers as operators and other workers see them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from django_openworkflow import conf
from django_openworkflow.identifiers import new_id
from django_openworkflow.managers import WorkerProcessManager


class WorkerProcess(models.Model):
    """A worker that is, or was lately, alive: what it executes and when it was last heard of.

    Information only, never the truth about a run: ownership is the run's own ``worker_id``.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    namespace_id = models.TextField(_("namespace"), default=conf.namespace, db_default="default")
    name = models.TextField(_("name"))
    host = models.TextField(_("host"))
    pid = models.IntegerField(_("process id"))
    concurrency = models.IntegerField(_("concurrency"))
    queues = models.JSONField(_("queues"), null=True, blank=True)  # NULL = every queue
    workflows = models.JSONField(_("workflows"))  # [[name, version or null], …]
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    heartbeat_at = models.DateTimeField(_("last heartbeat"), db_default=Now())

    objects: ClassVar[WorkerProcessManager] = WorkerProcessManager()

    class Meta:
        """Found by namespace and age."""

        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        indexes = (
            models.Index(fields=("namespace_id", "heartbeat_at"), name="openworkflow_worker_alive"),
        )

    def __str__(self) -> str:
        return self.name
