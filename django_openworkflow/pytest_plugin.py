"""The pytest plugin: ``workflow_worker``, and a clock that every test finds unmoved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_openworkflow.testing import WorkflowWorker


@pytest.fixture(autouse=True)
def _openworkflow_clock() -> Iterator[None]:
    """Undo what a test did to the engine's clock."""
    yield
    from django_openworkflow import clock

    clock.reset()


@pytest.fixture
def workflow_worker(db: None) -> WorkflowWorker:
    """Execute runs in the test's own process and transaction.

    ``workflow_worker.run_until_idle()`` executes what is due, ``workflow_worker.advance("1h")``
    moves the clock, ``workflow_worker.result(handle)`` runs until the run has ended.
    """
    from django_openworkflow.testing import WorkflowWorker

    return WorkflowWorker()
