"""What every test of those who look on shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    """Forget the workflows that a test has defined, and the time that it has travelled."""
    with registry.isolated():
        yield
    reset_clock()
