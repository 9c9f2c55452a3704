"""One private PostgreSQL for all lines of the scorecard that this process checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a running cluster, which lines may hurt but not stop."""
    from benchmarks.reliability.cluster import Cluster

    folder = tmp_path_factory.mktemp("cluster")
    running = Cluster(folder)
    running.start()
    yield folder
    running.stop()
