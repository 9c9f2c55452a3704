"""The test project with the workflows of the scorecard, short leases, and no limit on crashes."""

import os

from testproject.settings import *  # noqa: F403 - settings extend settings so
from testproject.settings import INSTALLED_APPS as _INSTALLED_APPS
from testproject.settings import OPENWORKFLOW as _OPENWORKFLOW

INSTALLED_APPS = [*_INSTALLED_APPS, "benchmarks.reliability"]
OPENWORKFLOW = {
    **_OPENWORKFLOW,
    "LEASE_SECONDS": float(os.environ.get("RELIABILITY_LEASE_SECONDS", "2")),
    "POLL_SECONDS": (0.05, 0.3),  # type: ignore[dict-item]
    # Who is killed a hundred times on purpose is no poison pill.
    "MAX_CRASHES": int(os.environ.get("RELIABILITY_MAX_CRASHES", "1000")),
}
