"""A receiver of the signal, and a registry of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_openworkflow import signals
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from tests.cancelling.scenes import (
    Heard,
)


@pytest.fixture
def heard() -> Iterator[list[Heard]]:
    received: list[Heard] = []

    def listen(sender: object, run: WorkflowRun, **facts: Any) -> None:
        assert sender is WorkflowRun
        facts.pop("signal")
        received.append(Heard(run_id=run.pk, status=run.status, **facts))

    signals.run_canceled.connect(listen)
    yield received
    signals.run_canceled.disconnect(listen)


@pytest.fixture
def own_registry() -> Iterator[None]:
    with registry.isolated():
        yield
