"""The task of ``django_tasks_peer``: a backend finds tasks by their import path."""

from __future__ import annotations

from django.tasks import task

from benchmarks.drivers.driver import log


@task()
def three(moment: float) -> dict[str, int]:
    """Do the work of all three steps."""
    log("S", moment)
    return {"value": 3}
