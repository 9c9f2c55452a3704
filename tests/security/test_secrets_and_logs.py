"""Nothing that is secret gets into logs, messages or reprs, and no value forges a log line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import InvalidInput, WorkflowFailed
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from testproject import databases

CANARY = "canary-5f3a"
FORGED = "name\nERROR forged line\x1b[31m\u202e"


@pytest.mark.django_db
def test_values_of_runs_stay_out_of_logs_and_reprs(caplog: pytest.LogCaptureFixture) -> None:
    """Inputs, outputs and results of steps are in the rows, and only there."""
    with registry.isolated():

        @workflow("secretive")
        def secretive(step: Step, password: str) -> dict[str, str]:
            return step.run("keep", lambda: {"token": password})

        with caplog.at_level(logging.DEBUG, logger="django_openworkflow"):
            handle = secretive.start(password=CANARY)
            run_until_idle()
            other = secretive.start(password=CANARY)
            other.cancel(reason="no more")
    assert handle.result(timeout=0) == {"token": CANARY}
    assert CANARY not in caplog.text
    run = handle.run
    attempt = StepAttempt.objects.get(workflow_run=run)
    shown = [repr(thing) for thing in (handle, run, attempt)] + [str(run), str(attempt)]
    assert not [text for text in shown if CANARY in text]


@pytest.mark.django_db
def test_a_stored_traceback_has_no_local_variables() -> None:
    with registry.isolated():

        @workflow("failing")
        def failing(step: Step) -> None:
            def body() -> None:
                password = CANARY  # noqa: F841 - a local that must not be shown
                raise ValueError("no")  # noqa: EM101

            step.run("fail", body, retry_policy=RetryPolicy(maximum_attempts=1))

        handle = failing.start()
        run_until_idle()
    stored = str(WorkflowRun.objects.values_list("error", flat=True).get(pk=handle.id))
    assert "ValueError" in stored
    frames = stored.replace(f"password = {CANARY!r}", "")
    assert f"password = '{CANARY}'" not in frames
    with pytest.raises(WorkflowFailed, match="no"):
        handle.result(timeout=0)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://user:{CANARY}@host/name",
        f"postgres://user:{CANARY}@host:5432:1/name?no-such-option=1",
        f"sqlite://{CANARY}/name",
    ],
)
def test_the_address_of_a_database_is_never_repeated(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        databases.from_url(url, default_sqlite_path=Path("x"))
    assert CANARY not in str(caught.value)


# --- forged lines -------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["name", "version", "queue"])
def test_a_workflow_has_no_name_that_breaks_a_line(door: str) -> None:
    options: dict[str, Any] = {door: FORGED}
    name = options.pop("name", "fine")
    with registry.isolated(), pytest.raises(InvalidInput) as caught:
        workflow(name, **options)(lambda step: None)
    assert "\n" not in str(caught.value)


@pytest.mark.django_db
def test_what_other_clients_have_stored_is_logged_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message of an exception may hold anything; each record stays one line."""
    with registry.isolated():

        @workflow("forging")
        def forging(step: Step) -> None:
            raise ValueError(FORGED)

        handle = forging.start()
        with caplog.at_level(logging.DEBUG, logger="django_openworkflow"):
            run_until_idle()
    assert handle.status == "failed"
    lines = [record.getMessage() for record in caplog.records]
    assert all(line.isprintable() for line in lines), lines
