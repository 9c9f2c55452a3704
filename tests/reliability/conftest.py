"""One private PostgreSQL for all lines of the scorecard that this process checks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Return the folder of a running cluster, which lines may hurt but not stop.

    It may belong to another user, from whom every start of pytest locks the folders of pytest.
    """
    from benchmarks.reliability.cluster import Cluster

    with tempfile.TemporaryDirectory(prefix="scorecard-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = Cluster(folder)
        running.start()
        yield folder
        running.stop()
