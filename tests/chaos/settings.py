"""The test project with the workflows of the chaos, short leases, and no limit on crashes."""

from testproject.settings import *  # noqa: F403 - settings extend settings so
from testproject.settings import INSTALLED_APPS as _INSTALLED_APPS
from testproject.settings import OPENWORKFLOW as _OPENWORKFLOW

INSTALLED_APPS = [*_INSTALLED_APPS, "tests.chaos"]
OPENWORKFLOW = {
    **_OPENWORKFLOW,
    "LEASE_SECONDS": 2.0,
    "POLL_SECONDS": (0.05, 0.3),  # type: ignore[dict-item]
    "MAX_CRASHES": 1000,  # who is killed so often is no poison pill
}
