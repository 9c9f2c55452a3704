"""Claims as workers make them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from django_openworkflow.models import WorkflowRun
from django_openworkflow.store.base import ClaimRequest, Store

if TYPE_CHECKING:
    from django_openworkflow.store.operations import (
        Lease,
    )

NAME = "process-order"
SECOND = timedelta(seconds=1)


def request(**options: Any) -> ClaimRequest:
    given: dict[str, Any] = {
        "worker_name": "worker",
        "limit": 10,
        "lease_seconds": 30,
        "workflows": [(NAME, None)],
        **options,
    }
    return ClaimRequest(**given)


def claimed_ids(store: Store, now: datetime | None = None, **options: Any) -> list[UUID]:
    return [claimed.lease.run_id for claimed in store.claim(request(**options), now=now)]


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def expire(lease: Lease) -> None:
    WorkflowRun.objects.filter(pk=lease.run_id).update(available_at=ago(seconds=1))
