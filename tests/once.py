"""What is the same whatever database the suite runs on, and slow: it is tested once."""

from __future__ import annotations

import pytest
from django.db import connection

once = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="has no part in the database: tested beside SQLite"
)
