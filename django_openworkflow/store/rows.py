"""A new run as a row."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_openworkflow import clock, conf
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.serialization import decode

if TYPE_CHECKING:
    from django_openworkflow.store.operations import NewRun


def new_row(new_run: NewRun, **columns: Any) -> WorkflowRun:
    """Return the row of a pending run; spans become moments by the database's clock."""
    columns.setdefault("id", new_id())
    return WorkflowRun(
        namespace_id=conf.namespace(),
        workflow_name=new_run.workflow_name,
        version=new_run.version,
        context=new_run.context,
        input=decode(new_run.input),
        queue=new_run.queue,
        priority=new_run.priority,
        available_at=_moment(new_run.available_at) or clock.moment(),
        deadline_at=_moment(new_run.deadline_at),
        has_cancel_hook=new_run.has_cancel_hook,
        **columns,
    )


def _moment(when: datetime | timedelta | None) -> Any:
    return clock.moment(plus=when) if isinstance(when, timedelta) else when
