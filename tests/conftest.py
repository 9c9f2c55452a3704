"""What every test of the suite shares."""

import hypothesis
from django.db import connection

# A test that meets a database or a busy machine must not fail for being slow.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_report_header() -> str:
    return f"database: {connection.vendor}"
