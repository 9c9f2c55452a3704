"""Settings of the contestant: this package and nothing else; ``BENCH_URL`` names its database."""

from __future__ import annotations

import os
from pathlib import Path

from testproject import databases

SECRET_KEY = "benchmarks"  # noqa: S105 - nothing is signed
USE_TZ = True
INSTALLED_APPS = ["django_openworkflow", "benchmarks.project"]
DATABASES = {
    "default": databases.from_url(
        os.environ["BENCH_URL"], default_sqlite_path=Path("benchmarks.sqlite3")
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
