"""What the tests of starts share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_openworkflow import Step, workflow

if TYPE_CHECKING:
    from tests.workflows.orders import Orders


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes one argument."""

    @workflow("process-order")
    def order(step: Step, order_id: int) -> None:
        return None

    return order
