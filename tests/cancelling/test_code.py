"""What the code of a canceled workflow sees, and who asks for its result."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync

from django_openworkflow import Step, workflow
from django_openworkflow.exceptions import (
    RunCanceled,
    WorkflowCanceled,
)
from django_openworkflow.models import StepAttempt
from django_openworkflow.testing import run_until_idle
from tests.cancelling.scenes import (
    handle_of,
    make,
)

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("own_registry")
class TestWorkflowCode:
    def test_starts_no_step_after_the_cancel_and_keeps_the_one_in_flight(self) -> None:
        seen: list[str] = []

        @workflow("cancels-itself")
        def cancels_itself(step: Step) -> None:
            def body() -> str:
                handle_of(step.info.id).cancel(reason="inside")
                seen.append("first")
                return "kept"

            try:
                step.run("first", body)
            except Exception:  # what careless code does
                seen.append("swallowed")
            step.run("second", seen.append, "second")

        handle = cancels_itself.start()
        run_until_idle()
        assert seen == ["first"]
        assert handle.run.status == "canceled"
        attempt = StepAttempt.objects.get()
        assert (attempt.step_name, attempt.status, attempt.output) == (
            "first",
            "completed",
            "kept",
        )

    def test_cannot_go_on_by_swallowing_everything(self) -> None:
        seen: list[str] = []

        @workflow("stubborn")
        def stubborn(step: Step) -> str:
            for name in ("first", "second", "third"):
                try:
                    step.run(name, handle_of(step.info.id).cancel)
                except BaseException as error:  # what hostile code does
                    seen.append(type(error).__name__)
            return "done all the same"

        handle = stubborn.start()
        run_until_idle()
        assert seen == ["RunCanceled"] * 3
        run = handle.run
        assert (run.status, run.output) == ("canceled", None)
        assert StepAttempt.objects.count() == 1

    def test_is_told_by_an_exception_that_is_no_exception(self) -> None:
        assert not issubclass(RunCanceled, Exception)
        assert str(RunCanceled("7")) == "Workflow run 7 was canceled"


class TestResult:
    def test_raises_what_happened(self) -> None:
        run = make("running", workflow_name="sync")
        run.cancel(reason="duplicate")
        with pytest.raises(WorkflowCanceled) as caught:
            handle_of(run.pk).result(timeout=0)
        assert str(caught.value) == "Workflow sync was canceled"
        assert caught.value.reason == "duplicate"

    def test_raises_what_happened_asynchronously(self) -> None:
        run = make("canceled")
        with pytest.raises(WorkflowCanceled, match="Workflow process-order was canceled"):
            async_to_sync(handle_of(run.pk).aresult)(timeout=0)
