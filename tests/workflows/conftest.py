"""What the tests of definitions and starts share."""

from __future__ import annotations

import pytest

from django_openworkflow import workflow
from tests.workflows.orders import Orders, order


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes two arguments."""
    defined: Orders = workflow("process-order")(order)
    return defined
