"""The managers: rows of the configured namespace on the configured database, and no others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from django.db import models

from django_openworkflow import clock, conf
from django_openworkflow.querysets import WorkflowRunQuerySet
from django_openworkflow.states import STEP_SUCCESSFUL
from django_openworkflow.transitions import NamespacedQuerySet

if TYPE_CHECKING:
    from datetime import datetime

    from django_openworkflow.models import (  # noqa: F401 - named in quoted annotations
        BufferedSignal,
        SignalDelivery,
        StepAttempt,
        WorkerProcess,
        WorkflowRun,
    )

_Row = TypeVar("_Row", bound=models.Model)


class StepAttemptQuerySet(NamespacedQuerySet["StepAttempt"]):
    """Step attempts, oldest first where order matters."""

    def in_order(self) -> StepAttemptQuerySet:
        """Order as replay reads them. Source: the original's ``step-history.ts``."""
        return self.order_by("created_at", "pk")

    def completed(self) -> StepAttemptQuerySet:
        """Attempts that ended well."""
        return self.filter(status__in=STEP_SUCCESSFUL)


class SignalDeliveryQuerySet(NamespacedQuerySet["SignalDelivery"]):
    """Signals that waiting steps received."""


class BufferedSignalQuerySet(NamespacedQuerySet["BufferedSignal"]):
    """Signals that wait for a receiver."""


class WorkerProcessQuerySet(NamespacedQuerySet["WorkerProcess"]):
    """Workers, alive and gone."""

    def alive(self, within_seconds: float, now: datetime | None = None) -> WorkerProcessQuerySet:
        """Workers heard of within this many seconds."""
        return self.filter(
            heartbeat_at__gte=clock.moment(now, plus=timedelta(seconds=-within_seconds))
        )


class NamespacedManager(models.Manager[_Row]):
    """Shows the rows of the configured namespace on the configured database, and no others."""

    def get_queryset(self) -> models.QuerySet[_Row]:
        """Return the visible rows; ``using()`` and ``db_manager()`` choose another database."""
        settings = conf.get_settings()
        alias = self._db or settings.DATABASE
        return super().get_queryset().using(alias).filter(namespace_id=settings.NAMESPACE)


_Runs = NamespacedManager.from_queryset(WorkflowRunQuerySet)
_Attempts = NamespacedManager.from_queryset(StepAttemptQuerySet)
_Deliveries = NamespacedManager.from_queryset(SignalDeliveryQuerySet)
_Buffered = NamespacedManager.from_queryset(BufferedSignalQuerySet)
_Workers = NamespacedManager.from_queryset(WorkerProcessQuerySet)


class WorkflowRunManager(_Runs["WorkflowRun"]):
    """``WorkflowRun.objects``."""


class StepAttemptManager(_Attempts["StepAttempt"]):
    """``StepAttempt.objects``."""


class SignalDeliveryManager(_Deliveries["SignalDelivery"]):
    """``SignalDelivery.objects``."""


class BufferedSignalManager(_Buffered["BufferedSignal"]):
    """``BufferedSignal.objects``."""


class WorkerProcessManager(_Workers["WorkerProcess"]):
    """``WorkerProcess.objects``."""
