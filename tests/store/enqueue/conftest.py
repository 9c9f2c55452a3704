"""What the tests of starts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from django_openworkflow import Step, workflow
from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock

if TYPE_CHECKING:
    from tests.workflows.orders import Orders


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    with registry.isolated():
        yield
    reset_clock()


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes one argument."""

    @workflow("process-order")
    def order(step: Step, order_id: int) -> None:
        return None

    return order
