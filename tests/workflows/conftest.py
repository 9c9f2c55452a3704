"""What the tests of definitions and starts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_openworkflow import workflow
from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock
from tests.workflows.orders import Orders, order


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    with registry.isolated():
        yield
    reset_clock()


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes two arguments."""
    defined: Orders = workflow("process-order")(order)
    return defined
