"""What every test of the suite shares."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest
from django.db import DEFAULT_DB_ALIAS, connection
from django.test import TransactionTestCase

from django_openworkflow import instrumentation
from django_openworkflow.registry import registry
from django_openworkflow.store.factory import store_for
from tests.browser.chromium import ADVICE
from tests.tidying import empty_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_openworkflow.store.base import Store

# A test that meets a database or a busy machine must not fail for being slow.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]

# A shell's job in the background ignores SIGINT, and so would every worker process of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"database: {connection.vendor}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what a machine without Node.js or without a browser has not tested."""
    reports = terminalreporter.stats.get("skipped", [])
    for sign in ("INTEROP NOT TESTED", ADVICE):
        if missed := [each for each in reports if sign in str(each.longrepr)]:
            reason = missed[0].longrepr[2].removeprefix("Skipped: ")
            terminalreporter.section(f"{len(missed)} tests skipped", red=True)
            terminalreporter.line(reason)


@pytest.fixture
def store() -> Store:
    """The verbs of a worker, on the default database."""
    return store_for(DEFAULT_DB_ALIAS)


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    """Forget the workflows that a test has defined; the plugin puts the clock back."""
    with registry.isolated():
        yield


@pytest.fixture(autouse=True)
def _nobody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the observers that a test installs, for good in a real process, go with it."""
    monkeypatch.setattr(instrumentation, "_observers", ())
