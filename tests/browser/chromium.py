"""Where the browser is, and what is done when it is nowhere."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium")
ADVICE: Final = (
    "The admin was NOT TESTED IN A BROWSER: "
    "install Chromium (apt-get install chromium), or name one in OPENWORKFLOW_CHROMIUM"
)


def executable() -> str:
    """Return the path of a Chromium; skip the test without one, fail if it is required."""
    named = os.environ.get("OPENWORKFLOW_CHROMIUM")
    for name in (named,) if named else NAMES:
        if found := shutil.which(name):
            return found
    if os.environ.get("OPENWORKFLOW_BROWSER") == "required":
        pytest.fail(ADVICE, pytrace=False)
    pytest.skip(ADVICE)


def arguments() -> list[str]:
    """Return what Chromium needs to be told: as root, in a container, it has no sandbox."""
    return ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
